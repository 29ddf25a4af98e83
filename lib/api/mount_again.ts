/**
 * Mounts an app of a pod that was rendered before, if it is not mounted.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { RefusedError } from "../core/errors.ts";
import { appWords, quote } from "../core/quote.ts";
import { applyPlan } from "../apply/apply.ts";
import { freeze } from "../plan/plan.ts";
import type { Plan } from "../plan/plan.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { chooseLine } from "../plan/plan_unmount.ts";
import { refuseElsewhere } from "../plan/refusals.ts";
import { checkRecordedLine, LineJudge } from "../pod/judge.ts";
import { refuseInUse } from "../pod/in_use.ts";
import { noPodError } from "../pod/record.ts";
import { Call, openPermissions, openPod } from "../pod/open.ts";
import type { OpenPod } from "../pod/open.ts";
import { FactsCache } from "../preflight/disk_facts.ts";
import { podLayout } from "../request/layout.ts";
import { parseAppName } from "../request/names.ts";
import { uninterrupted } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { checkPermissions } from "../system/permissions.ts";

/** An app that is mounted, or a copy. */
export interface MountedApp {
  /** Its line in the record of its pod. */
  readonly line: AppLine;
  /** Set if it is a view. */
  readonly readOnly: boolean;
  /** Set if this call mounted it. */
  readonly mounted: boolean;
}

/**
 * Mounts an app as its line says, whether it was unmounted or the machine was stopped.
 *
 * Requires the permissions of a restore.
 *
 * @throws {InvalidValueError} If the pod has several apps, and none is chosen.
 * @throws {RefusedError} If a safety check refuses; nothing was touched.
 * @throws {OverlayError} If there is no such pod or app, or it cannot be mounted.
 */
export async function mountAgain(
  { pod, app }: { readonly pod: string; readonly app?: string },
  options: ChangeOptions,
): Promise<MountedApp> {
  const layout = podLayout(pod);
  const name = app === undefined ? app : parseAppName(app);
  checkPermissions("run", openPermissions(layout.pod, true));
  using open = await openPod(layout, new Call(options));
  if (open === null) throw noPodError(layout.pod);
  refuseElsewhere(open.record.lines, layout);
  const line = chooseLine(open.record, { pod: layout, app: name });
  const readOnly = !line.copy && readLineConfig(line, layout.pod).upper === null;
  if (line.copy) return { line, readOnly, mounted: false };
  const [seen] = (await open.snapshot("run", [line])).seen;
  if (seen?.state === "mounted") return { line, readOnly, mounted: false };
  if (seen?.state === "foreign") throw foreignError(line);
  await mountLine(line, open, options);
  return { line, readOnly, mounted: true };
}

async function mountLine(line: AppLine, open: OpenPod, options: ChangeOptions): Promise<void> {
  const { layout: pod, record, call: { programs } } = open;
  const judge = new LineJudge({
    pod,
    mounts: await open.mounts(),
    recorded: record.lines,
    asked: [line],
  });
  const how = { pod, judge, idle: [line], cache: new FactsCache(), options, live: false };
  await checkRecordedLine(line, how);
  if (line.lazy) await refuseInUse("run", [line], { pod, programs, options });
  const plan = freeze<Plan>({
    action: "restore",
    pod: pod.pod,
    operations: [
      { kind: "open", path: pod.pod },
      { kind: "mount", path: line.rootfs, fstab: pod.fstab, line },
    ],
    mounts: [],
  });
  checkPermissions("run", requiredPermissions(plan));
  const { outcome } = await applyPlan(plan, { ...uninterrupted(options), open: [open] });
  const [failed] = outcome.failures;
  if (failed !== undefined) throw failed.error;
}

function foreignError({ app, rootfs }: AppLine): RefusedError {
  const message = `Cannot run a command in ${appWords(app)}: another mount lies on it`;
  return new RefusedError("foreign-mount", message, {
    path: rootfs,
    hint: `unmount it: umount ${quote(rootfs)}`,
  });
}
