/**
 * What a render of several apps of a pod is asked for.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { checkFields, requireField } from "./fields.ts";
import type { Kind } from "./fields.ts";
import { podLayout } from "./layout.ts";
import type { PodLayout } from "./layout.ts";
import { parseLabel } from "./names.ts";
import type { LayoutName } from "./names.ts";
import type { ProfileName } from "./profile.ts";
import { appWords, quote } from "../core/quote.ts";
import { parseRequest } from "./request.ts";
import type { ParsedRequest, StoredTree } from "./request.ts";

/** One app of a {@linkcode PodRequest}. */
export interface PodApp {
  /** The app; empty for the pod's own image. */
  readonly app: string;
  /** The lowers, top first. @default {the tree's rootfs in the store} */
  readonly lower?: string | readonly string[];
  /** The tree id. @default {the last part of the first lower's path, or the one before `rootfs`} */
  readonly tree?: string;
  /** An image of the store, by its name; `resolvePod` finds its tree. @default {none} */
  readonly image?: string;
  /** What was found out of the tree in the store. @default {nothing} */
  readonly stored?: StoredTree;
  /** The lowers without symlinks, which a render finds out. @default {the lowers as they are named} */
  readonly real?: readonly string[];
  /** The destination, which receives `rootfs`. @default {below the pod, see `appLayout`} */
  readonly dest?: string;
  /** A file that is copied to `<destination>/manifest`. @default {none} */
  readonly manifest?: string;
  /** Mount label, an SELinux context. @default {the pod's} */
  readonly label?: string;
  /** Further mount options, such as `volatile`. @default {none} */
  readonly options?: readonly string[];
  /** Whether the render is a view that cannot be written. @default {false} */
  readonly readOnly?: boolean;
  /** Whether the rootfs is an overlay, or a copy of the tree. @default {"always"} */
  readonly overlay?: "always" | "never";
  /** Whether `etc/mtab` of the rootfs is made a link to `../proc/self/mounts`. @default {false} */
  readonly mtab?: boolean;
  /**
   * Says that nothing runs in the image that the destination lies in, so that the app may be rendered
   * into an image that was mounted before. @default {false}
   */
  readonly live?: boolean;
  /** Set if gc may collect what the app wrote, once the pod is unmounted. @default {the pod's} */
  readonly ephemeral?: boolean;
}

/** What a render of several apps of a pod is asked for. Every path is absolute. */
export interface PodRequest {
  /** The pod. It is made if missing, and so is what is missing above it. */
  readonly pod: string;
  /** The tree store. @default {"/var/lib/overlay-render"} */
  readonly store?: string;
  /** The profile. @default {"rootfs-mode"} */
  readonly profile?: ProfileName;
  /** The layout of the pod, which gives the destination of each app that has none. @default {"default"} */
  readonly layout?: LayoutName;
  /** Mode of the directories, a number or octal digits. @default {the profile's} */
  readonly dirMode?: number | string;
  /** Group that may read the image directories, an id or a name of /etc/group. @default {none} */
  readonly group?: number | string;
  /** Mount label of the apps that have none of their own. @default {none} */
  readonly label?: string;
  /** Set if gc may collect the pod with what it holds, once it is unmounted. @default {false} */
  readonly ephemeral?: boolean;
  /** The apps, at least one. */
  readonly apps: readonly PodApp[];
}

/** The fields of a {@linkcode PodRequest}. */
export const POD_KINDS: Readonly<Record<keyof PodRequest, Kind>> = {
  pod: "path",
  store: "path",
  group: "number or name",
  layout: "name",
  profile: "name",
  dirMode: "number or name",
  label: "name",
  ephemeral: "flag",
  apps: "apps",
};

/** The fields of a {@linkcode PodApp}. */
export const APP_KINDS: Readonly<Record<keyof PodApp, Kind>> = {
  app: "name",
  tree: "name",
  image: "name",
  stored: "object",
  real: "names",
  lower: "path or paths",
  dest: "path",
  manifest: "path",
  label: "name",
  options: "names",
  readOnly: "flag",
  overlay: "name",
  mtab: "flag",
  live: "flag",
  ephemeral: "flag",
};

/**
 * Checks the names and types of the fields of a request, which callers without types can get wrong.
 *
 * @throws {InvalidValueError} If one is wrong; the message names it, such as `apps[3].lower`.
 */
export function checkPodRequest(request: PodRequest): void {
  const whole = "request";
  checkFields(request, POD_KINDS, { whole });
  for (const name of ["pod", "apps"]) requireField(request, name, { whole });
  for (const [index, app] of request.apps.entries()) {
    const at = `apps[${index}]`;
    checkFields(app, APP_KINDS, { whole, at });
    requireField(app, "app", { whole, at, hint: 'the pod\'s own image is {app: ""}' });
  }
}

/** The words of messages, and the fields that they are about. */
const APP_FIELDS: Readonly<Record<string, keyof PodApp>> = {
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
    const field = Object.hasOwn(APP_FIELDS, word) ? APP_FIELDS[word] : undefined;
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
