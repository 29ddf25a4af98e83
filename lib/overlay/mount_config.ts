/**
 * Reads and writes a mount configuration as an option string.
 *
 * Requires no permissions.
 *
 * @module
 */
import { normalize } from "../core/deps.ts";
import { InvalidValueError, RefusedError } from "../core/errors.ts";
import { escapeOption, needsRealPath, splitEscaped, unescapeOption } from "./escape.ts";
import { formatMountLabel } from "./mount_label.ts";
import { hashName } from "../request/names.ts";
import { basename, child, isWithin, parent } from "../core/path.ts";
import { quote } from "../core/quote.ts";

/** The parts of an overlay mount. */
export interface MountConfig {
  /** The lowers, top first, absolute paths. */
  readonly lower: readonly string[];
  /** The upper, or `null` for a read-only view. */
  readonly upper: string | null;
  /** The work, or `null` for a read-only view. */
  readonly work: string | null;
  /** The mount label, or `null`. */
  readonly label: string | null;
  /** Further mount options, such as `volatile`. */
  readonly options: readonly string[];
}

/** An option string and the conditions for its use. */
export interface OptionString {
  /** The options as mount(8) takes them after `-o`. */
  readonly text: string;
  /** Set if paths in it are relative to the pod, so that mount(8) must run there. */
  readonly relative: boolean;
  /**
   * Set if the string is valid only without symlinks: in the path of the pod, in a lower whose name has a
   * directory twice, and, if the string is not relative, in any lower.
   */
  readonly needsRealPaths: boolean;
  /** The link in the pod through which it names its lowers; `null` when it has their own paths. */
  readonly link: LowersLink | null;
}

/** A link in the pod to the common parent directory of the lowers; it makes their names shorter. */
export interface LowersLink {
  /** The link. */
  readonly path: string;
  /** The directory. */
  readonly to: string;
}

/**
 * The longest option string the kernel reads: one page, less its closing NUL. A longer one is cut
 * silently, and then names another directory (mount(2), measured on Linux 6.18).
 */
export const OPTIONS_MAX = 4095;

/**
 * Writes a mount configuration as an option string for `mount -t overlay -o`.
 *
 * Of plain paths it is `lowerdir=<lower>,upperdir=<upper>,workdir=<work>`, then further options, then
 * `context="<label>"`. Paths are escaped for mount(8), whatever they hold. A read-only view of one
 * lower is no overlay but a bind mount: `bind,ro`.
 *
 * Requires no permissions.
 *
 * @param config What to mount; paths absolute, or relative to where mount(8) will run.
 * @returns The options.
 * @throws {InvalidValueError} If there is no lower, an upper without a work or a work without an upper,
 * or a label with a double quote.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { mountOptions } from "@overlay/render";
 *
 * const options = mountOptions({
 *   lower: ["/images/a:b"],
 *   upper: "/pod/upper",
 *   work: "/pod/work",
 *   label: null,
 *   options: ["volatile"],
 * });
 * assert(
 *   options === "lowerdir=/images/a\\:b,upperdir=/pod/upper,workdir=/pod/work,volatile",
 * );
 * ```
 */
export function mountOptions(config: MountConfig): string {
  return formatMountLabel([...ownOptions(config), ...config.options].join(","), config.label);
}

function ownOptions(config: MountConfig): string[] {
  const incomplete = (config.upper === null) !== (config.work === null);
  if (config.lower.length === 0 || incomplete) {
    const message = "Cannot write mount options: there must be a lower, and an upper with its work";
    throw new InvalidValueError("invalid-value", message);
  }
  if (isBind(config)) return ["bind", "ro"];
  const lowerdir = `lowerdir=${config.lower.map(escapeOption).join(":")}`;
  if (config.upper === null || config.work === null) return ["ro", lowerdir];
  return [
    lowerdir,
    `upperdir=${escapeOption(config.upper)}`,
    `workdir=${escapeOption(config.work)}`,
  ];
}

/** Tells whether a configuration is a bind mount: overlayfs refuses a read-only view of one lower. */
export function isBind(config: MountConfig): boolean {
  return config.upper === null && config.lower.length === 1;
}

/** Splits an option string at its commas, but not within the quotes of a label, which comes last. */
export function splitOptions(options: string): string[] {
  const label = /(?:^|,)(context="[^"]*")/.exec(options);
  if (label === null) return splitEscaped(options, ",");
  const rest = options.slice(0, label.index) + options.slice(label.index + label[0].length);
  return [...splitEscaped(rest, ","), label[1] ?? ""];
}

/**
 * Reads an option string, as {@linkcode mountOptions} writes it or the kernel shows it.
 *
 * The path of a bind mount is no option: of `bind,ro` the lowers are empty.
 *
 * Requires no permissions.
 *
 * @param options The options, as after `mount -o`.
 * @returns The mount configuration. Options that are not paths and not a label stand in `options`.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { parseMountOptions } from "@overlay/render";
 *
 * const config = parseMountOptions("lowerdir=/a\\:b:/c,upperdir=/u,workdir=/w,volatile");
 * assert(config.lower.length === 2 && config.lower[0] === "/a:b");
 * assert(config.upper === "/u" && config.options[0] === "volatile");
 * ```
 */
export function parseMountOptions(options: string): MountConfig {
  let lower: string[] = [];
  let upper: string | null = null;
  let work: string | null = null;
  let label: string | null = null;
  const rest: string[] = [];
  for (const option of splitOptions(options)) {
    const [, name = "", value = ""] = /^(\w+)=(.*)$/s.exec(option) ?? [];
    if (name === "lowerdir") lower = splitEscaped(value, ":").map(unescapeOption);
    else if (name === "upperdir") upper = unescapeOption(value);
    else if (name === "workdir") work = unescapeOption(value);
    else if (name === "context") label = value.replaceAll('"', "");
    else if (!["", "bind", "ro"].includes(option)) rest.push(option);
  }
  return { lower, upper, work, label, options: rest };
}

/** Returns the relative path from one directory to another; both are absolute and normalised. */
function relativePath(from: string, to: string): string {
  const [up, down] = [from, to].map((path) => path.split("/").filter((name) => name !== ""));
  if (up === undefined || down === undefined) return to;
  while (up.length > 0 && up[0] === down[0]) {
    up.shift();
    down.shift();
  }
  return [...up.map(() => ".."), ...down].join("/") || ".";
}

/** Makes the paths of a configuration relative to `directory`. */
function relativeTo(directory: string, config: MountConfig): MountConfig {
  const from = (path: string) => relativePath(directory, path);
  return {
    ...config,
    lower: config.lower.map(from),
    upper: config.upper === null ? null : from(config.upper),
    work: config.work === null ? null : from(config.work),
  };
}

function bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** The prefix of the name of a link to the lowers. */
const LINK = "lower-";

/** Returns the name of the link in a pod to a directory of lowers. */
function linkName(directory: string): string {
  return LINK + hashName(directory);
}

/**
 * Resolves a path of an option string to the path on the disk.
 *
 * @param lowers The target of the link in the pod, if there is one.
 */
export function resolveOptionPath(path: string, pod: string, lowers: string | undefined): string {
  if (path.startsWith("/")) return path;
  if (lowers === undefined) return normalize(`${pod}/${path}`);
  const name = `${linkName(lowers)}/`;
  return path.startsWith(name) ? child(lowers, path.slice(name.length)) : `${pod}/${path}`;
}

/** Names the lowers through a link in the pod, and the rest relative to the pod; `null` if not possible. */
function linkedOptions(config: MountConfig, pod: string): OptionString | null {
  const [first = ""] = config.lower;
  const to = parent(first);
  const inPod = [config.upper, config.work].every((path) => path === null || isWithin(path, pod));
  const alike = config.lower.every((path) => parent(path) === to && !needsRealPath(path));
  if (!inPod || !alike || config.lower.length < 2) return null;
  const { upper, work } = relativeTo(pod, config);
  const lower = config.lower.map((path) => `${linkName(to)}/${basename(path)}`);
  const paths = [upper ?? "", work ?? ""];
  return {
    text: mountOptions({ ...config, lower, upper, work }),
    relative: true,
    needsRealPaths: paths.some(needsRealPath),
    link: { path: child(pod, linkName(to)), to },
  };
}

/**
 * Writes a mount configuration so that it fits the kernel's page: with absolute paths where they fit,
 * otherwise with paths relative to the pod, or through a link in it.
 *
 * @param pod The pod, where mount(8) runs.
 * @throws {RefusedError} If it is too long in every form.
 */
export function fittingOptions(config: MountConfig, pod: string): OptionString {
  const absolute = mountOptions(config);
  const paths = [...config.lower, config.upper ?? "", config.work ?? ""];
  if (bytes(absolute) <= OPTIONS_MAX) {
    const needsRealPaths = paths.some(needsRealPath);
    return { text: absolute, relative: false, needsRealPaths, link: null };
  }
  const text = mountOptions(relativeTo(pod, config));
  const [long, short] = [bytes(absolute), bytes(text)];
  if (short <= OPTIONS_MAX) return { text, relative: true, needsRealPaths: true, link: null };
  const linked = linkedOptions(config, pod);
  const least = Math.min(short, linked === null ? short : bytes(linked.text));
  if (linked !== null && bytes(linked.text) <= OPTIONS_MAX) return linked;
  const length = least < long ? `${least}, shortened from ${long}` : `${long}`;
  throw new RefusedError(
    "too-long",
    `Cannot mount ${config.lower.length} lowers for pod ${quote(pod)}: ` +
      `the kernel reads at most ${OPTIONS_MAX} bytes of options, and these are ${length}`,
    { path: pod, hint: "use fewer lowers, or move them nearer to the pod or to shorter paths" },
  );
}
