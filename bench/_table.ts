/**
 * Tables of what was measured.
 *
 * @module
 */
import { say } from "../tools/run.ts";
import { medianOf } from "./_measure.ts";
import type { Measured } from "./_measure.ts";
import { addFigure } from "./_figures.ts";
import { COST_HEAD, costCells, middleOf } from "./_process.ts";

/** Whose rows the others are compared with. */
export const OURS = "overlay-render";
const HEAD = [...COST_HEAD, "each", "ratio", "rounds"];

function line(cells: readonly string[], what: string): string {
  return `${cells.map((cell, at) => cell.padStart(at === 0 ? 9 : 8)).join(" ")}  ${what}\n`;
}

function rowText({ row, costs, failure }: Measured, all: readonly Measured[]): string {
  if (failure !== "") return line(HEAD.map(() => "-"), `${row.what}: FAILED: ${failure}`);
  const { ms } = middleOf(costs);
  const ours = medianOf(all, OURS, row.apps);
  const ratio = Number.isNaN(ours) ? "-" : (ms / ours).toFixed(2);
  const each = (ms / row.apps).toFixed(2);
  return line([...costCells(costs), each, ratio, `${costs.length}`], row.what);
}

/** Prints a table, with a part for each number of apps. */
export function sayTable(title: string, all: readonly Measured[], unit = "apps"): void {
  say(`\n${title}\n`);
  for (const apps of new Set(all.map(({ row }) => row.apps))) {
    const part = all.filter(({ row }) => row.apps === apps);
    const bars = part.map(({ row, costs }) => ({ what: row.what, ms: middleOf(costs).ms }));
    addFigure(`${title}: ${apps} ${unit}`, bars);
    say(`\n${apps} ${apps === 1 ? unit.replace(/s$/, "") : unit}\n`);
    say(line(HEAD, "what"));
    for (const one of part) say(rowText(one, part));
  }
}
