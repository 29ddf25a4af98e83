/**
 * The request of a render of several apps of a pod, parsed.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { APP_FIELDS, checkFields, POD_FIELDS, requireField } from "./fields.ts";
import { podLayout } from "./layout.ts";
import type { PodLayout } from "./layout.ts";
import { parseLabel } from "./names.ts";
import { appWords, quote } from "../core/quote.ts";
import { parseChecked } from "./request.ts";
import type { ParsedRequest } from "./request.ts";
import type { PodApp, PodRequest } from "./options.ts";
import { errorWithin, ValueError } from "../core/invalid.ts";
import { RENDER_OPTIONS } from "./options.ts";

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

/** Adds the app and the field to an error of an app. */
function nameApp(error: InvalidValueError, app: PodApp, at: number): InvalidValueError {
  if (error instanceof ValueError) {
    const [field, option] = Object.entries(RENDER_OPTIONS).find(([, { name, word = name }]) => {
      return word === error.what;
    }) ?? [];
    if (option?.of === "pod") return error;
    // The label can be that of the pod.
    const isOwn = option?.of !== "both" || app[option.name as keyof PodApp] !== undefined;
    if (field !== undefined && isOwn) return error.rename(`apps[${at}].${field}`);
  }
  return errorWithin(`use apps[${at}]`, error);
}

interface Common extends Omit<PodRequest, "apps"> {
  readonly place: PodLayout;
}

function parseApp({ place, ...common }: Common, app: PodApp, at: number): ParsedRequest {
  try {
    return parseChecked({ ...common, ...app }, place);
  } catch (error) {
    throw error instanceof InvalidValueError ? nameApp(error, app, at) : error;
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
  return parseCheckedPod(request);
}

/**
 * Parses a request of several apps whose fields are known to have their types.
 *
 * @throws {InvalidValueError} If a part of it is not usable; the message names and quotes the part.
 */
export function parseCheckedPod(request: PodRequest): readonly ParsedRequest[] {
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
