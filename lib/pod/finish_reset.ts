/**
 * The end of a reset that was killed while the new directories of an app were put in place.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { child } from "../core/path.ts";
import { appLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { attempt, look } from "../system/disk.ts";

/** The directory of an image in which old and new directories lie during a reset. */
export function resetDirectory(image: string): string {
  return child(image, "reset");
}

/** Returns the path of the new upper or work of an app until it is put in place. */
export function freshPath(
  kind: "upper" | "work",
  { app, image }: { readonly app: string; readonly image: string },
): string {
  return child(resetDirectory(image), `${kind}.${app}`);
}

/** Lists the upper and the work of an app, each with the path that the new one has before. */
export function freshDirectories(
  line: AppLine,
  pod: PodLayout,
): readonly { readonly path: string; readonly fresh: string }[] {
  const { upper, work } = readLineConfig(line, pod.pod);
  const { image } = appLayout(pod.pod, line);
  const at = { app: line.app, image };
  return [
    ...(work === null ? [] : [{ path: work, fresh: freshPath("work", at) }]),
    ...(upper === null ? [] : [{ path: upper, fresh: freshPath("upper", at) }]),
  ];
}

/**
 * Puts new directories in place where the old ones are gone. The pod must be locked.
 *
 * @param lines Lines of the pod, all of whose directories lie in it.
 */
export function finishResets(lines: readonly AppLine[], pod: PodLayout): void {
  for (const { path, fresh } of lines.flatMap((line) => freshDirectories(line, pod))) {
    if (look(path) !== null || !look(fresh)?.isDirectory) continue;
    attempt("put in place", path, () => Deno.renameSync(fresh, path));
  }
}
