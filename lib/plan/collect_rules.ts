/**
 * The rules by which gc collects a pod, and the reasons for which it leaves one alone.
 *
 * Requires no permissions.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import { formatDuration } from "../core/duration.ts";
import { RefusedError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { isWithin } from "../core/path.ts";
import type { PodLayout } from "../request/layout.ts";
import type { Mount } from "../system/mount_table.ts";
import { appWords, quote, shellQuote } from "../core/quote.ts";
import { refuseElsewhere } from "./refusals.ts";
import type { PodSnapshot, SeenLine } from "./snapshot.ts";

/** The mounts in a pod, and the mounts elsewhere that use it. */
export interface Occupants {
  /** The pod. */
  readonly pod: PodLayout;
  /** The pod without symlinks. */
  readonly real: string;
  /** The mounts at the pod and below it. */
  readonly inside: readonly Mount[];
  /** The mounts elsewhere that use directories of the pod, and stay when its apps are unmounted. */
  readonly users: readonly Mount[];
}

/** The facts by which gc decides about a pod, in its place or set aside. */
export interface PodFacts extends PodSnapshot, Occupants {
  /** The pod. */
  readonly pod: PodLayout;
  /** The time at which the facts were read, in milliseconds since 1970. */
  readonly now: number;
  /** The time since when it is set aside, in milliseconds since 1970; `null` for a pod in its place. */
  readonly aside: number | null;
  /** The path to which it is set aside. */
  readonly garbage: string;
  /** Set if it holds `overlay.fstab` or `overlay.lock`, or is empty. */
  readonly isPod: boolean;
  /** Set if it is kept. */
  readonly isKept: boolean;
  /** The time of the last change of its record, in milliseconds since 1970. */
  readonly changed: number;
}

/** The rules of a collection. */
export interface CollectRules {
  /** Set if the pod was named: then its apps are unmounted first, and its age does not matter. */
  readonly named: boolean;
  /** The pass: setting pods aside, or removing those that are set aside. @default {both} */
  readonly phase?: "mark" | "sweep";
  /** The age from which a pod that is not ephemeral is collected. @default {never} */
  readonly olderThanMs?: number;
  /** How long a pod must have been aside before it is removed, in milliseconds. */
  readonly gracePeriodMs: number;
}

/** Tells whether the line of an app is mounted. */
export function isMounted({ state }: SeenLine): boolean {
  return state === "mounted";
}

/** Writes a time in whole seconds, the begun one included. */
export function inSeconds(ms: number): string {
  return formatDuration(Math.ceil(ms / 1000) * 1000);
}

/** Refuses a pod that must not be set aside, or not now. */
export function refusePod(facts: PodFacts, rules: CollectRules): void {
  refuseNoPod(facts);
  refuseKept(facts);
  refuseElsewhere(facts.record.lines, facts.pod);
  const setsAsideOnly = rules.named && rules.phase === "mark";
  if (!rules.named) refuseUndue(facts, rules);
  if (!rules.named || setsAsideOnly) refuseMounted(facts);
  refuseOccupied(facts, facts.seen.filter(isMounted).map(({ target }) => target));
  if (!rules.named || setsAsideOnly) refuseWanted(facts);
  refuseTree(facts);
}

function refusal(
  code: ErrorCode,
  reason: string,
  { pod, path = pod, hint }: {
    readonly pod: string;
    readonly path?: string;
    readonly hint: string;
  },
): RefusedError {
  return new RefusedError(code, `Cannot collect pod ${quote(pod)}: ${reason}`, { path, hint });
}

/** Refuses a directory that is neither empty nor a pod: it may hold other files of its owner. */
export function refuseNoPod({ isPod, pod: { pod } }: PodFacts): void {
  if (isPod) return;
  const reason = "it holds neither overlay.fstab nor overlay.lock, and is no pod";
  throw new RefusedError("refused", `Cannot collect ${quote(pod)}: ${reason}`, {
    path: pod,
    hint: "check --pod; only pods are collected",
  });
}

export function refuseKept({ isKept, pod: { pod, keep } }: PodFacts): void {
  if (!isKept) return;
  const hint = `let it go first: overlay-render unkeep --pod ${shellQuote(pod)}`;
  throw refusal("kept", "it is kept", { pod, path: keep, hint });
}

/** Refuses a pod that is neither ephemeral nor old enough. */
function refuseUndue(facts: PodFacts, rules: CollectRules): void {
  const { pod: { pod }, record: { lines }, changed, now } = facts;
  if (lines.length > 0 && lines.every(({ ephemeral }) => ephemeral)) return;
  const { olderThanMs } = rules;
  const age = now - changed;
  const hint = `to collect it all the same: overlay-render gc --pod ${shellQuote(pod)}`;
  const undue = (reason: string) => refusal("not-due", reason, { pod, hint });
  if (olderThanMs === undefined) throw undue("it was not rendered as ephemeral");
  if (age < 0) throw undue("its record is of a time in the future");
  if (age < olderThanMs) throw undue(`it was last used ${inSeconds(age)} ago`);
}

function inUse(pod: string, reason: string, hint: string): RefusedError {
  return refusal("in-use", reason, { pod, hint: `${hint} --pod ${shellQuote(pod)}` });
}

function refuseMounted({ pod: { pod }, seen }: PodFacts): void {
  const first = seen.find(isMounted);
  if (first === undefined) return;
  const hint = "unmount it first: overlay-render unmount";
  throw inUse(pod, `${appWords(first.line.app)} is mounted`, hint);
}

/**
 * Refuses a pod while anything is mounted in it, or a mount elsewhere uses it.
 *
 * @param own The mount points that are allowed, since they are unmounted first.
 * @throws {RefusedError} If there is such a mount.
 */
export function refuseOccupied(facts: Occupants, own: readonly (string | null)[] = []): void {
  refuseMounts(facts, new Set(own));
  refuseUsers(facts);
}

function refuseMounts({ pod: { pod }, inside }: Occupants, own: ReadonlySet<string | null>): void {
  const other = inside.find(({ target }) => !own.has(target));
  if (other === undefined) return;
  const hint = `umount ${shellQuote(other.target)} if it may go`;
  const reason = `something else is mounted on ${quote(other.target)}`;
  throw refusal("foreign-mount", reason, { pod, path: other.target, hint });
}

/** Refuses a pod that a mount elsewhere uses, as after a mount by hand. */
function refuseUsers({ pod: { pod }, users: [user] }: Occupants): void {
  if (user === undefined) return;
  const reason = `the mount on ${quote(user.target)} is made of what is in it`;
  const hint = `umount ${shellQuote(user.target)} if it may go, and then: overlay-render gc`;
  throw inUse(pod, reason, hint);
}

/** Refuses a pod whose use cannot be checked, or that is to be mounted again. */
function refuseWanted({ pod: { pod }, record: { lines } }: PodFacts): void {
  const copied = lines.find(({ copy }) => copy);
  if (copied !== undefined) {
    const reason = `${appWords(copied.app)} is a copy, and nothing tells whether it is used`;
    throw inUse(pod, reason, "collect the pod by its name: overlay-render gc");
  }
  const automatic = lines.find(({ auto }) => auto);
  if (automatic === undefined) return;
  const reason = `${appWords(automatic.app)} was mounted when the machine or the command stopped`;
  throw inUse(pod, reason, "mount it again with overlay-render restore, or unmount it");
}

/** Refuses a pod that holds a tree: other pods may be rendered from it. */
function refuseTree({ pod: { pod }, real, record: { lines } }: PodFacts): void {
  const lowers = lines.flatMap((line) => readLineConfig(line, pod).lower);
  const tree = lowers.find((lower) => isWithin(lower, pod) || isWithin(lower, real));
  if (tree === undefined) return;
  const hint = "move the tree out of the pod, or remove the pod by hand";
  throw refusal("refused", `the lower ${quote(tree)} lies in it`, { pod, path: tree, hint });
}
