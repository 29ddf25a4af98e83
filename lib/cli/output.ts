/**
 * The output of the commands: text for people and JSON for programs, from the same values.
 *
 * Requires no permissions.
 *
 * @module
 */
import { formatTable, PLAIN, shortTree } from "./table.ts";
import type { Cell, Screen } from "./table.ts";
import { formatMode } from "../request/names.ts";
import type { Diagnosis } from "../api/doctor.ts";
import { printable, quote, showName } from "../core/quote.ts";
import type { Render } from "../api/render.ts";
import type { PodDrift } from "../api/find_drift.ts";
import type { Drift, OverlayStatus } from "../api/status.ts";
import type { Change } from "../api/changes.ts";
import type { ResetPod } from "../api/reset.ts";
import type { Undone } from "../api/undo.ts";
import type { Collected } from "../plan/plan_collect.ts";
import type { KeptPod } from "../api/keep.ts";
import type { Restored } from "../api/restore_run.ts";
import type { Unmounted } from "../api/unmount.ts";

/** Writes one JSON object that starts with the version of its form; modes become octal strings. */
export function formatJson(value: object): string {
  const octal = (key: string, part: unknown) => {
    return (key === "mode" || key === "mask") && typeof part === "number" ? formatMode(part) : part;
  };
  return `${JSON.stringify({ version: 1, ...value }, octal)}\n`;
}

/** A mount configuration as text. */
export function renderText(render: Render): string {
  const rows: [string, string][] = [
    ["rootfs", showName(render.rootfs)],
    ...render.lower.map((lower): [string, string] => ["lower", showName(lower)]),
    ["upper", render.upper === null ? "none" : showName(render.upper)],
    ["work", render.work === null ? "none" : showName(render.work)],
    ["options", showName(render.options)],
  ];
  return rows.map(([name, value]) => `${name.padEnd(8)} ${value}\n`).join("");
}

/** Writes the mounts that are gone as text: one rootfs a line. */
export function unmountedText(
  { unmounted, foreign = [] }: Pick<Unmounted, "unmounted" | "foreign">,
): string {
  const all = [...unmounted.map(({ rootfs }) => rootfs), ...foreign];
  return all.map((path) => `${showName(path)}\n`).join("");
}

/** Writes the apps that were reset as text: one rootfs a line. */
export function resetText({ reset }: ResetPod): string {
  return reset.map((path) => `${showName(path)}\n`).join("");
}

/** The texts for drift between `overlay.fstab` and the kernel. */
const DRIFT_WORDS: Readonly<Record<Drift, string>> = {
  "not-mounted": "to be restored",
  "not-recorded": "mounted by hand",
  foreign: "hidden by another mount",
  missing: "directories missing",
  replaced: "lower replaced",
  options: "options differ",
};

function stateCell({ mounted, drift, copy }: OverlayStatus): Cell {
  if (drift !== undefined) return { text: DRIFT_WORDS[drift], look: "yellow" };
  if (copy) return { text: "copied", look: "green" };
  return mounted ? { text: "mounted", look: "green" } : { text: "unmounted", look: "dim" };
}

/** The status of apps, as a table; of several pods with their names. */
export function statusText(
  renders: readonly OverlayStatus[],
  several = false,
  screen: Screen = PLAIN,
): string {
  if (renders.length === 0) return "";
  const sized = renders.some(({ size }) => size !== undefined);
  const rows = renders.map((render) => [
    ...(several ? [showName(render.pod)] : []),
    showName(render.app),
    showName(shortTree(render.tree)),
    stateCell(render),
    ...(sized ? [`${render.size?.bytes ?? 0}`, `${render.size?.files ?? 0}`] : []),
    showName(render.rootfs),
  ]);
  const pod = several ? ["POD"] : [];
  const size = sized ? ["BYTES", "FILES"] : [];
  return formatTable([...pod, "APP", "TREE", "STATE", ...size, "ROOTFS"], rows, screen);
}

/** Writes drift as text, one difference a line. */
export function driftText(drift: readonly PodDrift[]): string {
  return drift.map(({ kind, reason }) => `${kind}: ${printable(reason)}\n`).join("");
}

/** Writes changes as text: kind and path, one a line. */
export function changesText(changes: readonly Change[]): string {
  return changes.map(({ kind, path, base64 }) => {
    return `${kind} ${base64 === undefined ? showName(path) : quote(path)}\n`;
  }).join("");
}

/** Writes the pods that gc took as text: one a line. */
export function collectedText({ marked, removed }: Collected): string {
  return [
    ...marked.map(({ pod, garbage }) => `marked   ${showName(pod)} as ${showName(garbage)}\n`),
    ...removed.map(({ garbage }) => `removed  ${showName(garbage)}\n`),
  ].join("");
}

/** The pod that gc has brought back, as text. */
export function undoneText({ pod, garbage }: Undone): string {
  return `returned ${showName(garbage)} as ${showName(pod)}\n`;
}

/** A pod that is kept, or no longer, as text. */
export function keptText({ pod, kept }: KeptPod): string {
  return `${kept ? "kept    " : "let go  "} ${showName(pod)}\n`;
}

const ANSWERS = new Map<boolean | null, string>([[true, "yes"], [false, "no"], [null, "?"]]);

/** Writes the checks of the doctor as text: a line each, and a hint for each that failed. */
export function diagnosisText({ healthy, options, checks }: Diagnosis): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, ok, found, how, hint }) => [
    `${(ANSWERS.get(ok) ?? "").padEnd(3)}  ${name.padEnd(width)}  ${printable(found)}  (${
      printable(how)
    })\n`,
    ...(hint === null ? [] : [`     ${"".padEnd(width)}  hint: ${printable(hint)}\n`]),
  ]);
  const how = options.map((option) => ` with --option ${option}`).join("");
  return `${lines.join("")}A render will ${healthy ? `work${how}` : "not work"}.\n`;
}

/** Writes the mounts that were restored as text: one rootfs a line. */
export function restoredText({ restored }: Restored): string {
  return restored.map(({ rootfs }) => `${showName(rootfs)}\n`).join("");
}
