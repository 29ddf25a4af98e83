/**
 * Finding the lines of a pod that cannot be mounted again, and why.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";
import type { FactsCache } from "../preflight/disk_facts.ts";
import { imagesAround } from "../overlay/overlaps.ts";
import { checkRecordedLine, LineJudge } from "./judge.ts";
import { linesLost, linesToRestore } from "../plan/plan_restore.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import type { OpenPod } from "./open.ts";
import type { PodSnapshot } from "../plan/snapshot.ts";

/** The options of {@linkcode findProblems}. */
export interface RestoreLook {
  /** Set if no process runs in the images that are mounted. */
  readonly live: boolean;
  /** The facts that are known already. */
  readonly cache: FactsCache;
  /** Set if the kernel is asked about uppers in use in other mount namespaces; the pod must be locked. */
  readonly asksKernel: boolean;
}

/** Finds what is wrong with each line that is to be mounted again. */
export async function findProblems(
  open: OpenPod,
  snapshot: PodSnapshot,
  look: RestoreLook,
): Promise<ReadonlyMap<AppLine, OverlayError>> {
  const { layout: pod, call: { options }, record } = open;
  const asked = linesToRestore(snapshot);
  const judge = new LineJudge({ pod, mounts: await open.mounts(), recorded: record.lines, asked });
  const judging = { pod, judge, idle: asked, cache: look.cache, options, live: look.live };
  const problems = new Map<AppLine, OverlayError>();
  const note = async (line: AppLine, act: () => Promise<void>) => {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof OverlayError)) throw error;
      problems.set(line, error);
    }
  };
  for (const line of asked) await note(line, () => checkRecordedLine(line, judging));
  const fit = asked.filter((line) => !problems.has(line));
  if (look.asksKernel) {
    const used = await usedLines(open, fit, snapshot);
    for (const [line, error] of [...used, ...linesLost(fit, [...used.keys()])]) {
      problems.set(line, error);
    }
  }
  return problems;
}

/**
 * Finds lines that are in use in another mount namespace, among those that were unmounted lazily and images
 * in which others lie.
 */
async function usedLines(
  open: OpenPod,
  lines: readonly AppLine[],
  { seen, record }: PodSnapshot,
): Promise<ReadonlyMap<AppLine, RefusedError>> {
  const idle = new Set(seen.filter(({ state }) => state === "unmounted").map(({ line }) => line));
  const images = imagesAround(lines, record.lines).filter((line) => idle.has(line));
  const asked = new Set([...lines.filter((line) => line.lazy), ...images]);
  const used = new Map<AppLine, RefusedError>();
  if (asked.size === 0) return used;
  const { refuseInUse } = await import("./in_use.ts");
  const { layout: pod, call: { programs, options } } = open;
  for (const line of asked) {
    try {
      await refuseInUse("restore", [line], { pod, programs, options });
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      used.set(line, error);
    }
  }
  return used;
}
