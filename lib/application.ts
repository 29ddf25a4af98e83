/**
 * What one run of a plan knows and has done so far.
 *
 * @module
 */
import type { AppLine } from "./app_line.ts";
import { OverlayError } from "./errors.ts";
import { programOptions } from "./change_options.ts";
import type { ChangeOptions } from "./change_options.ts";
import type { FstabEntry } from "./fstab.ts";
import { Journal } from "./journal.ts";
import { podLayout } from "./layout.ts";
import type { PodLayout } from "./layout.ts";
import type { PodLock } from "./lock.ts";
import type { Operation } from "./operation.ts";
import type { Plan } from "./plan.ts";
import type { ProgramOptions } from "./run.ts";

/** How a plan is applied. */
export interface ApplyOptions extends ChangeOptions {
  /** Asks whether SELinux is enabled. @default {asks findmnt} */
  readonly selinux?: () => Promise<boolean>;
}

/** The state of one run. */
export class Application {
  /** The plan. */
  readonly plan: Plan;
  /** Where everything of the pod lies. */
  readonly pod: PodLayout;
  /** How it is applied. */
  readonly options: ApplyOptions;
  /** What was done, and how it is undone. */
  readonly journal: Journal = new Journal();
  /** The line that is recorded: the plan's, without the label where SELinux is not enabled. */
  line: AppLine;
  /** The lines that `overlay.fstab` had before. */
  entries: readonly FstabEntry[] = [];
  /** Whether this run made the pod, which then holds nothing. */
  fresh = false;
  /** The pod's owner: root, or the user we are. */
  owner: number | null = null;
  /** Whether the app is mounted already, just as asked for. */
  live = false;
  /** Whether `overlay.fstab` had a line of the app. */
  recorded = false;
  /** Whether labels are set. */
  labels = false;
  /** Whether this run changed anything that stays. */
  changed = false;
  /** Settles when all that was written is on the disk. */
  onDisk: Promise<void> = Promise.resolve();
  /** The pod's lock, once it is held. */
  lock: PodLock | null = null;

  /** Starts a run of a plan. */
  constructor(plan: Plan, options: ApplyOptions) {
    this.plan = plan;
    this.pod = podLayout(plan.mount.pod);
    this.options = options;
    this.line = operationOf(plan, "record").line;
  }

  /** Notes a change that stays, and how to undo it. */
  changedBy(what: string, undo: () => void | Promise<void>): void {
    this.changed = true;
    this.journal.add(what, undo);
  }

  /** Whether the plan ends with the mount. */
  get mounts(): boolean {
    return this.plan.operations.some((operation) => operation.kind === "mount");
  }

  /** What programs are run with. */
  get programs(): ProgramOptions {
    return programOptions(this.options);
  }
}

/** The operation of a kind, which every plan has. */
export function operationOf<K extends Operation["kind"]>(
  plan: Plan,
  kind: K,
): Extract<Operation, { kind: K }> {
  for (const operation of plan.operations) {
    if (operation.kind === kind) return operation as Extract<Operation, { kind: K }>;
  }
  throw new OverlayError("failed", `Cannot apply plan: it has no operation ${kind}`);
}
