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
import { keptBy, planCollect } from "../plan/plan_collect.ts";
import type { CollectRules } from "../plan/collect_rules.ts";
import type { Kept, PodCollection } from "../plan/plan_collect.ts";
import type { Operation, OperationOf } from "../plan/operation.ts";
import type { Plan } from "../plan/plan.ts";
import { quote } from "../core/quote.ts";

/** What was collected. */
export interface Collected {
  /** The pods that were put aside, and where. */
  readonly marked: readonly { readonly pod: string; readonly garbage: string }[];
  /** What was removed, by the path that it had aside. */
  readonly removed: readonly { readonly garbage: string }[];
  /** What was left alone, and why. */
  readonly kept: readonly Kept[];
}

/** The plan of gc: what it does to the pods of a directory, and why it leaves others alone. Safe as JSON. */
export interface CollectPlan extends Plan, Collected {}

/** The pods that a call looks at, and the rules that it judges them by. */
export interface Scope {
  /** The directory that the pods are in. */
  readonly directory: string;
  /** The pod that is named, if one is. */
  readonly named: PodLayout | null;
  /** The rules. */
  readonly rules: CollectRules;
  /** Whether nothing is touched. */
  readonly dryRun: boolean;
  /** Whether a pod or a directory that is not there is no error. */
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
  /** The pods as they were opened to be looked at. */
  readonly #seen = new Map<string, OpenPod>();

  private constructor(scope: Scope, call: Call) {
    this.#scope = scope;
    this.#call = call;
    this.#garbage = child(scope.directory, GARBAGE);
  }

  /** Begins a call: makes sure that the directory may be looked at, and that nobody can swap it. */
  static async begin(scope: Scope, options: ChangeOptions): Promise<Collection> {
    const { directory, named } = scope;
    checkPermissions("collect", { ...openPermissions(directory), write: lockedIn(scope) });
    if (named !== null && basename(named.pod) === GARBAGE) throw noPodName(named.pod);
    // One of many pods that a command works on is not waited for.
    const call = new Call(named === null ? { waitMs: 0, ...options } : options);
    await checkAbove([child(directory, GARBAGE)], call.programs);
    call.trusted.add(directory);
    if (named !== null && lockedIn(scope).length > 0 && look(named.lock)?.isFile) {
      // What the command that works on the pod leaves decides.
      using _open = await openPod(named, call);
    }
    return new Collection(scope, call);
  }

  /** Plans the call, and touches nothing. */
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

  /** Finds pods: first those in their places, then those that are set aside. */
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

  /** A command that works on the pod may have mounted what its lines did not name yet, so it is waited for. */
  async #planAgain(
    { layout }: { readonly layout: PodLayout },
    error: unknown,
  ): Promise<PodCollection> {
    const isOdd = error instanceof RefusedError && error.code === "foreign-mount";
    const mayLock = !this.#scope.dryRun && isGranted({ name: "write", path: layout.lock });
    if (!isOdd || !mayLock || look(layout.lock) === null) throw error;
    using open = await this.#lock(layout);
    if (open === null) throw error;
    return await this.#planPod(open);
  }

  #join(plans: readonly PodCollection[], kept: readonly Kept[]): CollectPlan {
    const marks = plans.flatMap(({ mark }) => mark);
    // As they lie in the garbage then.
    const sweeps = plans.map(({ sweep }) => sweep).toSorted(byPath).flat();
    const { directory } = this.#scope;
    return {
      action: "collect",
      pod: directory,
      mounts: [],
      operations: [{ kind: "look", path: directory }, ...marks, ...sweeps],
      marked: ofKind(marks, "set-aside").map(({ path, to }) => ({ pod: path, garbage: to })),
      removed: ofKind(sweeps, "remove").map(({ path }) => ({ garbage: path })),
      kept: this.#inOrder([...kept, ...plans.flatMap(({ kept }) => kept ?? [])]),
    };
  }

  /** First the pods in their places, then those that are set aside. */
  #inOrder(kept: readonly Kept[]): readonly Kept[] {
    const keyOf = ({ pod }: Kept) => `${this.#isAside(pod) ? 1 : 0}${pod}`;
    return kept.toSorted((a, b) => keyOf(a) < keyOf(b) ? -1 : 1);
  }

  /** A pod that cannot be collected does not keep the others from being collected. */
  async #keepGoing(pod: string, kept: Kept[], act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (this.#scope.named !== null) throw error;
      kept.push(keptBy(error, pod));
    }
  }

  /** Locks a pod that was looked at. Where it has changed since, the mount table is read again. */
  async #lock(layout: PodLayout): Promise<OpenPod | null> {
    const earlier = this.#seen.get(layout.pod);
    this.#call.forgetMounts();
    return await openPod(layout, this.#call, earlier === undefined ? {} : { earlier });
  }

  /**
   * Sets a pod aside.
   *
   * @returns Where it is now; `null` if another process was faster.
   */
  async #setAside(layout: PodLayout): Promise<string | null> {
    using open = await this.#lock(layout);
    if (open === null) return null;
    const { mark } = await this.#planPod(open);
    // What is begun with a pod is brought to its end.
    const { signal: _, ...options } = this.#call.options;
    return (await applyPlan(planOf(layout, mark), { ...options, open: [open] })).place;
  }

  /**
   * Removes a pod that is set aside, unless it is young.
   *
   * @returns `true` if it is gone by this call, `false` if by another one; or why it is kept.
   */
  async #remove(layout: PodLayout): Promise<boolean | Kept> {
    const pod = await openPod(layout, this.#call, { lock: false });
    if (pod === null) return false;
    const { kept, sweep } = await this.#planPod(pod);
    const { options } = this.#call;
    if (kept !== null) {
      await applyPlan(planOf(layout, sweep), { ...options, open: [pod] });
      return kept;
    }
    this.#seen.set(layout.pod, pod);
    using open = await this.#lock(layout);
    if (open === null) return false;
    // The lock file, if it was gone, has changed the time since when the pod is aside.
    const again = await this.#planPod(open, { ...this.#scope.rules, gracePeriodMs: 0 });
    return (await applyPlan(planOf(layout, again.sweep), { ...options, open: [open] })).changed;
  }
}

function noPodName(pod: string): InvalidValueError {
  const message = `Cannot collect pod ${quote(pod)}: that is no name of a pod`;
  return new InvalidValueError("invalid-value", message, { path: pod });
}

/** The pod that is locked before anything is decided about it. */
function lockedIn({ named, dryRun, rules }: Scope): readonly string[] {
  if (named === null || dryRun || rules.phase === "sweep") return [];
  const isHidden = !isGranted({ name: "read", path: named.pod });
  return isHidden || look(named.pod) !== null ? [named.pod] : [];
}

function byPath([a]: readonly Operation[], [b]: readonly Operation[]): number {
  return (a?.path ?? "") < (b?.path ?? "") ? -1 : 1;
}

function planOf({ pod }: PodLayout, operations: readonly Operation[]): Plan {
  return { action: "collect", pod, operations, mounts: [] };
}

/** Asks the kernel, as the plan would, and writes nothing for it. */
async function refuseUsed({ mark }: PodCollection, { layout: pod, call }: OpenPod): Promise<void> {
  // What is mounted now is asked about when it is unmounted.
  const before = mark.slice(0, mark.findIndex(({ kind }) => kind === "free"));
  const lines = ofKind(before, "idle").map(({ line }) => line);
  if (lines.length === 0) return;
  const { refuseInUse } = await import("../pod/in_use.ts");
  const { programs, options } = call;
  await refuseInUse("collect", lines, { pod, programs, options, dryRun: true });
}

/** The operations of a kind. */
function ofKind<K extends Operation["kind"]>(
  operations: readonly Operation[],
  kind: K,
): readonly OperationOf<K>[] {
  return operations.filter((operation): operation is OperationOf<K> => operation.kind === kind);
}
