/**
 * What a render of several apps of a pod is asked for.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { checkFields, requireField } from "./fields.ts";
import { podLayout } from "./layout.ts";
import type { PodLayout } from "./layout.ts";
import { parseLabel } from "./names.ts";
import { appWords, quote } from "../core/quote.ts";
import { parseRequest } from "./request.ts";
import type { ParsedRequest } from "./request.ts";
import { APP_FIELDS, POD_FIELDS } from "./options.ts";
import type { PodApp, PodRequest } from "./options.ts";

/**
 * Checks the names and types of the fields of a request, which callers without types can get wrong.
 *
 * @throws {InvalidValueError} If one is wrong; the message names it, such as `apps[3].lower`.
 */
export function checkPodRequest(request: PodRequest): void {
  const whole = "request";
  checkFields(request, POD_FIELDS, { whole });
  for (const name of ["pod", "apps"]) requireField(request, name, { whole });
  for (const [index, app] of request.apps.entries()) {
    const at = `apps[${index}]`;
    checkFields(app, APP_FIELDS, { whole, at });
    requireField(app, "app", { whole, at, hint: 'the pod\'s own image is {app: ""}' });
  }
}

/** The words of messages, and the fields that they are about. */
const FIELDS_BY_WORD: Readonly<Record<string, keyof PodApp>> = {
  app: "app",
  lower: "lower",
  tree: "tree",
  image: "image",
  destination: "dest",
  manifest: "manifest",
  label: "label",
  option: "options",
  overlay: "overlay",
  mtab: "mtab",
  live: "live",
};

/** What all apps have in common is not named as a field of one. */
const POD_WORDS: readonly string[] = ["pod", "store", "dir", "group", "layout"];

/** The error of an app, which names the field that is wrong. */
function named(error: InvalidValueError, app: PodApp, at: number): InvalidValueError {
  const message = error.message.replace(/^Cannot (?:use|render) (\w+)?/, (text, word = "") => {
    // A profile is that of the pod, but the manifest that it needs is that of an app.
    const isProfile = word === "profile" && !error.message.includes('manifest": ');
    if (isProfile || POD_WORDS.includes(word)) return text;
    if (word === "label" && app.label === undefined) {
      return text.replace("Cannot", `Cannot use apps[${at}]: cannot`);
    }
    const field = Object.hasOwn(FIELDS_BY_WORD, word) ? FIELDS_BY_WORD[word] : undefined;
    if (field !== undefined) return `Cannot use apps[${at}].${field}`;
    return text.replace("Cannot", `Cannot use apps[${at}]: cannot`);
  });
  return new InvalidValueError(error.code, message, {
    ...(error.path === null ? {} : { path: error.path }),
    hint: error.hint ?? undefined,
    cause: error,
  });
}

interface Common extends Omit<PodRequest, "apps"> {
  readonly place: PodLayout;
}

function parseApp({ place, ...common }: Common, app: PodApp, at: number): ParsedRequest {
  try {
    return parseRequest({ ...common, ...app }, place);
  } catch (error) {
    throw error instanceof InvalidValueError ? named(error, app, at) : error;
  }
}

/** No two apps of a call may be the same, or have the same rootfs. */
function checkDistinct(apps: readonly ParsedRequest[]): void {
  const [names, roots] = [new Map<string, number>(), new Map<string, number>()];
  for (const [at, { app, layout: { rootfs } }] of apps.entries()) {
    const twin = names.get(app);
    if (twin !== undefined) {
      const reason = `${appWords(app)} is apps[${twin}] already`;
      throw new InvalidValueError("invalid-value", `Cannot use apps[${at}].app: ${reason}`);
    }
    const taken = roots.get(rootfs);
    if (taken !== undefined) {
      const reason = `apps[${taken}] has the same rootfs ${quote(rootfs)}`;
      throw new InvalidValueError("invalid-value", `Cannot use apps[${at}].dest: ${reason}`, {
        path: rootfs,
      });
    }
    names.set(app, at);
    roots.set(rootfs, at);
  }
}

/**
 * Parses a request of several apps.
 *
 * @throws {InvalidValueError} If a part of it is not usable; the message names and quotes the part.
 */
export function parsePodRequest(request: PodRequest): readonly ParsedRequest[] {
  checkPodRequest(request);
  const { apps, ...common } = request;
  if (apps.length === 0) {
    throw new InvalidValueError("invalid-value", "Cannot render a pod without apps: apps is empty");
  }
  if (common.label !== undefined) parseLabel(common.label);
  const shared = { ...common, place: podLayout(common.pod) };
  const parsed = apps.map((app, at) => parseApp(shared, app, at));
  const auto = parsed.findIndex(({ overlay }) => overlay === "auto");
  if (auto >= 0) {
    const reason = "in a pod all apps are rendered or none, so it must be always or never";
    throw new InvalidValueError(
      "invalid-value",
      `Cannot use apps[${auto}].overlay "auto": ${reason}`,
    );
  }
  checkDistinct(parsed);
  return parsed;
}
