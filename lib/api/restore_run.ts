/**
 * One call of restore, which mounts pods one by one, or many of them in groups.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { look } from "../system/disk.ts";
import { MissingPermissionError, OverlayError, RefusedError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { checkPermissions } from "../system/permissions.ts";
import { FactsCache } from "../preflight/disk_facts.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { parsePath } from "../request/names.ts";
import { finishResets } from "../pod/finish_reset.ts";
import { Call, openAll, openPod } from "../pod/open.ts";
import type { OpenPod, Visited } from "../pod/open.ts";
import { noPodError } from "../pod/record.ts";
import type { PodRecord } from "../plan/snapshot.ts";
import { listPods } from "../pod/list.ts";
import type { PodsRequest } from "../pod/list.ts";
import { refuseElsewhere } from "../plan/refusals.ts";
import { joinPlans, linesToRestore, planRestore } from "../plan/plan_restore.ts";
import { uninterrupted } from "../system/change_options.ts";
import type { Plan } from "../plan/plan.ts";
import { applyPlan } from "../apply/apply.ts";
import { selectOperations } from "../plan/plan.ts";
import { findProblems } from "../pod/restorable.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { namesHolder } from "../system/lock.ts";

/** The pod, or the directory of pods, to mount again. */
export type RestoreRequest = PodsRequest & {
  /**
   * Set if no process runs in the images that are mounted, so that an app whose destination lies in one may
   * be mounted. @default {false}
   */
  readonly live?: boolean;
};

/** An app that could not be mounted again. */
export interface NotRestored {
  /** The pod. */
  readonly pod: string;
  /** The app's name; `null` if the error is that of the pod. */
  readonly app: string | null;
  /** The code of the error. */
  readonly code: ErrorCode;
  /** The reason, in one sentence. */
  readonly reason: string;
  /** A hint how to fix it, or `null`. */
  readonly hint: string | null;
}

/** The result of a restore. */
export interface Restored {
  /** The apps that this call mounted, in the order of mounting. */
  readonly restored: readonly {
    readonly pod: string;
    readonly app: string;
    readonly rootfs: string;
  }[];
  /** The apps that could not be mounted, each with the reason. */
  readonly failed: readonly NotRestored[];
}

/** Warns once of a text: pods can share a label, which is left out of each. */
export function warningOnce(options: ChangeOptions): ChangeOptions {
  const said = new Set<string>();
  const warn = (text: string) => {
    if (!said.has(text)) options.warn?.(text);
    said.add(text);
  };
  return { ...options, warn };
}

/** Up to this number, pods are mounted one by one, so that a signal ends the call between two. */
const FEW = 8;

/** The number of pods that share one mount process, if there are more than {@linkcode FEW}. */
const GROUP = 16;

/** A pod that was visited, and its plan; no plan if it cannot be opened. */
export type Looked = Visited & { readonly plan?: Plan };

export function requireOpen(pod: Looked): OpenPod {
  if ("error" in pod) throw pod.error;
  return pod.open;
}

/** The state of a call that restores pods. */
export class Restoring {
  /** The pod or the directory of pods. */
  readonly directory: string;
  readonly restored: { pod: string; app: string; rootfs: string }[] = [];
  readonly failed: NotRestored[] = [];
  readonly #request: RestoreRequest;
  readonly #call: Call;
  /** Pods share lowers and a file system. */
  readonly #cache = new FactsCache();

  constructor(request: RestoreRequest, options: ChangeOptions) {
    this.directory = "pod" in request
      ? podLayout(request.pod).pod
      : parsePath("directory of pods", request.pods);
    this.#request = request;
    this.#call = new Call(options);
  }

  /** Tells whether no process runs in the images that are mounted. */
  get #live(): boolean {
    return this.#request.live === true;
  }

  /** Finds the pods that have an app to mount, or cannot be opened. The mount table is read once. */
  async lookAtAll(): Promise<readonly Looked[]> {
    const request = this.#request;
    if ("pod" in request && look(this.directory) === null) throw noPodError(this.directory);
    const pods = listPods(request, this.#call.options).map((pod) => podLayout(pod));
    const isWanted = ({ lines }: PodRecord) => lines.some(({ auto }) => auto);
    const found: Looked[] = [];
    for (const pod of await openAll("restore", pods, this.#call, isWanted)) {
      if ("error" in pod) found.push(pod);
      else if (isWanted(pod.open.record)) found.push(...await this.#lookAt(pod));
    }
    return found;
  }

  async #lookAt({ layout, open }: Visited & { readonly open: OpenPod }): Promise<Looked[]> {
    try {
      const snapshot = await open.snapshot("restore");
      const plan = planRestore(snapshot, { problems: new Map(), live: this.#live });
      // Another command that holds the lock may change that.
      const isDone = linesToRestore(snapshot).length === 0 && !namesHolder(layout.lock);
      return isDone ? [] : [{ layout, open, plan }];
    } catch (error) {
      if (!(error instanceof OverlayError) || error instanceof MissingPermissionError) throw error;
      return [{ layout, error }];
    }
  }

  /** Plans the mounts of a pod, and finds the lines that cannot be mounted. */
  async judge(open: OpenPod, asksKernel: boolean): Promise<{ plan: Plan; problems: Problems }> {
    const snapshot = await open.snapshot("restore");
    refuseElsewhere(open.record.lines, open.layout);
    if (asksKernel) finishResets(open.record.lines, open.layout);
    const live = this.#live;
    const problems = await findProblems(open, snapshot, { live, cache: this.#cache, asksKernel });
    return { plan: planRestore(snapshot, { problems, live }), problems };
  }

  /** Mounts the apps of pods, as far as possible. */
  async restoreAll(pods: readonly Looked[]): Promise<void> {
    const busy: Looked[] = [];
    const size = pods.length > FEW ? GROUP : 1;
    for (let at = 0; at < pods.length; at += size) {
      this.#call.options.signal?.throwIfAborted();
      busy.push(...await this.#restoreGroup(pods.slice(at, at + size)));
    }
    // No call waits for a lock while it holds others, which could deadlock.
    for (const pod of busy) await this.#restoreGroup([pod]);
  }

  /** Mounts the apps of pods together. Of several pods, it returns those that another command has locked. */
  async #restoreGroup(pods: readonly Looked[]): Promise<readonly Looked[]> {
    const locked: OpenPod[] = [];
    try {
      return await this.#restoreLocked(pods, locked);
    } finally {
      for (const pod of locked) pod[Symbol.dispose]();
    }
  }

  /** @param locked Receives the pods that this call locks, also if it fails. */
  async #restoreLocked(pods: readonly Looked[], locked: OpenPod[]): Promise<readonly Looked[]> {
    const open: OpenPod[] = [];
    const plans: Plan[] = [];
    const busy: Looked[] = [];
    for (const pod of pods) {
      await this.keepGoing(pod.layout, async () => {
        const found = await this.#lock(pod, pods.length > 1);
        if (found === "locked") busy.push(pod);
        if (found === null || found === "locked") return;
        locked.push(found);
        const { plan, problems } = await this.judge(found, true);
        this.noteAll(pod.layout, problems);
        checkPermissions("restore", requiredPermissions(plan));
        open.push(found);
        plans.push(plan);
      });
    }
    try {
      if (plans.length > 0) await this.#apply(plans, open);
    } catch (error) {
      const fail = () => Promise.reject(error);
      for (const { layout } of open) await this.keepGoing(layout, fail);
    }
    return busy;
  }

  async #lock(pod: Looked, others: boolean): Promise<OpenPod | "locked" | null> {
    try {
      const how = { earlier: requireOpen(pod), ...(others ? { waitMs: 0 } : {}) };
      return await openPod(pod.layout, this.#call, how);
    } catch (error) {
      if (others && error instanceof RefusedError && error.code === "locked") return "locked";
      throw error;
    }
  }

  async #apply(plans: readonly Plan[], open: readonly OpenPod[]): Promise<void> {
    const options = { ...uninterrupted(this.#call.options), open };
    const { outcome } = await applyPlan(joinPlans(plans, this.directory), options);
    const failures = new Map(outcome.failures.map(({ line, error }) => [line, error]));
    for (const plan of plans) {
      for (const { line } of selectOperations(plan, "mount")) {
        if (line === undefined) continue;
        const { app, rootfs } = line;
        const error = failures.get(line);
        if (error === undefined) this.restored.push({ pod: plan.pod, app, rootfs });
        else this.failed.push(notRestored(plan.pod, app, error));
      }
    }
  }

  /** Notes the lines of a pod that could not be mounted. */
  noteAll({ pod }: PodLayout, problems: Problems): void {
    for (const [{ app }, error] of problems) this.failed.push(notRestored(pod, app, error));
  }

  /** Runs an action for a pod. The failure of one of several pods does not stop the others. */
  async keepGoing({ pod }: PodLayout, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof OverlayError) || error.code === "interrupted") throw error;
      // A pod that was named is the whole request.
      if ("pod" in this.#request || error instanceof MissingPermissionError) throw error;
      this.failed.push(notRestored(pod, null, error));
    }
  }
}

type Problems = ReadonlyMap<AppLine, OverlayError>;

function notRestored(pod: string, app: string | null, error: OverlayError): NotRestored {
  const { code, message: reason, hint } = error;
  return { pod, app, code, reason, hint };
}
