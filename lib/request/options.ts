/**
 * The options of a render: the types of what callers write, and the one table that the checks of untyped
 * callers, the spec file, the flags of the command line and their help are made from.
 *
 * Requires no permissions.
 *
 * @module
 */
import { DEFAULT_STORE } from "./layout.ts";
import { OPTION_FORMS } from "./mount_option.ts";
import { LAYOUTS, OVERLAY_MODES, PULL_MODES } from "./names.ts";
import type { LayoutName, OverlayMode, PullMode } from "./names.ts";
import { PROFILE_NAMES } from "./profile.ts";
import type { ProfileName } from "./profile.ts";

/** The options that each app of a pod has for itself. Every path is absolute. */
export interface AppOptions {
  /** The lowers, top first. @default {the tree's rootfs in the store} */
  readonly lower?: string | readonly string[];
  /** The tree id. @default {the last part of the first lower's path, or the one before `rootfs`} */
  readonly tree?: string;
  /**
   * An image of the store, by its name or its reference in a registry; `resolveTreeSync` finds its tree.
   * @default {none}
   */
  readonly image?: string;
  /** Set if the image is pulled from its registry, always or if it is missing. @default {"never"} */
  readonly pull?: PullMode;
  /** The destination, which receives `rootfs`. @default {below the pod, see `appLayout`} */
  readonly dest?: string;
  /** Mount label, an SELinux context. @default {the pod's, or none} */
  readonly label?: string;
  /** A file that is copied to `<destination>/manifest`. @default {none} */
  readonly manifest?: string;
  /** Further mount options, such as `volatile`. @default {none} */
  readonly options?: readonly string[];
  /** Set if the render is a view that cannot be written. @default {false} */
  readonly readOnly?: boolean;
  /** The form of the rootfs: an overlay, or a copy of the tree. @default {"always"} */
  readonly overlay?: OverlayMode;
  /** Set if `etc/mtab` of the rootfs is made a link to `../proc/self/mounts`. @default {false} */
  readonly mtab?: boolean;
  /**
   * Says that nothing runs in the image that the destination lies in, so that the app may be rendered
   * into an image that was mounted before. @default {false}
   */
  readonly live?: boolean;
  /**
   * Set if what the app wrote goes when it is unmounted or disposed, and gc may collect the pod then. @default {the pod's, or false}
   */
  readonly ephemeral?: boolean;
}

/** The options that all apps of a pod have in common. Every path is absolute. */
export interface PodOptions {
  /** The pod. It is made if missing, and so is what is missing above it. */
  readonly pod: string;
  /** The tree store. @default {"/var/lib/overlay-render"} */
  readonly store?: string;
  /** The layout of the pod, which gives the destination where none is given. @default {"default"} */
  readonly layout?: LayoutName;
  /** The profile. @default {"rootfs-mode"} */
  readonly profile?: ProfileName;
  /** Mode of the directories, a number or octal digits. @default {the profile's} */
  readonly dirMode?: number | string;
  /** Group that may read the image directories, an id or a name of /etc/group. @default {none} */
  readonly group?: number | string;
}

/** A render of one app. Every path is absolute. */
export interface RenderRequest extends PodOptions, AppOptions {
  /** The app; empty for the pod's own image. @default {""} */
  readonly app?: string;
}

/** One app of a {@linkcode PodRequest}. */
export interface PodApp extends AppOptions {
  /** The app; empty for the pod's own image. */
  readonly app: string;
  /** The form of the rootfs: an overlay, or a copy of the tree. @default {"always"} */
  readonly overlay?: "always" | "never";
}

/** A render of several apps of a pod. Every path is absolute. */
export interface PodRequest extends PodOptions {
  /** Mount label of the apps that have none of their own. @default {none} */
  readonly label?: string;
  /** Set if gc may collect the pod with what it holds, once it is unmounted. @default {false} */
  readonly ephemeral?: boolean;
  /** The apps, at least one. */
  readonly apps: readonly PodApp[];
}

/** The kind of an option's value. A boolean has none on the command line. */
export type ValueKind =
  | "dir"
  | "file"
  | "name"
  | "choice"
  | "octal"
  | "group"
  | "boolean"
  | "duration"
  | "size"
  | "count";

/** A flag of a command, or of several. */
export interface Flag<Field extends string = string> {
  /** The name, without dashes. */
  readonly name: string;
  /** The one-letter name. @default {none} */
  readonly short?: string;
  readonly kind: ValueKind;
  /** The word for the value in the help. @default {none, of a boolean} */
  readonly value?: string;
  /** The values that there are. @default {any of the kind} */
  readonly choices?: readonly string[];
  /** Set if it may be given several times. */
  readonly repeatable?: true;
  /** Set if its value may be empty. */
  readonly mayBeEmpty?: true;
  /** The meaning, for the help: no capital, no full stop. */
  readonly help: string;
  /** The words for the default. @default {no default is shown} */
  readonly default?: string;
  /** The field of the request that it sets. @default {none} */
  readonly field?: Field;
  /** The value that a boolean gives the field. @default {true} */
  readonly sets?: string;
}

/**
 * Makes a row of a table of flags.
 *
 * @param usage The name and the word for the value, such as `lower DIR`; a boolean has no such word.
 */
export function flag<More extends Partial<Flag>>(
  kind: ValueKind,
  usage: string,
  help: string,
  more: More = {} as More,
): Flag & More {
  const [name = "", value] = usage.split(" ");
  return { name, kind, ...(value === undefined ? {} : { value }), help, ...more };
}

/** An option of a render: a flag, and the field of the same meaning in requests and spec files. */
export interface RenderOption extends Flag {
  /** Where a {@linkcode PodRequest} has the field. */
  readonly of: "pod" | "app" | "both";
  /** The word for it in errors. @default {the name} */
  readonly word?: string;
}

function option(
  of: RenderOption["of"],
  kind: ValueKind,
  usage: string,
  help: string,
  more: Partial<RenderOption> = {},
): RenderOption {
  return { of, ...flag(kind, usage, help, more) };
}

/** Every option of a render by its field, in the order of the help. */
export const RENDER_OPTIONS: Readonly<
  Record<keyof RenderRequest, RenderOption>
> = {
  lower: option("app", "dir", "lower DIR", "a lower, top first", { repeatable: true }),
  tree: option("app", "name", "tree ID", "a tree of the store; with --lower, its name", {
    default: "from the path of the lower",
  }),
  image: option(
    "app",
    "name",
    "image NAME",
    "the tree of the store that has this image, such as debian:12 or host/name@sha256:...",
  ),
  pull: option(
    "app",
    "choice",
    "pull MODE",
    "missing: pull the image if the store does not have it; always: ask its registry for it first",
    { choices: PULL_MODES, default: "never" },
  ),
  store: option("pod", "dir", "store DIR", "the tree store", { default: DEFAULT_STORE }),
  pod: option("pod", "dir", "pod DIR", "the pod; required"),
  app: option("app", "name", "app NAME", "the app", {
    mayBeEmpty: true,
    default: "empty, the pod's own image",
  }),
  dest: option("app", "dir", "dest DIR", "the destination, which receives rootfs", {
    word: "destination",
    default: "<pod>/apps/<app>; the pod for the empty app",
  }),
  layout: option(
    "pod",
    "choice",
    "layout NAME",
    "the place of destinations in the pod: default, or rkt: " +
      "<pod>/stage1/rootfs/opt/stage2/<app>, or <pod>/stage1",
    { choices: LAYOUTS },
  ),
  profile: option("pod", "choice", "profile NAME", "rootfs-mode, fixed-mode or manifest", {
    choices: PROFILE_NAMES,
    default: "rootfs-mode",
  }),
  dirMode: option("pod", "octal", "dir-mode OCTAL", "mode of the directories", {
    word: "dir mode",
    default: "the profile's",
  }),
  group: option("pod", "group", "group GID|NAME", "group that may read the image directory", {
    default: "none",
  }),
  label: option("both", "name", "label CONTEXT", "SELinux mount label", { default: "none" }),
  manifest: option("app", "file", "manifest FILE", "copied to <dest>/manifest, mode 0640", {
    default: "none",
  }),
  options: option(
    "app",
    "name",
    "option OPT",
    `a further mount option: ${OPTION_FORMS.join(", ")}`,
    { short: "o", repeatable: true },
  ),
  readOnly: option("app", "boolean", "read-only", "a view without upper and work"),
  overlay: option(
    "app",
    "choice",
    "overlay MODE",
    "always; never: a copy of the tree instead of a mount; " +
      "auto: a copy where overlayfs cannot be mounted",
    { choices: OVERLAY_MODES, default: "always" },
  ),
  mtab: option(
    "app",
    "boolean",
    "mtab",
    "make etc/mtab in the rootfs a link to ../proc/self/mounts, where etc is a directory and has none",
  ),
  live: option(
    "app",
    "boolean",
    "live",
    "nothing runs in the image that the destination lies in, so the app may be rendered into it " +
      "though it is mounted",
  ),
  ephemeral: option(
    "both",
    "boolean",
    "ephemeral",
    "what the app wrote goes when it is unmounted, and gc may collect the pod then; otherwise gc " +
      "takes it only by name or age",
  ),
};

/** The value of each option that is used as it is given, where it is not given. */
export const SWITCHES = {
  readOnly: false,
  overlay: "always" as OverlayMode,
  mtab: false,
  live: false,
  ephemeral: false,
} satisfies AppOptions;

/** The options of an app that are used as they are given. */
export type Switches = Readonly<typeof SWITCHES>;

/** Tells whether a request asks for a pull of its image, or of that of an app. */
export function wantsPull(request: unknown): boolean {
  const { pull = "never", apps } = (request ?? {}) as { pull?: unknown; apps?: unknown };
  return pull !== "never" || (Array.isArray(apps) && apps.some(wantsPull));
}
