/**
 * The plan of gc: the pods that are collected, the steps, and the reasons why the others stay.
 *
 * Planning is pure: the facts of the pods are looked up before, and the same facts give the same plan.
 *
 * Requires no permissions.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { MissingPermissionError, OverlayError, RefusedError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { parent } from "../core/path.ts";
import type { PodLayout } from "../request/layout.ts";
import { parseMountOptions } from "../overlay/mount_config.ts";
import type { Operation } from "./operation.ts";
import { unmountOperations } from "./plan_unmount.ts";
import {
  inSeconds,
  isMounted,
  refuseKept,
  refuseNoPod,
  refuseOccupied,
  refusePod,
} from "./collect_rules.ts";
import type { CollectRules, PodFacts } from "./collect_rules.ts";
import type { SeenLine } from "./snapshot.ts";
import type { Plan } from "./plan.ts";

/** A pod that was left alone. */
export interface Kept {
  /** The pod. */
  readonly pod: string;
  /** The reason in one word: `kept`, `not-due`, `locked`, `in-use`, `grace-period`, or an error code. */
  readonly code: ErrorCode | "grace-period";
  /** The reason in a sentence. */
  readonly reason: string;
  /** The hint for the user, or `null`. */
  readonly hint: string | null;
  /** Set if an error occurred; otherwise the pod is only not due yet. */
  readonly failed: boolean;
}

/** The collection of one pod. */
export interface PodCollection {
  /** The operations that set it aside. */
  readonly mark: readonly Operation[];
  /** The operations that remove it after it is set aside. */
  readonly sweep: readonly Operation[];
  /** The reason why it stays in its place, or set aside. */
  readonly kept: Kept | null;
}

/**
 * Plans the collection of a pod.
 *
 * @throws {RefusedError} If it is in use, or it is not due.
 */
export function planCollect(facts: PodFacts, rules: CollectRules): PodCollection {
  return facts.aside === null ? planPod(facts, rules) : planGarbage(facts, facts.aside, rules);
}

const STAYS: PodCollection = { mark: [], sweep: [], kept: null };

/** Plans one or both passes for a pod that is in its place. */
function planPod(facts: PodFacts, rules: CollectRules): PodCollection {
  const { phase, gracePeriodMs } = rules;
  if (phase === "sweep") return STAYS;
  refusePod(facts, rules);
  const mark = setAside(facts, rules);
  const { garbage } = facts;
  if (phase === "mark") return { ...STAYS, mark };
  if (gracePeriodMs > 0) return { mark, sweep: [], kept: youngGarbage(garbage, gracePeriodMs) };
  return { mark, sweep: remove(garbage, facts.record.lines), kept: null };
}

function setAside(facts: PodFacts, { named }: CollectRules): Operation[] {
  const { pod, seen, garbage } = facts;
  return [
    { kind: "open", path: pod.pod },
    ...idle(seen.filter((one) => !isMounted(one)), pod),
    ...(named ? unmountOperations(facts, { lazy: false, foreign: false }) : []),
    { kind: "free", path: pod.pod },
    ...idle(seen.filter(isMounted), pod),
    { kind: "set-aside", path: pod.pod, to: garbage, ...(named ? { named } : {}) },
  ];
}

/** Plans to ask the kernel for each upper whether it is part of a mount, in whatever mount namespace. */
function idle(seen: readonly SeenLine[], { pod }: PodLayout): Operation[] {
  return seen.flatMap(({ line }): Operation[] => {
    const { upper } = readLineConfig(line, pod);
    return upper === null ? [] : [{ kind: "idle", path: upper, line }];
  });
}

/** Plans the removal of the destinations outside a pod that a render made, and then of the pod. */
function remove(
  pod: string,
  lines: readonly AppLine[],
  own: readonly string[] = [],
): Operation[] {
  const made = lines.flatMap(({ rootfs, made }): Operation[] => {
    if (made === undefined) return [];
    const path = made === "destination" ? parent(rootfs) : rootfs;
    return [{ kind: "rmdir", path, rootfs }];
  });
  return [
    { kind: "open", path: pod },
    ...own.toReversed().map((path): Operation => ({ kind: "unmount", path })),
    { kind: "free", path: pod },
    ...made,
    { kind: "remove", path: pod },
  ];
}

/** Plans the removal of a pod that is set aside. */
function planGarbage(facts: PodFacts, since: number, rules: CollectRules): PodCollection {
  if (rules.phase === "mark") return STAYS;
  const { pod, now } = facts;
  // A time in the future, as after a clock that was wrong, counts as now.
  const left = Math.min(since, now) + rules.gracePeriodMs - now;
  if (left > 0) {
    const sweep: Operation[] = since > now ? [{ kind: "grace", path: pod.pod }] : [];
    return { mark: [], sweep, kept: youngGarbage(pod.pod, left) };
  }
  refuseNoPod(facts);
  refuseKept(facts);
  const own = ownMounts(facts);
  refuseOccupied(facts, own);
  return { ...STAYS, sweep: remove(pod.pod, facts.record.lines, own) };
}

/** Finds the mounts of a pod by the uppers in its lines, because the mounts moved with the pod. */
function ownMounts(facts: PodFacts): string[] {
  const uppers = new Set(
    facts.record.lines.map((line) => readLineConfig(line, facts.pod.pod).upper),
  );
  return facts.inside.filter(({ fstype, options }) => {
    const { upper } = parseMountOptions(options);
    return fstype === "overlay" && upper !== null && uppers.has(upper);
  }).map(({ target }) => target);
}

function youngGarbage(pod: string, left: number): Kept {
  const reason = `its grace period ends in ${inSeconds(left)}`;
  return { pod, code: "grace-period", reason, hint: null, failed: false };
}

/** The codes of a pod that is left alone without an error. */
const NOT_NOW: readonly ErrorCode[] = ["locked", "in-use", "busy", "kept", "not-due"];

/**
 * Reports a pod that cannot be collected; the run continues with the others.
 *
 * @throws The error, if it ends the whole run.
 */
export function keptBy(error: unknown, pod: string): Kept {
  if (!(error instanceof OverlayError) || error.code === "interrupted") throw error;
  if (error instanceof MissingPermissionError) throw error;
  const { code, message: reason, hint } = error;
  const failed = !(error instanceof RefusedError && NOT_NOW.includes(code));
  return { pod, code, reason, hint, failed };
}

/** The result of a collection. */
export interface Collected {
  /** The pods that were set aside, each with its path in the garbage. */
  readonly marked: readonly { readonly pod: string; readonly garbage: string }[];
  /** The pods that were removed, by their paths in the garbage. */
  readonly removed: readonly { readonly garbage: string }[];
  /** The pods that were not collected, each with the reason. */
  readonly kept: readonly Kept[];
}

/** The plan of gc: the pods that it sets aside or removes, and the reasons why it keeps others. Safe as JSON. */
export type CollectPlan = Plan & Collected;

/** Makes the plan of a part of a collection. */
export function makePlan({ pod }: PodLayout, operations: readonly Operation[]): Plan {
  return { action: "collect", pod, operations, mounts: [] };
}

/** Orders groups of operations by the path of the first of each. */
export function compareGroups([a]: readonly Operation[], [b]: readonly Operation[]): number {
  return (a?.path ?? "") < (b?.path ?? "") ? -1 : 1;
}
