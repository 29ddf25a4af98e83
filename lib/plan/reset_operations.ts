/**
 * The operations that empty uppers, of a reset and of the unmount of ephemeral apps.
 *
 * Requires no permissions.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { appLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import type { Operation } from "./operation.ts";

/**
 * Plans to empty uppers. The kernel is asked before whether they are part of a mount in any mount namespace; one
 * that is stays as it is.
 *
 * @param lines The lines of the apps, none of which is mounted then.
 * @param how All lines of the pod, and whether the apps were unmounted lazily: then one that is in use is no
 * failure.
 */
export function resetOperations(
  lines: readonly AppLine[],
  { all, pod, lazy = false }: {
    readonly all: readonly AppLine[];
    readonly pod: PodLayout;
    readonly lazy?: boolean;
  },
): readonly Operation[] {
  const depth = ({ line }: { readonly line: AppLine }) => line.rootfs.split("/").length;
  const chosen = lines.flatMap((line) => {
    const { upper, work, label } = readLineConfig(line, pod.pod);
    return upper === null || work === null ? [] : [{ line, upper, work, label }];
  });
  return [
    ...chosen.map(({ line, upper }): Operation => {
      const seen = lazy ? { ...line, lazy: true as const } : line;
      const how = { orStays: true as const, ...(lazy ? { lazy: true as const } : {}) };
      return { kind: "idle", path: upper, line: seen, ...how };
    }),
    // An upper has the mount points of the apps in it.
    ...chosen.toSorted((a, b) => depth(b) - depth(a)).map((one): Operation => {
      const { line, upper, work, label } = one;
      const { image } = appLayout(pod.pod, line);
      const point = findPoint(line, all, pod);
      const { app, rootfs } = line;
      return { kind: "reset", app, path: upper, work, image, rootfs, point, label };
    }),
  ];
}

/** Finds the mount point of a line while nothing is mounted: it may lie in the upper of another app. */
function findPoint({ rootfs }: AppLine, all: readonly AppLine[], pod: PodLayout): string {
  const around = all.filter((line) => rootfs.startsWith(`${line.rootfs}/`))
    .toSorted((a, b) => b.rootfs.length - a.rootfs.length)[0];
  const upper = around === undefined ? null : readLineConfig(around, pod.pod).upper;
  return around === undefined || upper === null
    ? rootfs
    : upper + rootfs.slice(around.rootfs.length);
}
