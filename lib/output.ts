/**
 * What the command prints. Text is for people, JSON for programs; both come from the same values.
 *
 * Requires no permissions.
 *
 * @module
 */
import { describeOperation } from "./describe.ts";
import { formatMode } from "./names.ts";
import { permissionFlags, requiredPermissions } from "./permissions.ts";
import type { Plan } from "./plan.ts";
import { shellQuote, showName } from "./quote.ts";
import type { Render } from "./render.ts";
import type { OverlayStatus } from "./status.ts";
import type { Unmounted } from "./unmount.ts";

/** Writes one JSON object that starts with the version of its form; modes become octal strings. */
export function formatJson(value: object): string {
  const octal = (key: string, part: unknown) => {
    return (key === "mode" || key === "mask") && typeof part === "number" ? formatMode(part) : part;
  };
  return `${JSON.stringify({ version: 1, ...value }, octal)}\n`;
}

/** A plan as JSON. */
export function planJson(plan: Plan): string {
  const flags = permissionFlags(requiredPermissions(plan));
  const { optionString, ...mount } = plan.mount;
  return formatJson({
    operations: plan.operations,
    mount: { ...mount, options: optionString },
    flags,
  });
}

function indented(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}

/** A plan as text. */
export function planText(plan: Plan): string {
  const flags = permissionFlags(requiredPermissions(plan)).map(shellQuote);
  return [
    "operations:",
    ...indented(plan.operations.map(describeOperation)),
    "options:",
    `  ${showName(plan.mount.optionString)}`,
    "flags:",
    ...indented(flags),
    "",
  ].join("\n");
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

/** What was unmounted, as text: one rootfs a line. */
export function unmountedText(unmounted: Unmounted["unmounted"]): string {
  return unmounted.map(({ rootfs }) => `${showName(rootfs)}\n`).join("");
}

/** The status of apps, as a table. */
export function statusText(renders: readonly OverlayStatus[]): string {
  if (renders.length === 0) return "";
  const rows = renders.map((render) => [
    showName(render.app),
    showName(render.tree),
    render.mounted ? "mounted" : "unmounted",
    showName(render.rootfs),
  ]);
  const table = [["APP", "TREE", "STATE", "ROOTFS"], ...rows];
  const widths = [0, 1, 2].map((at) => Math.max(...table.map((row) => row[at]?.length ?? 0)));
  return table.map((row) => {
    return `${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  ")}\n`;
  }).join("");
}
