/**
 * Finds an app in the record of its pod.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import type { MountConfig } from "../overlay/mount_config.ts";
import { chooseLine } from "../plan/plan_unmount.ts";
import { refuseElsewhere } from "../plan/refusals.ts";
import { noPodError } from "../pod/record.ts";
import { freshDirectories } from "../pod/finish_reset.ts";
import { openPod } from "../pod/open.ts";
import type { Call, OpenPod } from "../pod/open.ts";
import { parseAppName } from "../request/names.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { look } from "../system/disk.ts";

/** The choice of an app. */
export interface AppChoice {
  /** The pod, an absolute path. */
  readonly pod: string;
  /** The app; empty for the pod's own image. @default {the only app of the pod} */
  readonly app?: string;
}

/** An app of a pod. */
export interface FoundApp {
  /** Its pod, which is open. */
  readonly open: OpenPod;
  /** Its line. */
  readonly line: AppLine;
  /** The configuration of its mount, with absolute paths. */
  readonly config: MountConfig;
}

/**
 * Finds an app.
 *
 * Requires the permissions of `checkTrusted`.
 *
 * @throws {InvalidValueError} If the pod has several apps, and none is chosen.
 * @throws {RefusedError} If another user could change the pod.
 * @throws {OverlayError} If there is no such pod or app.
 */
export async function findApp({ pod, app }: AppChoice, call: Call): Promise<FoundApp> {
  const layout = podLayout(pod);
  const name = app === undefined ? app : parseAppName(app);
  const open = await openPod(layout, call, { lock: false });
  if (open === null) throw noPodError(layout.pod);
  refuseElsewhere(open.record.lines, layout);
  const line = chooseLine(open.record, { pod: layout, app: name });
  return { open, line, config: configOf(line, layout) };
}

/** Reads the configuration of a line. A reset that was killed leaves the new upper beside its place. */
function configOf(line: AppLine, layout: PodLayout): MountConfig {
  const config = readLineConfig(line, layout.pod);
  const { upper } = config;
  if (upper === null || look(upper) !== null) return config;
  const fresh = freshDirectories(line, layout).find(({ path }) => path === upper)?.fresh;
  return fresh === undefined || look(fresh) === null ? config : { ...config, upper: fresh };
}
