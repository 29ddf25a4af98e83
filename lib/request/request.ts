/**
 * The parsed request of a render: names, paths and modes that need no further check.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError, RefusedError } from "../core/errors.ts";
import { checkChoices, checkFields, REQUEST_FIELDS, requireField } from "./fields.ts";
import { defaults, layoutIn, podLayout, treeLayout } from "./layout.ts";
import type { AppLayout, PodLayout } from "./layout.ts";
import { GENERIC_OPTIONS, parseOptions } from "./mount_option.ts";
import {
  deriveTreeId,
  parseAppName,
  parseDirMode,
  parseGroup,
  parseLabel,
  parsePath,
  parseProfile,
  parseTreeId,
} from "./names.ts";
import type { AbsolutePath } from "./names.ts";
import { isWithin } from "../core/path.ts";
import type { Profile } from "./profile.ts";
import { quote } from "../core/quote.ts";
import type { RenderRequest, Switches } from "./options.ts";
import { invalid } from "../core/invalid.ts";
import { SWITCHES } from "./options.ts";
import { resolvedFor } from "./resolved.ts";
import type { StoredTree } from "./resolved.ts";

/**
 * Checks the names and types of the fields of a request, which callers without types can get wrong.
 *
 * @throws {InvalidValueError} If one is wrong; the message names it.
 */
export function checkRequest(request: RenderRequest): void {
  checkFields(request, REQUEST_FIELDS, { whole: "request" });
  requireField(request, "pod", { whole: "request" });
}

/** A request whose parts are all checked. */
export interface ParsedRequest extends Switches {
  /** The paths of the pod. */
  readonly pod: PodLayout;
  /** The paths of the app. */
  readonly layout: AppLayout;
  /** The app's name. */
  readonly app: string;
  /** The tree id. */
  readonly tree: string;
  /** The lowers, top first; at least one. */
  readonly lower: readonly [string, ...string[]];
  /** The lowers without symlinks, as they are mounted and recorded. */
  readonly real: readonly string[];
  /** The lower that the root of the rootfs is modelled on. */
  readonly rootLike: string;
  /** The tree of the store; `null` for another tree. */
  readonly stored: StoredTree | null;
  /** The profile. */
  readonly profile: Profile;
  /** The dir mode. */
  readonly dirMode: number;
  /** The group, or `null`. */
  readonly group: number | string | null;
  /** The mount label, or `null`. */
  readonly label: string | null;
  /** The file to copy as manifest, or `null`. */
  readonly manifest: string | null;
  /** Further mount options. */
  readonly options: readonly string[];
}

/** Tells whether a request names its lowers, so that no lookup in the store is needed. */
export function namesLowers({ lower, image }: Pick<RenderRequest, "lower" | "image">): boolean {
  return image === undefined && [lower ?? []].flat().length > 0;
}

/** The part of a request that names the lowers. */
export type LowersRequest = Pick<RenderRequest, "lower" | "image" | "tree" | "store">;

/**
 * Parses the lowers of a request.
 *
 * @throws {InvalidValueError} If there is no lower, or one is not usable.
 */
export function parseLowers(request: LowersRequest): [AbsolutePath, ...AbsolutePath[]] {
  const given = typeof request.lower === "string" ? [request.lower] : request.lower ?? [];
  const [first, ...rest] = given.map((lower) => parsePath("lower", lower));
  if (first !== undefined) return [first, ...rest];
  if (request.image !== undefined) {
    const hint = "call resolveTreeSync with the request";
    const reason = "its tree must be looked up first";
    throw invalid("image", request.image, reason, { code: "usage", hint });
  }
  if (request.tree === undefined) {
    throw new InvalidValueError(
      "usage",
      "Cannot render without a tree: neither a lower nor a tree",
      {
        hint: "give a lower (--lower DIR) or the id of a tree in the store (--tree ID)",
      },
    );
  }
  const { rootfs } = treeLayout(request.store ?? defaults().store, request.tree);
  return [parsePath("lower", rootfs)];
}

function refuse(what: string, value: string, reason: string, hint?: string): never {
  throw invalid(what, value, reason, { path: value.startsWith("/") ? value : null, hint });
}

const OTHER_DEST = "give another destination (--dest DIR), or leave it out";

/** Makes the error of a pod in a lower: the files of the pod would be written into the lower. */
export function podInLower(pod: string, lower: string): RefusedError {
  const message = `Cannot use pod ${quote(pod)}: it lies in the lower ${quote(lower)}`;
  const hint = "put the pod outside the tree: a lower is never written to";
  return new RefusedError("in-use", message, { path: pod, hint });
}

/**
 * Checks that no pod and no destination lies in a lower, and no lower in them: a lower is never written to.
 * A pod in the lower `/` is checked on the disk later, because a lower ends where another file system is
 * mounted.
 */
function checkLowers(request: ParsedRequest): void {
  const { pod, layout } = request;
  for (const lower of request.lower.filter((lower) => lower !== "/")) {
    if (isWithin(pod.pod, lower)) throw podInLower(pod.pod, lower);
    if (isWithin(layout.rootfs, lower)) {
      const reason = `its rootfs lies in the lower ${quote(lower)}`;
      refuse("destination", layout.dest, reason, OTHER_DEST);
    }
    const over = [layout.rootfs, layout.upper, layout.work].find((path) => isWithin(lower, path));
    if (over !== undefined) {
      const reason = `it lies in ${quote(over)} of the same app`;
      refuse("lower", lower, reason, "put the tree outside the pod");
    }
  }
}

/** Refuses a rootfs that would hide the pod, or that lies in the pod's own state. */
function checkDestination(pod: PodLayout, layout: AppLayout): void {
  if (isWithin(pod.pod, layout.rootfs)) {
    refuse(
      "destination",
      layout.dest,
      `its rootfs would hide the pod ${quote(pod.pod)}`,
      OTHER_DEST,
    );
  }
  const states = [pod.overlay, pod.fstab, `${pod.fstab}.new`, pod.lock, pod.batch, pod.keep];
  const taken = states.find((own) => isWithin(layout.dest, own));
  if (taken !== undefined) {
    refuse(
      "destination",
      layout.dest,
      `the pod keeps its own state at ${quote(taken)}`,
      OTHER_DEST,
    );
  }
}

/** Checks the options of a view: it cannot be written, and with one lower it is a bind mount. */
function checkView(request: ParsedRequest): void {
  if (!request.readOnly) return;
  if (request.mtab) refuse("mtab", "true", "nothing can be written into a read-only view");
  const hint = "leave it out, or render without --read-only";
  if (request.options.includes("volatile")) {
    refuse("option", "volatile", "a read-only view writes nothing", hint);
  }
  if (request.lower.length > 1) return;
  const reason = "a read-only view of one lower is a bind mount, not an overlay";
  const option = request.options.find((option) => !GENERIC_OPTIONS.includes(option));
  if (option !== undefined) refuse("option", option, reason, hint);
  if (request.label !== null) refuse("label", request.label, reason, hint);
}

/** Checks the options of a copy: it is no mount, so it has no mount options and no label, and is writable. */
function checkCopy({ overlay, readOnly, lower, options, label }: ParsedRequest): void {
  if (overlay !== "never") return;
  const hint = "leave it out, or render with --overlay always";
  const [second, option] = [lower[1], options[0]];
  if (readOnly) refuse("overlay", overlay, "a read-only view is a mount", hint);
  if (second !== undefined) refuse("lower", second, "a copy is made of one lower", hint);
  if (option !== undefined) refuse("option", option, "a copy has no mount options", hint);
  if (label !== null) refuse("label", label, "a copy has no mount label", hint);
}

function givenSwitches(request: RenderRequest): Switches {
  const names = Object.keys(SWITCHES) as (keyof Switches)[];
  return Object.fromEntries(
    names.map((name) => [name, request[name] ?? SWITCHES[name]]),
  ) as Switches;
}

/**
 * Parses a request.
 *
 * @throws {InvalidValueError} If a part of it is not usable; the message quotes the part.
 */
export function parseRequest(request: RenderRequest): ParsedRequest {
  checkRequest(request);
  return parseChecked(request, podLayout(request.pod));
}

/**
 * Parses a request whose fields are known to have their types.
 *
 * @param pod The paths of its pod.
 * @throws {InvalidValueError} If a part of it is not usable; the message quotes the part.
 */
export function parseChecked(request: RenderRequest, pod: PodLayout): ParsedRequest {
  checkChoices(request);
  const { stored, real } = resolvedFor(request);
  const lower = parseLowers(request);
  const app = parseAppName(request.app ?? "");
  const tree = request.tree === undefined ? deriveTreeId(lower[0]) : parseTreeId(request.tree);
  const dest = request.dest === undefined ? {} : { dest: request.dest };
  const profile = parseProfile(request.profile ?? "rootfs-mode");
  const { dirMode, group, label, manifest } = request;
  const parsed: ParsedRequest = {
    pod,
    layout: layoutIn(pod, { app, tree, layout: request.layout ?? "default", ...dest }),
    app,
    tree,
    lower,
    real: lower.map((path) => real?.get(path) ?? path),
    rootLike: stored?.rootLike ?? lower[0],
    stored: stored ?? null,
    profile,
    dirMode: dirMode === undefined ? profile.dirMode : parseDirMode(dirMode),
    group: group === undefined ? null : parseGroup(group),
    label: label === undefined ? null : parseLabel(label),
    manifest: manifest === undefined ? null : parsePath("manifest", manifest),
    options: parseOptions(request.options ?? []),
    ...givenSwitches(request),
  };
  checkDestination(pod, parsed.layout);
  checkLowers(parsed);
  checkView(parsed);
  checkCopy(parsed);
  if (profile.needsManifest && parsed.manifest === null) {
    const message = `Cannot use profile ${quote(profile.name)}: it needs a manifest`;
    throw new InvalidValueError("invalid-value", message, {
      hint: "give one with --manifest FILE",
    });
  }
  return parsed;
}
