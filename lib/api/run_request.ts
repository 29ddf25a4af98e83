/**
 * The request to run a command, split into the render of its app and the process.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { child } from "../core/path.ts";
import { checkFields, refuseField, REQUEST_FIELDS } from "../request/fields.ts";
import type { Fields } from "../request/fields.ts";
import { defaults } from "../request/layout.ts";
import { parseChoice, parsePath } from "../request/names.ts";
import type { RenderRequest } from "../request/options.ts";
import type { ProcessRequest } from "../runtime/compose.ts";
import { RUNTIME_NAMES } from "../runtime/container.ts";
import type { RuntimeName } from "../runtime/container.ts";

/**
 * A command, and the app in whose rootfs it runs. With a tree, an image or a lower, the app is rendered as by
 * `renderOverlay`; with a pod alone, it is one that was rendered before.
 */
export interface RunRequest extends Partial<RenderRequest>, ProcessRequest {
  /** The pod. @default {a new one in the directory of pods, which is removed afterwards} */
  readonly pod?: string;
  /** The directory of a pod that is not named. @default {"/var/lib/overlay-render-pods"} */
  readonly pods?: string;
  /** The program that starts the command; `auto` takes bubblewrap, or runc for another user than root. @default {"auto"} */
  readonly runtime?: RuntimeName;
  /** Set if the pod is removed afterwards, with all that the command wrote. @default {false} */
  readonly remove?: boolean;
}

/** The parts of a {@linkcode RunRequest}. */
export interface RunParts {
  /** The render; `null` if the app was rendered before. */
  readonly render: RenderRequest | null;
  /** The pod. */
  readonly pod: string;
  /** The app that was rendered before. */
  readonly app: string | undefined;
  /** The image and the store that the process is described in. */
  readonly image: Pick<RenderRequest, "image" | "store">;
  /** The process. */
  readonly process: ProcessRequest;
  readonly runtime: RuntimeName;
  /** Set if the pod is removed afterwards. */
  readonly remove: boolean;
}

/** The fields of the process, and the types of those that are not objects. */
const PROCESS_FIELDS: Fields = {
  cmd: "names",
  entrypoint: "names",
  workdir: "path",
  user: "name",
  network: "name",
  bind: "names",
  tty: "flag",
};

const FIELDS: Fields = {
  ...REQUEST_FIELDS,
  ...PROCESS_FIELDS,
  pods: "path",
  runtime: "name",
  remove: "flag",
};

function checkEnv(env: unknown): void {
  if (env === undefined) return;
  const isObject = typeof env === "object" && env !== null && !Array.isArray(env);
  if (isObject && Object.values(env).every((value) => typeof value === "string")) return;
  refuseField("env", "it must be an object of strings");
}

/**
 * Splits a request. A pod that is not named gets a new name.
 *
 * @throws {InvalidValueError} If a field is unknown or of another type, or nothing names a rootfs.
 */
export function splitRun(request: RunRequest): RunParts {
  const { env, ...others } = request;
  checkEnv(env);
  checkFields(others, FIELDS, { whole: "request" });
  const { pods = defaults().pods, runtime = "auto", remove, cmd, entrypoint, workdir, ...more } =
    others;
  const { user, network, bind, tty, pod, ...render } = more;
  const process = { cmd, entrypoint, env, workdir, user, network, bind, tty };
  const { app, image, store, tree, lower } = render;
  const named = [image, tree, lower].some((one) => one !== undefined);
  if (!named) refuseOthers(render, pod);
  const path = pod ?? child(parsePath("directory of pods", pods), `run-${crypto.randomUUID()}`);
  return {
    render: named ? { ephemeral: pod === undefined, ...render, pod: path } : null,
    pod: path,
    app,
    image: { ...(image === undefined ? {} : { image }), ...(store === undefined ? {} : { store }) },
    process: withoutUndefined(process),
    runtime: parseChoice("runtime", runtime, RUNTIME_NAMES),
    remove: remove ?? pod === undefined,
  };
}

function withoutUndefined<T extends object>(
  value: T,
): { [K in keyof T]: Exclude<T[K], undefined> } {
  const given = Object.entries(value).filter(([, part]) => part !== undefined);
  return Object.fromEntries(given) as { [K in keyof T]: Exclude<T[K], undefined> };
}

/** Refuses a request for an app that was rendered before, which says how to render it. */
function refuseOthers(render: Partial<RenderRequest>, pod: string | undefined): void {
  if (pod === undefined) {
    throw new InvalidValueError("usage", "Cannot run a command: nothing to run it in is named", {
      hint: "name an image (--image NAME), or a pod that was rendered before (--pod DIR)",
    });
  }
  const { app: _, store: __, ...others } = render;
  const [field] = Object.keys(others);
  if (field === undefined) return;
  throw new InvalidValueError(
    "usage",
    `Cannot use ${field} for an app that was rendered before: it stays as it was rendered`,
    { hint: "leave it out, or name the image" },
  );
}
