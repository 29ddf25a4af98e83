/**
 * The plan of throwing away what apps wrote, and keeping the apps.
 *
 * Planning is pure: the pod is read before, and the same snapshot gives the same plan.
 *
 * Requires no permissions.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { RefusedError } from "../core/errors.ts";
import { appWords } from "../core/quote.ts";
import type { PodLayout } from "../request/layout.ts";
import type { Operation } from "./operation.ts";
import { freeze } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { unmountOperations } from "./plan_unmount.ts";
import { resetOperations } from "./reset_operations.ts";
import { refuseElsewhere } from "./refusals.ts";
import type { PodSnapshot } from "./snapshot.ts";

/**
 * Plans to empty the uppers of apps. Those that are mounted are unmounted first, never lazily, and mounted again
 * afterwards.
 *
 * @param snapshot The pod; the lines in the snapshot are reset. Views have nothing to be reset.
 * @throws {RefusedError} If the rootfs of an app is a copy, or holds that of another app, or lies in another one.
 */
export function planReset(snapshot: PodSnapshot): Plan {
  const { pod, record } = snapshot;
  refuseElsewhere(record.lines, pod);
  const seen = snapshot.seen.filter(({ line }) => hasUpper(line, pod));
  for (const { line, state } of seen) refuseNested(line, record.lines, state === "mounted");
  const mounted = seen.filter(({ state }) => state === "mounted").map(({ line }) => line);
  return freeze<Plan>({
    action: "reset",
    pod: pod.pod,
    operations: [
      { kind: "open", path: pod.pod },
      ...unmountOperations({ ...snapshot, seen, unnamed: [] }, { lazy: false, foreign: false }),
      ...resetOperations(seen.map(({ line }) => line), { all: record.lines, pod }),
      ...record.lines.filter((line) => mounted.includes(line)).map((line): Operation => {
        return { kind: "mount", path: line.rootfs, fstab: pod.fstab, line };
      }),
    ],
    mounts: [],
  });
}

function hasUpper(line: AppLine, pod: PodLayout): boolean {
  if (!line.copy) return readLineConfig(line, pod.pod).upper !== null;
  const reason = "its rootfs is a copy of the tree, in which nothing tells what it wrote";
  throw new RefusedError("refused", `Cannot reset ${appWords(line.app)}: ${reason}`, {
    path: line.rootfs,
    hint: "collect the pod, and render it again",
  });
}

/** Refuses an app whose upper holds the mount point of another one, and a mounted one that lies in another one. */
function refuseNested(line: AppLine, lines: readonly AppLine[], mounted: boolean): void {
  const isIn = (inner: AppLine, outer: AppLine) => inner.rootfs.startsWith(`${outer.rootfs}/`);
  const inner = lines.find((other) => isIn(other, line));
  const outer = mounted ? lines.find((other) => isIn(line, other)) : undefined;
  if (inner === undefined && outer === undefined) return;
  const [reason, hint] = inner !== undefined
    ? [
      `the destination of ${appWords(inner.app)} lies in it, and would go too`,
      "collect the pod, and render it again",
    ]
    : [
      `it is mounted in the rootfs of ${appWords(outer?.app ?? "")}, in which something may run`,
      "unmount it first, and render it again afterwards",
    ];
  throw new RefusedError("in-use", `Cannot reset ${appWords(line.app)}: ${reason}`, {
    path: line.rootfs,
    hint,
  });
}
