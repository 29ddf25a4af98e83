/**
 * The output of the commands of the tree store.
 *
 * Requires no permissions.
 *
 * @module
 */
import { printable, showName } from "../core/quote.ts";
import { formatSize } from "../core/size.ts";
import { formatTable, shortTree } from "./table.ts";
import type { Screen } from "./table.ts";
import type { CheckedTree } from "../store/tree_check.ts";
import type { RemovedTrees } from "../store/removal.ts";
import type { InspectedTree } from "../store/inspect_tree.ts";
import type { ListedTree } from "../store/list.ts";

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0))) ??
    [];
  return rows.map((row) => {
    return `${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  ").trimEnd()}\n`;
  }).join("");
}

/** Trees as a table; nothing when there are none. */
export function treesText(trees: readonly ListedTree[], screen?: Screen): string {
  if (trees.length === 0) return "";
  const rows = trees.map(({ id, images, layers, bytes, pods }) => [
    showName(shortTree(id)),
    images.length === 0 ? "-" : images.map(showName).join(","),
    String(layers),
    formatSize(bytes),
    pods.length === 0 ? "-" : pods.map(showName).join(","),
  ]);
  return formatTable(["TREE", "IMAGE", "LAYERS", "SIZE", "PODS"], rows, screen);
}

/** Writes a value of a config on one line. */
function valueText(value: unknown): string {
  return printable(typeof value === "string" ? value : JSON.stringify(value));
}

/** Writes an image as text: its names, its settings, its layers, and its history. */
export function inspectedText(
  { id, images, digest, source, config, layers }: InspectedTree,
): string {
  const settings = Object.entries(config?.config ?? {}).filter(([, value]) => value !== null);
  const { created, author, os, architecture } = config ?? {};
  const rows: [string, unknown][] = [
    ["tree", id],
    ["image", images.length === 0 ? undefined : images.map(showName).join(",")],
    ["digest", digest],
    ["source", source],
    ["platform", config === null ? undefined : `${os}/${architecture}`],
    ["created", created],
    ["author", author],
    ...settings,
  ];
  const known = rows.filter(([, value]) => value !== undefined && value !== null && value !== "");
  const head = known.map(([name, value]) => [printable(name), valueText(value)]);
  const history = Array.isArray(config?.history) ? config.history : [];
  const steps = history.map(({ created, created_by, comment }) => {
    return [created, created_by, comment].map((part) => valueText(part ?? "-"));
  });
  return table(head) +
    `\n${table([["LAYER", "SIZE", "ENTRIES"], ...layers.map(layerRow)])}` +
    (steps.length === 0 ? "" : `\n${table([["CREATED", "BY", "COMMENT"], ...steps])}`);
}

function layerRow({ diffId, size, entries }: InspectedTree["layers"][number]): string[] {
  return [diffId, formatSize(size), String(entries)];
}

/** Writes the result of a check as text: a line for each tree, and one for each difference. */
export function checkedText(trees: readonly CheckedTree[]): string {
  return trees.map(({ id, differences }) => {
    const verdict = differences.length === 0
      ? "ok"
      : `${differences.length} difference${differences.length === 1 ? "" : "s"}`;
    const lines = differences.map(({ path, what }) => `  ${path} ${what}\n`);
    return `${showName(id)}: ${verdict}\n${lines.join("")}`;
  }).join("");
}

/** Writes the names of removed trees, layers and blobs as text, one a line. */
export function removedTreesText({ trees, layers, blobs }: RemovedTrees): string {
  return [
    ...trees.map((id) => `tree ${showName(id)}\n`),
    ...layers.map((key) => `layer ${showName(key)}\n`),
    ...blobs.map((digest) => `blob ${digest}\n`),
  ].join("");
}
