/**
 * The plan of mounting the lines of a pod again, as after a reboot.
 *
 * Planning is pure: the pod is read before, and the same snapshot gives the same plan.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";
import { linesWithin } from "../overlay/overlaps.ts";
import { RefusedError } from "../core/errors.ts";
import type { OverlayError } from "../core/errors.ts";
import { appWords } from "../core/quote.ts";
import type { Operation } from "./operation.ts";
import { freeze } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { refuseElsewhere } from "./refusals.ts";
import type { PodSnapshot } from "./snapshot.ts";

/** Lists the lines that are to be mounted and are not. A second line of an app would mount it on itself. */
export function linesToRestore({ record, seen }: PodSnapshot): readonly AppLine[] {
  const first = new Map(record.lines.toReversed().map((line) => [line.app, line]));
  return seen.filter(({ line, state }) => {
    return line.auto && first.get(line.app) === line && state !== "mounted";
  }).map(({ line }) => line);
}

/** Collects the errors of lines that lie in apps whose use cannot be seen. */
export function linesLost(
  lines: readonly AppLine[],
  used: readonly AppLine[],
): readonly (readonly [AppLine, RefusedError])[] {
  const within = linesWithin(lines, new Set(used.map(({ rootfs }) => rootfs)));
  const lost = new Set([...within.values()].flat());
  for (const line of used) lost.delete(line);
  return [...lost].map((line) => [line, lostError(line)]);
}

function lostError({ app, rootfs }: AppLine): RefusedError {
  const reason = "the image that it lies in is in use where nobody sees it";
  const hint = "end the processes that were started in that one, and run this again";
  const message = `Cannot mount ${appWords(app)} again: ${reason}`;
  return new RefusedError("busy", message, { path: rootfs, hint });
}

/** The facts about the lines that are to be mounted again. */
export interface RestoreFacts {
  /** The lines that cannot be mounted, each with the reason. */
  readonly problems: ReadonlyMap<AppLine, OverlayError>;
  /** Set if nothing runs in the mounted images, so that a line may be mounted in one. */
  readonly live: boolean;
}

/**
 * Plans to mount the lines of a pod that should be mounted, are not, and have no problem, in the order
 * of mounting.
 *
 * @throws {RefusedError} If the lines belong to a pod at another path.
 */
export function planRestore(
  snapshot: PodSnapshot,
  { problems, live }: RestoreFacts,
): Plan {
  const { pod, record } = snapshot;
  refuseElsewhere(record.lines, pod);
  const how = live ? { live: true as const } : {};
  const mounts = linesToRestore(snapshot).filter((line) => !problems.has(line))
    .map((line): Operation => {
      return { kind: "mount", path: line.rootfs, fstab: pod.fstab, line, ...how };
    });
  const operations: Operation[] = mounts.length === 0
    ? [{ kind: "look", path: pod.pod }]
    : [{ kind: "open", path: pod.pod }, ...mounts];
  return freeze<Plan>({ action: "restore", pod: pod.pod, operations, mounts: [] });
}

/** Plans several pods of a directory: they are opened first, and then mounted together. */
export function joinPlans(plans: readonly Plan[], directory: string): Plan {
  const all = plans.flatMap(({ operations }) => operations);
  return freeze<Plan>({
    action: "restore",
    pod: directory,
    operations: [
      { kind: "look", path: directory },
      ...all.filter(({ kind }) => kind === "open"),
      ...all.filter(({ kind }) => kind === "mount"),
    ],
    mounts: [],
  });
}
