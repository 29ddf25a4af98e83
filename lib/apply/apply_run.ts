/**
 * The state of one run of a plan.
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
import type { UnmountOperation } from "../plan/operation.ts";
import type { Plan } from "../plan/plan.ts";
import { child } from "../core/path.ts";
import type { ProgramOptions } from "../system/run.ts";
import type { OpenPod } from "../pod/open.ts";
import { selectOperations } from "../plan/plan.ts";

/** The options of {@linkcode ApplyRun}. */
export interface ApplyOptions extends ChangeOptions {
  /** Asks whether SELinux is enabled. @default {asks findmnt} */
  readonly selinux?: () => Promise<boolean>;
  /** The check of the directories above the pod, if it was started before. */
  readonly asked?: Asked | null;
  /** The pods, if they were opened before; the caller closes them. */
  readonly open?: readonly OpenPod[];
}

/** The state of one app in a run. */
export interface AppRun {
  /** The mount that the plan asks for. */
  readonly mount: MountPlan;
  /** The line that is recorded: the plan's, without the label where SELinux is not enabled. */
  line: AppLine;
  /** Set if the app was mounted as requested before this run. */
  live: boolean;
  /** Set if `overlay.fstab` had a line of the app. */
  recorded: boolean;
  /** Set if this run made a lasting change to the app. */
  changed: boolean;
}

/** The outcome of unmounts and restores, whose failures do not end the run. */
export interface Outcome {
  /** The mounts that were unmounted, in the order of unmounting. */
  readonly gone: UnmountOperation[];
  /** The rootfs of each app that is in use and still mounted. */
  readonly left: Set<string>;
  /** The rootfs of each app that is unmounted, and whose upper is in use elsewhere. */
  readonly kept: Set<string>;
  /** The lines that could not be mounted, each with the reason. */
  readonly failures: { readonly line: AppLine; readonly error: OverlayError }[];
  /** Makes the error that is thrown after the rest of the plan is applied. */
  error: (() => Promise<OverlayError>) | null;
}

/** The state of one run. */
export class ApplyRun {
  /** The plan. */
  readonly plan: Plan;
  /** Where everything of the pod lies. */
  readonly pod: PodLayout;
  /** The options. */
  readonly options: ApplyOptions;
  /** The changes made so far, and how to undo them. */
  readonly journal: Journal = new Journal();
  /** The apps that are rendered, in the order of mounting. */
  readonly apps: readonly AppRun[];
  /** The lines that `overlay.fstab` had before. */
  entries: readonly FstabEntry[] = [];
  /** Set if this run made the pod, which is then empty. */
  fresh = false;
  /** The identity of the pod, see `formatIdentity`; `null` while it is not known. */
  identity: string | null = null;
  /** Set if SELinux labels are set. */
  labels = false;
  /** Set if this run made a lasting change. */
  changed = false;
  /** The path of the pod, which an operation may move. */
  place: string;
  /** The directories outside the pod that this run made. */
  readonly made: Set<string> = new Set();
  /** The paths that lacked a parent directory when it was checked who could replace them. */
  unseen: ReadonlySet<string> = new Set();
  /** Settles when all written data is on the disk. */
  onDisk: Promise<void> = Promise.resolve();
  /** The pod's lock, once it is held. */
  lock: PodLock | null = null;
  /** The metadata of lowers from which owner and mode are taken, once they were read. */
  readonly lowers: Map<string, Deno.FileInfo> = new Map();
  /** Set if the plan mounts the apps. */
  readonly mounts: boolean;
  /** The outcome of unmounts and restores. */
  readonly outcome: Outcome = {
    gone: [],
    left: new Set(),
    kept: new Set(),
    failures: [],
    error: null,
  };
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

  /** Notes a lasting change, and how to undo it. */
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

  /** Tells whether apps are rendered, and each was mounted as requested before. */
  get live(): boolean {
    return this.apps.length > 0 && this.apps.every(({ live }) => live);
  }

  /** Tells whether this run made a change that is not taken back when it fails. */
  get isLasting(): boolean {
    return this.outcome.gone.length > 0 || this.place !== this.pod.pod;
  }

  /** The options with which programs are run. */
  get programs(): ProgramOptions {
    return programOptions(this.options);
  }
}
