/**
 * The operations that write files into a pod: the manifest, and the lines of `overlay.fstab`.
 *
 * @module
 */
import type { ApplyRun, AppRun } from "./apply_run.ts";
import { formatAppLine } from "../overlay/app_line.ts";
import { identifyLowers, look, readMode } from "../system/disk.ts";
import { makeFile, readOwnFile, replaceFile } from "../system/own_file.ts";
import { appLines, formatFstab, FSTAB_MODE, withLines } from "../overlay/fstab.ts";
import type { ManifestOperation, RecordOperation } from "../plan/operation.ts";
import { isWithin } from "../core/path.ts";
import { quote } from "../core/quote.ts";

function restore(path: string, content: Uint8Array | null, mode: number): void {
  if (content === null) Deno.removeSync(path);
  else replaceFile(path, content, mode);
}

/** Replaces a file unless it has this content and mode already. */
function put(path: string, content: Uint8Array, mode: number, run: ApplyRun): void {
  const had = readOwnFile(path);
  const info = look(path);
  const hadMode = info === null ? mode : readMode(info);
  const same = had !== null && hadMode === mode && had.length === content.length &&
    had.every((byte, i) => byte === content[i]);
  if (same) return;
  replaceFile(path, content, mode);
  run.changedBy(
    () => `put ${quote(path)} back`,
    () => restore(path, had, hadMode),
    run.appOf(path),
  );
}

/** The largest size of a manifest, in bytes; those of the largest images have some ten thousand. */
const MANIFEST_MAX = 16 << 20;

/** Copies the manifest. */
export async function applyManifest(
  operation: ManifestOperation,
  run: ApplyRun,
): Promise<void> {
  const { from, path, mode } = operation;
  const { signal } = run.options;
  // Loaded when it is needed: most renders have no manifest.
  const { readRegular } = await import("../system/regular_file.ts");
  put(path, await readRegular(from, MANIFEST_MAX, { verb: "read manifest", signal }), mode, run);
}

/** Records in the lines which directories outside the pod were made by this render or an earlier one. */
function noteDestinations(run: ApplyRun): void {
  const old = appLines(run.entries);
  for (const app of run.apps) {
    const { dest, rootfs } = app.mount;
    const had = old.find((line) => line.app === app.line.app && line.rootfs === rootfs)?.made;
    const now = run.made.has(rootfs) ? "rootfs" : undefined;
    const made = run.made.has(dest) ? "destination" : had ?? now;
    if (made !== undefined) app.line = { ...app.line, made };
  }
}

/** Notes in the line of an app the directories that its lowers are, unless the inspection of the pod did. */
function noteLowers(app: AppRun): void {
  if (app.live || app.line.lowerIds !== undefined) return;
  const lowerIds = identifyLowers(app.line, app.mount.lower);
  if (lowerIds !== undefined) app.line = { ...app.line, lowerIds };
}

/** Writes the lines of the apps, all at once. */
export function applyRecords(
  operations: readonly RecordOperation[],
  run: ApplyRun,
): void | Promise<void> {
  if (run.options.open !== undefined) return changeRecord(operations, run);
  const path = operations[0]?.path ?? run.pod.fstab;
  if (run.apps.some(({ mount }) => !isWithin(mount.dest, run.pod.pod))) noteDestinations(run);
  if (run.mounts) run.apps.forEach(noteLowers);
  const lines = run.apps.map(({ line }) => line);
  const text = new TextEncoder().encode(formatFstab(withLines(run.entries, lines)));
  if (!run.fresh) {
    const had = new Set(run.entries.map((entry) => {
      return typeof entry === "string" ? entry : formatAppLine(entry);
    }));
    for (const app of run.apps) if (!had.has(formatAppLine(app.line))) app.changed = true;
    return put(path, text, FSTAB_MODE, run);
  }
  run.onDisk = makeFile(path, text, FSTAB_MODE);
  // Awaited at the end of the run; until then a rejection must not end the process.
  run.onDisk.catch(() => {});
  run.changedBy(() => `remove ${quote(path)}`, () => Deno.removeSync(path));
}

/** Loaded when it is needed: a render writes all lines of its apps. */
async function changeRecord(
  operations: readonly RecordOperation[],
  run: ApplyRun,
): Promise<void> {
  const { applyChanges } = await import("./apply_unmount.ts");
  applyChanges(operations, run);
}
