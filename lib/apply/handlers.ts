/**
 * The handler of each kind of operation.
 *
 * @module
 */
import { applyDirectory, applyGroup } from "./apply_directory.ts";
import { applyManifest, applyRecords } from "./apply_files.ts";
import { applyReal, applyRequires, applyTrust } from "./apply_checks.ts";
import { applyLock } from "./apply_lock.ts";
import { applyLabel, applyMounts } from "./apply_mount.ts";
import type { ApplyRun } from "./apply_run.ts";
import type { Kind, OperationOf } from "../plan/operation.ts";

/** Applies operations of a kind. */
export interface Handler<K extends Kind> {
  /**
   * Applies operations, and notes in the run's journal how to undo each.
   *
   * @param operations Consecutive operations, if they are applied together; otherwise one.
   */
  readonly apply: (operations: readonly OperationOf<K>[], run: ApplyRun) => void | Promise<void>;
  /** Set if consecutive operations are applied together, with one check, one write or one process. */
  readonly together?: true;
  /** Set if it is applied also for an app that is mounted, and checks itself whether anything is to be done. */
  readonly always?: true;
  /** Set if it reports its steps itself. */
  readonly ownSteps?: true;
}

type Act<K extends Kind> = (operation: OperationOf<K>, run: ApplyRun) => void | Promise<void>;

/** A handler that applies one operation after the other. */
function each<K extends Kind>(act: Act<K>): Handler<K> {
  return { apply: ([operation], run) => operation === undefined ? undefined : act(operation, run) };
}

/** Loads a handler when it is needed: most renders have none of these. */
function late<K extends Kind>(load: () => Promise<Act<K>>): Handler<K> {
  return each(async (operation, run) => await (await load())(operation, run));
}

function lateTogether<K extends Kind>(load: () => Promise<Handler<K>["apply"]>): Handler<K> {
  return {
    apply: async (operations, run) => await (await load())(operations, run),
    together: true,
  };
}

/** The handlers. Kinds that most plans have are loaded with this file, the others when they are needed. */
export const HANDLERS: { readonly [K in Kind]: Handler<K> } = {
  require: { apply: applyRequires, together: true },
  real: each(applyReal),
  trust: { apply: applyTrust, together: true },
  directory: each(applyDirectory),
  lock: each(applyLock),
  // Done when the plan was made.
  look: each(() => {}),
  // A plan for a pod that is there is made while the pod is open.
  open: each((_, run) => run.checkPlace()),
  group: each(applyGroup),
  label: each(applyLabel),
  manifest: { ...each(applyManifest), always: true },
  link: late(async () => (await import("./apply_store.ts")).applyLink),
  use: { ...late(async () => (await import("./apply_store.ts")).applyUse), always: true },
  record: { apply: applyRecords, together: true, always: true },
  copy: late(async () => (await import("./apply_rootfs.ts")).applyCopy),
  mount: { apply: applyMounts, together: true },
  unmount: lateTogether(async () => (await import("./apply_unmount.ts")).applyUnmounts),
  volatile: late(async () => (await import("./apply_unmount.ts")).applyVolatile),
  reset: {
    ...late(async () => (await import("./apply_reset.ts")).applyReset),
    ownSteps: true,
  },
  touch: { ...late(async () => (await import("./apply_rootfs.ts")).applyTouch), always: true },
  mtab: { ...late(async () => (await import("./apply_rootfs.ts")).applyMtab), always: true },
  // The tree store applies its plans itself.
  unused: each(() => {}),
  idle: lateTogether(async () => (await import("./apply_collect.ts")).applyIdle),
  free: late(async () => (await import("./apply_collect.ts")).applyFree),
  "set-aside": late(async () => (await import("./apply_collect.ts")).applySetAside),
  "put-back": late(async () => (await import("./apply_collect.ts")).applyPutBack),
  grace: late(async () => (await import("./apply_collect.ts")).applyGrace),
  keep: late(async () => (await import("./apply_collect.ts")).applyKeep),
  rmdir: late(async () => (await import("./apply_removal.ts")).applyRmdir),
  remove: {
    ...late(async () => (await import("./apply_removal.ts")).applyRemove),
    ownSteps: true,
  },
};
