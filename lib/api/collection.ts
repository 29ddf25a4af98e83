/**
 * One call of gc: finds the pods, plans what is done to each, and carries it out pod by pod.
 *
 * @module
 */
import { applyPlan } from "../apply/apply.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { look } from "../system/disk.ts";
import { removeIfEmpty } from "../system/directory.ts";
import { asFailure, InvalidValueError, RefusedError } from "../core/errors.ts";
import { checkGarbage, garbageIn, wasPod } from "../pod/garbage.ts";
import { checkPermissions, isGranted } from "../system/permissions.ts";
import { checkAbove } from "../system/trust.ts";
import { refuseLocked } from "../system/lock.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { Call, openAll, openPermissions, openPod } from "../pod/open.ts";
import type { OpenPod } from "../pod/open.ts";
import { basename, child, parent } from "../core/path.ts";
import { noPodError } from "../pod/record.ts";
import { GARBAGE, listPods } from "../pod/list.ts";
import { lookAtPod } from "../pod/pod_facts.ts";
import { compareGroups, keptBy, makePlan, planCollect } from "../plan/plan_collect.ts";
import type { CollectRules } from "../plan/collect_rules.ts";
import type { Collected, CollectPlan, Kept, PodCollection } from "../plan/plan_collect.ts";
import { quote } from "../core/quote.ts";
import { selectOperations } from "../plan/plan.ts";

/** The pods that a call looks at, and the rules for them. */
export interface Scope {
  /** The directory that the pods are in. */
  readonly directory: string;
  /** The pod that is named; `null` for all pods of the directory. */
  readonly named: PodLayout | null;
  /** The rules. */
  readonly rules: CollectRules;
  /** Set if nothing is changed. */
  readonly dryRun: boolean;
  /** Set if a missing pod or directory is no error. */
  readonly ignoreMissing: boolean;
}

/** The passes of a call; a call that only marks does not sweep. */
type Phase = CollectRules["phase"];

/** A call of gc. */
export class Collection {
  readonly #scope: Scope;
  readonly #call: Call;
  /** The directory for the pods that are set aside. */
  readonly #garbage: string;
  /** The pods that were opened without a lock. */
  readonly #seen = new Map<string, OpenPod>();

  private constructor(scope: Scope, call: Call) {
    this.#scope = scope;
    this.#call = call;
    this.#garbage = child(scope.directory, GARBAGE);
  }

  /** Begins a call: checks that the directory may be read, and that no other user can replace it. */
  static async begin(scope: Scope, options: ChangeOptions): Promise<Collection> {
    const { directory, named } = scope;
    checkPermissions("collect", { ...openPermissions(directory), write: lockedIn(scope) });
    if (named !== null && basename(named.pod) === GARBAGE) throw noPodName(named.pod);
    // Of several pods, one that is locked is skipped.
    const call = new Call(named === null ? { waitMs: 0, ...options } : options);
    await checkAbove([child(directory, GARBAGE)], call.programs);
    call.trusted.add(directory);
    if (named !== null && lockedIn(scope).length > 0 && look(named.lock)?.isFile) {
      // Another command that holds the lock may change the pod, so it is waited for.
      using _open = await openPod(named, call);
    }
    return new Collection(scope, call);
  }

  /** Plans the call, and changes nothing. */
  async plan(): Promise<CollectPlan> {
    const { named, directory, ignoreMissing, dryRun } = this.#scope;
    const isNowhere = named === null && ignoreMissing && look(directory) === null;
    const found = isNowhere ? [] : this.#find(this.#scope.rules.phase);
    if (named !== null && look(named.pod) === null && this.#find(undefined).length === 0) {
      if (!dryRun) this.#tidy();
      if (!ignoreMissing) throw noPodError(named.pod);
    }
    const kept: Kept[] = [];
    const plans: PodCollection[] = [];
    for (const visited of await openAll("collect", found, this.#call)) {
      await this.#keepGoing(visited.layout.pod, kept, async () => {
        if ("error" in visited) throw visited.error;
        this.#seen.set(visited.layout.pod, visited.open);
        plans.push(
          await this.#planPod(visited.open).catch((error) => this.#planAgain(visited, error)),
        );
      });
    }
    return this.#join(plans, kept);
  }

  /** Carries a plan out. Each pod is looked at again when it is locked. */
  async carryOut(plan: CollectPlan): Promise<Collected> {
    const { named, rules: { phase } } = this.#scope;
    const marked: { pod: string; garbage: string }[] = [];
    const removed: { garbage: string }[] = [];
    const kept = plan.kept.filter(({ pod }) => !this.#isAside(pod));
    for (const { pod } of plan.marked) {
      this.#call.options.signal?.throwIfAborted();
      await this.#keepGoing(pod, kept, async () => {
        const garbage = await this.#setAside(podLayout(pod));
        if (garbage !== null) marked.push({ pod, garbage });
      });
    }
    const isTouched = () => named !== null && marked.length + removed.length > 0;
    for (const layout of phase === "mark" ? [] : this.#find("sweep")) {
      this.#call.options.signal?.throwIfAborted();
      await this.#keepGoing(layout.pod, kept, async () => {
        const young = await this.#remove(layout).catch((error) => {
          throw isTouched() ? asFailure(error) : error;
        });
        if (young === true) removed.push({ garbage: layout.pod });
        else if (young !== false) kept.push(young);
      });
    }
    this.#tidy();
    return { marked, removed, kept: this.#inOrder(kept) };
  }

  /** Removes the directory for pods that are set aside, unless something is in it. */
  #tidy(): void {
    if (isGranted({ name: "write", path: this.#garbage })) removeIfEmpty(this.#garbage);
  }

  /** Lists pods: first those in their places, then those in the garbage. */
  #find(phase: Phase): readonly PodLayout[] {
    const { directory, named } = this.#scope;
    const all = named === null ? () => listPods({ pods: directory }, this.#call.options) : () => {
      return look(named.pod) === null ? [] : [named.pod];
    };
    const aside = phase === "mark" ? [] : garbageIn(directory);
    const own = aside.filter((path) => named === null || wasPod(path, named.pod));
    return [...(phase === "sweep" ? [] : all()), ...own].map((path) => podLayout(path));
  }

  #isAside(pod: string): boolean {
    return parent(pod) === this.#garbage;
  }

  async #planPod(open: OpenPod, rules = this.#scope.rules): Promise<PodCollection> {
    const { directory, dryRun } = this.#scope;
    const { layout } = open;
    checkGarbage(directory);
    const plan = planCollect(await lookAtPod(open, this.#isAside(layout.pod)), rules);
    if (!dryRun || plan.mark.length + plan.sweep.length === 0) return plan;
    refuseLocked(layout.lock);
    await refuseUsed(plan, open);
    return plan;
  }

  /**
   * Plans again under the lock: another command may have written a line and mounted it after the record was
   * read and before the mount table was.
   */
  async #planAgain(
    { layout }: { readonly layout: PodLayout },
    error: unknown,
  ): Promise<PodCollection> {
    const isOdd = error instanceof RefusedError && error.code === "foreign-mount";
    const mayLock = !this.#scope.dryRun && isGranted({ name: "write", path: layout.lock });
    if (!isOdd || !mayLock) throw error;
    this.#seen.delete(layout.pod);
    this.#call.forgetMounts();
    using open = look(layout.lock) === null
      ? await openPod(layout, this.#call, { lock: false })
      : await this.#lock(layout);
    // Another command has collected it.
    if (open === null) return { mark: [], sweep: [], kept: null };
    return await this.#planPod(open);
  }

  #join(plans: readonly PodCollection[], kept: readonly Kept[]): CollectPlan {
    const marks = plans.flatMap(({ mark }) => mark);
    // In the order of their paths in the garbage.
    const sweeps = plans.map(({ sweep }) => sweep).toSorted(compareGroups).flat();
    const { directory } = this.#scope;
    return {
      action: "collect",
      pod: directory,
      mounts: [],
      operations: [{ kind: "look", path: directory }, ...marks, ...sweeps],
      marked: selectOperations({ operations: marks }, "set-aside").map(({ path, to }) => ({
        pod: path,
        garbage: to,
      })),
      removed: selectOperations({ operations: sweeps }, "remove").map(({ path }) => ({
        garbage: path,
      })),
      kept: this.#inOrder([...kept, ...plans.flatMap(({ kept }) => kept ?? [])]),
    };
  }

  /** Sorts pods: first those in their places, then those in the garbage. */
  #inOrder(kept: readonly Kept[]): readonly Kept[] {
    const keyOf = ({ pod }: Kept) => `${this.#isAside(pod) ? 1 : 0}${pod}`;
    return kept.toSorted((a, b) => keyOf(a) < keyOf(b) ? -1 : 1);
  }

  /** Runs an action for a pod. Its failure does not keep the other pods from being collected. */
  async #keepGoing(pod: string, kept: Kept[], act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (this.#scope.named !== null) throw error;
      kept.push(keptBy(error, pod));
    }
  }

  /** Locks a pod. If it has changed since it was looked at, the mount table is read again. */
  async #lock(layout: PodLayout): Promise<OpenPod | null> {
    const earlier = this.#seen.get(layout.pod);
    this.#call.forgetMounts();
    return await openPod(layout, this.#call, earlier === undefined ? {} : { earlier });
  }

  /**
   * Sets a pod aside.
   *
   * @returns Its path in the garbage; `null` if another process has set it aside.
   */
  async #setAside(layout: PodLayout): Promise<string | null> {
    using open = await this.#lock(layout);
    if (open === null) return null;
    const { mark } = await this.#planPod(open);
    // A signal ends the call between two pods.
    const { signal: _, ...options } = this.#call.options;
    return (await applyPlan(makePlan(layout, mark), { ...options, open: [open] })).place;
  }

  /**
   * Removes a pod that is set aside, unless its grace period lasts.
   *
   * @returns `true` if this call has removed it, `false` if another one has; or the reason why it is kept.
   */
  async #remove(layout: PodLayout): Promise<boolean | Kept> {
    const pod = await openPod(layout, this.#call, { lock: false });
    if (pod === null) return false;
    const { kept, sweep } = await this.#planPod(pod);
    const { options } = this.#call;
    if (kept !== null) {
      await applyPlan(makePlan(layout, sweep), { ...options, open: [pod] });
      return kept;
    }
    this.#seen.set(layout.pod, pod);
    using open = await this.#lock(layout);
    if (open === null) return false;
    // If the lock file was missing, making it has changed the time by which the grace period is measured.
    const again = await this.#planPod(open, { ...this.#scope.rules, gracePeriodMs: 0 });
    return (await applyPlan(makePlan(layout, again.sweep), { ...options, open: [open] })).changed;
  }
}

function noPodName(pod: string): InvalidValueError {
  const message = `Cannot collect pod ${quote(pod)}: that is no name of a pod`;
  return new InvalidValueError("invalid-value", message, { path: pod });
}

/** Returns the pod that is locked before it is judged. */
function lockedIn({ named, dryRun, rules }: Scope): readonly string[] {
  if (named === null || dryRun || rules.phase === "sweep") return [];
  const isHidden = !isGranted({ name: "read", path: named.pod });
  return isHidden || look(named.pod) !== null ? [named.pod] : [];
}

/** Asks the kernel about uppers in use, as applying the plan would, but writes no file. */
async function refuseUsed({ mark }: PodCollection, { layout: pod, call }: OpenPod): Promise<void> {
  // Uppers that are mounted now are checked after the unmount.
  const before = mark.slice(0, mark.findIndex(({ kind }) => kind === "free"));
  const lines = selectOperations({ operations: before }, "idle").map(({ line }) => line);
  if (lines.length === 0) return;
  const { refuseInUse } = await import("../pod/in_use.ts");
  const { programs, options } = call;
  await refuseInUse("collect", lines, { pod, programs, options, dryRun: true });
}
