/**
 * Reads and writes the fstab(5) line of an app. It is an ordinary line that mount(8) and findmnt(8) read;
 * the app's name and its tree are in `X-` options. mount(8) passes these neither to the kernel nor, unlike
 * `x-` options, to `/run/mount/utab`. Only root can write that file, and it would keep the line of a mount
 * whose namespace ends without umount(8) for ever.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { escapeField, unescapeField } from "./escape.ts";
import { isBind, parseMountOptions, resolveOptionPath, splitOptions } from "./mount_config.ts";
import type { LowersLink, MountConfig } from "./mount_config.ts";
import { parseAppName, parsePath, parseTreeId } from "../request/names.ts";
import { isWithin, parent } from "../core/path.ts";

/** The record of an app: one fstab(5) line in `overlay.fstab`. */
export interface AppLine {
  /** The app's name; empty for the pod's own image. */
  readonly app: string;
  /** The id of its tree. */
  readonly tree: string;
  /** The mount point. */
  readonly rootfs: string;
  /** The lower of a bind mount, or `overlay`. */
  readonly source: string;
  /** The options as mount(8) takes them, without our own and without `noauto`. */
  readonly options: string;
  /** Set if `mount --all` mounts it; not for an app that is only prepared or was unmounted. */
  readonly auto: boolean;
  /** Set when the rootfs is a copy of the lower and nothing is mounted. */
  readonly copy?: true;
  /** The target of the link in the pod through which the options name their lowers. */
  readonly lowers?: string;
  /** Set when the destination lies in the pod. It reveals the lines of a pod that was moved or copied. */
  readonly inPod?: true;
  /** Set when it was unmounted lazily, so that a process may still use it. */
  readonly lazy?: true;
  /** Set when gc may collect the files of the app although its pod was not named. */
  readonly ephemeral?: true;
  /** Set when the app is ephemeral and was unmounted, and what it wrote is still to be thrown away. */
  readonly spent?: true;
  /** The directories outside the pod that renders made: the rootfs alone, or the destination with it. */
  readonly made?: "rootfs" | "destination";
  /** The directories that the lowers were when the app was mounted last, see `identifyLowers`. */
  readonly lowerIds?: string;
}

/** The prefix of our own options. */
const OWN = "X-overlay-render.";
const APP = "X-overlay-render.app=";
const TREE = "X-overlay-render.tree=";
const LOWERS = "X-overlay-render.lowers=";
const LAZY = "X-overlay-render.lazy";
const COPY = "X-overlay-render.copy";
const IN_POD = "X-overlay-render.in-pod";
const EPHEMERAL = "X-overlay-render.ephemeral";
const SPENT = "X-overlay-render.spent";
const MADE = "X-overlay-render.made=";
const LOWER_IDS = "X-overlay-render.lower-ids=";
const MARKS: readonly string[] = ["noauto", LAZY, COPY, IN_POD, EPHEMERAL, SPENT];
const VALUES: readonly string[] = [APP, TREE, LOWERS, MADE, LOWER_IDS];

/** Makes the line of an app from its mount configuration and option string. */
export function appLine(
  names: {
    readonly app: string;
    readonly tree: string;
    readonly rootfs: string;
    readonly copy?: true;
    /** The pod, where its line says whether the rootfs lies in it. */
    readonly pod?: string;
    readonly ephemeral?: true;
  },
  mount: {
    readonly config: MountConfig;
    readonly options: string;
    readonly auto: boolean;
    readonly link?: LowersLink | null;
  },
): AppLine {
  const { app, tree, rootfs } = names;
  const source = isBind(mount.config) ? mount.config.lower[0] ?? "" : "overlay";
  const lowers = mount.link ? { lowers: mount.link.to } : {};
  const inPod = names.pod !== undefined && isWithin(rootfs, names.pod);
  const marks = {
    ...(inPod ? { inPod: true as const } : {}),
    ...(names.ephemeral ? { ephemeral: true as const } : {}),
  };
  const line = { app, tree, rootfs, source, options: mount.options, ...lowers, ...marks };
  return names.copy ? { ...line, auto: false, copy: true } : { ...line, auto: mount.auto };
}

/** Writes the line, without a line end. */
export function formatAppLine(line: AppLine): string {
  const options = [
    ...(line.options === "" ? [] : [line.options]),
    ...(line.auto ? [] : ["noauto"]),
    ...(line.lazy ? [LAZY] : []),
    ...(line.copy ? [COPY] : []),
    ...(line.inPod ? [IN_POD] : []),
    ...(line.ephemeral ? [EPHEMERAL] : []),
    ...(line.spent ? [SPENT] : []),
    ...(line.made === undefined ? [] : [MADE + line.made]),
    ...(line.lowers === undefined ? [] : [LOWERS + encodeURIComponent(line.lowers)]),
    ...(line.lowerIds === undefined ? [] : [LOWER_IDS + line.lowerIds]),
    APP + encodeURIComponent(line.app),
    TREE + encodeURIComponent(line.tree),
  ].join(",");
  const type = line.source === "overlay" ? "overlay" : "none";
  return [...[line.source, line.rootfs, type, options].map(escapeField), "0", "0"].join(" ");
}

/** Decodes a value; `null` when it is absent or not in our form. */
function decode(value: string | undefined): string | null {
  try {
    return value === undefined ? null : decodeURIComponent(value);
  } catch (error) {
    if (error instanceof URIError) return null;
    throw error;
  }
}

/** The fields of a line, without a comment after the last one. */
function fieldsOf(text: string): string[] {
  const fields = text.replace(/^[ \t]+|[ \t\r]+$/g, "").split(/[ \t]+/);
  const end = fields[6]?.startsWith("#") ? 6 : fields.length;
  return fields.slice(0, end).map(unescapeField);
}

/** Reads a line; `null` when it is not the complete line of an app. */
export function parseAppLine(text: string): AppLine | null {
  const fields = fieldsOf(text);
  const [source = "", rootfs = "", , options = ""] = fields;
  const parts = splitOptions(options);
  const value = (prefix: string) => {
    return decode(parts.find((part) => part.startsWith(prefix))?.slice(prefix.length));
  };
  const app = value(APP);
  const tree = value(TREE);
  const lowers = value(LOWERS);
  const made = value(MADE);
  const lowerIds = value(LOWER_IDS);
  if (text.trimStart().startsWith("#") || app === null || tree === null) return null;
  const own = (part: string) => {
    return MARKS.includes(part) || VALUES.some((prefix) => part.startsWith(prefix));
  };
  const line: AppLine = {
    app,
    tree,
    rootfs,
    source,
    options: parts.filter((part) => !own(part)).join(","),
    auto: !parts.includes("noauto"),
    ...(lowers === null ? {} : { lowers }),
    ...(parts.includes(LAZY) ? { lazy: true } : {}),
    ...(parts.includes(COPY) ? { copy: true } : {}),
    ...(parts.includes(IN_POD) ? { inPod: true } : {}),
    ...(parts.includes(EPHEMERAL) ? { ephemeral: true } : {}),
    ...(parts.includes(SPENT) ? { spent: true } : {}),
    ...(made === "rootfs" || made === "destination" ? { made } : {}),
    ...(lowerIds === null ? {} : { lowerIds }),
  };
  return isWhole(fields, line) ? line : null;
}

/** Tells whether a line has every option that a mount needs, and no unknown option of ours. */
function isWhole(fields: readonly string[], line: AppLine): boolean {
  const { source, rootfs, options, copy, lowers, lowerIds } = line;
  const [, , type, , freq, passno] = fields;
  const parts = splitOptions(options);
  if (fields.length !== 6 || !isNumber(freq) || !isNumber(passno)) return false;
  if (!isName(line) || [rootfs, lowers ?? "/"].some((path) => !isPath(path))) return false;
  if (parts.some((part) => part.startsWith(OWN))) return false;
  if (lowerIds !== undefined && !/^[a-z0-9.+]+$/.test(lowerIds)) return false;
  if (source !== "overlay") {
    const isView = copy === true || ["bind", "ro"].every((part) => parts.includes(part));
    return type === "none" && isPath(source) && isView;
  }
  const { lower, upper, work } = parseMountOptions(options);
  return type === "overlay" && lower.length > 0 && (upper === null) === (work === null);
}

function isNumber(field = ""): boolean {
  return /^\d+$/.test(field);
}

function isName({ app, tree }: AppLine): boolean {
  return isParsed(() => (parseAppName(app), parseTreeId(tree)));
}

function isPath(path: string): boolean {
  return isParsed(() => parsePath("path", path));
}

function isParsed(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch (error) {
    if (error instanceof InvalidValueError) return false;
    throw error;
  }
}

/**
 * Tells whether a line is that of another file system, added by an administrator. A line with one of our
 * options, or an overlay without them, is a damaged line of ours.
 */
export function isForeignLine(text: string): boolean {
  const fields = fieldsOf(text);
  const [, target = "", type = "", options = "", freq = "0", passno = "0"] = fields;
  return fields.length >= 4 && fields.length <= 6 && type !== "overlay" &&
    (target.startsWith("/") || target === "none" || type === "swap") &&
    isNumber(freq) && isNumber(passno) &&
    !splitOptions(options).some((part) => part.startsWith(OWN));
}

/** Reads the mount configuration of a line; relative paths are resolved against the pod. */
export function readLineConfig(line: AppLine, pod: string): MountConfig {
  const config = parseMountOptions(line.options);
  if (line.source !== "overlay") return { ...config, lower: [line.source] };
  const absolute = (path: string) => resolveOptionPath(path, pod, line.lowers);
  return {
    ...config,
    lower: config.lower.map(absolute),
    upper: config.upper === null ? null : absolute(config.upper),
    work: config.work === null ? null : absolute(config.work),
  };
}

/** Converts a line to the mount of a plan. */
export function toMountPlan(line: AppLine, pod: string): MountPlan {
  const config = readLineConfig(line, pod);
  const { app, tree, rootfs, options } = line;
  return { ...config, pod, app, tree, dest: parent(rootfs), rootfs, optionString: options };
}

/** A planned mount: its configuration and its place. */
export interface MountPlan extends MountConfig {
  /** The pod. */
  readonly pod: string;
  /** The app's name; empty for the pod's own image. */
  readonly app: string;
  /** The tree id. */
  readonly tree: string;
  /** The destination. */
  readonly dest: string;
  /** The mount point. */
  readonly rootfs: string;
  /** The option string, as mount(8) takes it; empty for a copy. */
  readonly optionString: string;
  /** The lowers without symlinks, which are mounted; absent when they equal the lowers as named. */
  readonly real?: readonly string[];
  /** Set when the rootfs is a copy of the lower and not mounted. */
  readonly copy?: true;
  /** Set when the destination may lie in an image that was mounted before. */
  readonly live?: true;
  /** Set when gc may collect it although its pod was not named. */
  readonly ephemeral?: true;
}
