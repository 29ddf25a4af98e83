/**
 * What one run of a plan knows and has done so far.
 *
 * @module
 */
import type { AppLine, MountPlan } from "../overlay/app_line.ts";
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { OverlayError } from "../core/errors.ts";
import type { FstabEntry } from "../overlay/fstab.ts";
import { checkSame } from "../system/trust.ts";
import type { Asked } from "../system/trust.ts";
import { Journal } from "./journal.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import type { PodLock } from "../system/lock.ts";
import type { Kind, OperationOf, UnmountOperation } from "../plan/operation.ts";
import type { Plan } from "../plan/plan.ts";
import { child } from "../core/path.ts";
import type { ProgramOptions } from "../system/run.ts";
import type { OpenPod } from "../pod/open.ts";

/** How a plan is applied. */
export interface ApplyOptions extends ChangeOptions {
  /** Asks whether SELinux is enabled. @default {asks findmnt} */
  readonly selinux?: () => Promise<boolean>;
  /** The look at what is above the pod, if it was begun before. */
  readonly asked?: Asked | null;
  /** The pods, if they were opened before; who has opened them closes them. */
  readonly open?: readonly OpenPod[];
}

/** What a run knows of one of its apps. */
export interface AppRun {
  /** What is to be mounted. */
  readonly mount: MountPlan;
  /** The line that is recorded: the plan's, without the label where SELinux is not enabled. */
  line: AppLine;
  /** Whether the app is mounted already, just as asked for. */
  live: boolean;
  /** Whether `overlay.fstab` had a line of the app. */
  recorded: boolean;
  /** Whether this run changed anything of the app that stays. */
  changed: boolean;
}

/** What became of the mounts that a plan takes away or puts back, and that of one does not end the run. */
export interface Outcome {
  /** What was unmounted, in the order of unmounting. */
  readonly gone: UnmountOperation[];
  /** The rootfs of each app that is in use, and mounted still. */
  readonly left: Set<string>;
  /** The lines that could not be mounted, each with the reason. */
  readonly failures: { readonly line: AppLine; readonly error: OverlayError }[];
  /** Finds the error that is thrown when the rest of the plan is applied. */
  error: (() => Promise<OverlayError>) | null;
}

/** The state of one run. */
export class ApplyRun {
  /** The plan. */
  readonly plan: Plan;
  /** Where everything of the pod lies. */
  readonly pod: PodLayout;
  /** How it is applied. */
  readonly options: ApplyOptions;
  /** What was done, and how it is undone. */
  readonly journal: Journal = new Journal();
  /** The apps that are rendered, in the order of mounting. */
  readonly apps: readonly AppRun[];
  /** The lines that `overlay.fstab` had before. */
  entries: readonly FstabEntry[] = [];
  /** Whether this run made the pod, which then holds nothing. */
  fresh = false;
  /** The identity of the pod, see `formatIdentity`; `null` while it is not known. */
  identity: string | null = null;
  /** Whether labels are set. */
  labels = false;
  /** Whether this run changed anything that stays. */
  changed = false;
  /** Where the pod is, which an operation may move. */
  place: string;
  /** The directories outside the pod that this run made. */
  readonly made: Set<string> = new Set();
  /** The paths above which something was missing when it was looked at who could swap them. */
  unseen: ReadonlySet<string> = new Set();
  /** Settles when all that was written is on the disk. */
  onDisk: Promise<void> = Promise.resolve();
  /** The pod's lock, once it is held. */
  lock: PodLock | null = null;
  /** What the lowers are like that something is made after, once they were looked at. */
  readonly lowers: Map<string, Deno.FileInfo> = new Map();
  /** Whether the plan mounts the apps. */
  readonly mounts: boolean;
  /** What became of mounts that were there, or are put back. */
  readonly outcome: Outcome = { gone: [], left: new Set(), failures: [], error: null };
  readonly #owners = new Map<string, AppRun>();

  /** Starts a run of a plan. */
  constructor(plan: Plan, options: ApplyOptions) {
    this.plan = plan;
    this.pod = podLayout(plan.pod);
    this.place = plan.pod;
    this.options = options;
    this.entries = options.open?.[0]?.record.entries ?? [];
    const lines = selectOperations(plan, "record").map(({ line }) => line);
    this.apps = plan.mounts.map((mount, at) => {
      const line = lines[at];
      if (line === undefined) {
        throw new OverlayError("failed", "Cannot apply plan: a line is missing");
      }
      return { mount, line, live: false, recorded: false, changed: false };
    });
    this.mounts = plan.operations.some(({ kind }) => kind === "mount");
    for (const app of this.apps) {
      const { dest, rootfs, upper, work } = app.mount;
      const own = [rootfs, upper, work, child(dest, "manifest")];
      for (const path of own) if (path !== null) this.#owners.set(path, app);
    }
  }

  /** The app whose rootfs, upper, work or manifest the path is. */
  appOf(path: string): AppRun | undefined {
    return this.#owners.get(path);
  }

  /** Tells whether a line may be mounted in an image that was mounted before. */
  readonly isLive = (line: AppLine): boolean => this.appOf(line.rootfs)?.mount.live === true;

  /** Notes a change that stays, and how to undo it. */
  changedBy(what: () => string, undo: () => void | Promise<void>, app?: AppRun): void {
    this.changed = true;
    if (app !== undefined) app.changed = true;
    this.journal.add(what, undo);
  }

  /**
   * Checks that the pod is still the directory that was made or found; or all pods that were opened before.
   *
   * @throws {RefusedError} If it was moved or replaced.
   */
  checkPlace(): void {
    const { open } = this.options;
    if (open === undefined) return checkSame(this.pod.pod, this.identity);
    for (const pod of open) pod.check();
  }

  /** Whether apps are rendered, and every one is mounted already, just as asked for. */
  get live(): boolean {
    return this.apps.length > 0 && this.apps.every(({ live }) => live);
  }

  /** Whether this run did something that is not taken back when it fails. */
  get isLasting(): boolean {
    return this.outcome.gone.length > 0 || this.place !== this.pod.pod;
  }

  /** What programs are run with. */
  get programs(): ProgramOptions {
    return programOptions(this.options);
  }
}

/** The operations of a kind. */
export function selectOperations<K extends Kind>(plan: Plan, kind: K): OperationOf<K>[] {
  return plan.operations.filter((operation): operation is OperationOf<K> => {
    return operation.kind === kind;
  });
}
