/**
 * What was measured of imports, beside what the project wants to reach.
 *
 * @module
 */
import { say } from "../tools/run.ts";
import { medianOf } from "./_measure.ts";
import type { Measured } from "./_measure.ts";
import { addFigure } from "./_figures.ts";
import { COST_HEAD, costCells, middleOf } from "./_process.ts";
import { OURS } from "./_table.ts";
import { sayTargets } from "./_targets.ts";
import type { Target } from "./_targets.ts";

const HEAD = [...COST_HEAD, "ratio", "rounds"];

function cells(values: readonly string[]): string {
  return values.map((value) => value.padStart(9)).join("");
}

/** Prints a table; with the row of one as the measure of the others, if there is such a row. */
export function sayRows(title: string, all: readonly Measured[], measure = ""): void {
  say(`\n${title}\n\n${cells(HEAD)}  what\n`);
  const whole = medianOf(all, measure, 1);
  addFigure(title, all.map(({ row, costs }) => ({ what: row.what, ms: middleOf(costs).ms })));
  for (const { row, costs, failure } of all) {
    const ratio = Number.isNaN(whole) ? "-" : (middleOf(costs).ms / whole).toFixed(2);
    const isThere = failure === "";
    const shown = isThere ? [...costCells(costs), ratio, `${costs.length}`] : HEAD.map(() => "-");
    const text = isThere ? row.what : `${row.what}: FAILED: ${failure}`;
    say(`${cells(shown)}  ${text}\n`);
  }
}

/** What was measured of imports. */
export interface ImportFigures {
  /** The rows of importing, by the file system they were measured on. */
  readonly media: ReadonlyMap<string, readonly Measured[]>;
  readonly layers: readonly Measured[];
  /** MB, by what was imported. */
  readonly memory: ReadonlyMap<string, number>;
}

/** The names of images of other shapes. */
export const SHAPES = { files: "60,000 small files", layers: "20 layers" } as const;

function targetsOn(medium: string, all: readonly Measured[]): Target[] {
  const ours = medianOf(all, OURS, 1);
  const against = (by: string, atMost: number): Target => {
    const figure = ours / medianOf(all, by, 1);
    return { what: `import on ${medium}: overlay-render / ${by}`, figure, goal: { atMost } };
  };
  const ofShape = (name: string, atMost: number): Target => {
    const [own, tar] = [OURS, "tar"].map((by) => medianOf(all, `${by}, ${name}`, 1));
    const figure = (own ?? NaN) / (tar ?? NaN);
    return { what: `import on ${medium} of ${name} / tar`, figure, goal: { atMost } };
  };
  const again = medianOf(all, "overlay-render, again", 1);
  return [
    against("tar", 0.9),
    against("tar, sync", 0.9),
    ...["skopeo", "ctr", "umoci"].map((by) => against(by, 0.5)),
    ofShape(SHAPES.files, 0.9),
    ofShape(SHAPES.layers, 0.8),
    { what: `second import on ${medium}, ms`, figure: again, goal: { atMost: 100 } },
  ];
}

/** Prints the targets of imports, what was measured, and whether they are met. */
export function sayImportTargets({ media, layers, memory }: ImportFigures, count: number): void {
  const mount = medianOf(layers, `mount ${count}`, 1);
  sayTargets([
    ...[...media].flatMap(([medium, all]) => targetsOn(medium, all)),
    { what: `mount of ${count} layers, ms`, figure: mount, goal: { atMost: 3 } },
    ...[...memory].map(([what, figure]): Target => {
      return { what: `peak memory of the import of ${what}, MB`, figure, goal: { atMost: 200 } };
    }),
  ]);
}
