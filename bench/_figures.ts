/**
 * The tables of a bench as data, for `--json FILE`. `deno task bench:charts` draws them.
 *
 * @module
 */

/** A bar of a chart. */
export interface Bar {
  readonly what: string;
  /** The median, in milliseconds. */
  readonly ms: number;
}

/** A table of medians. */
export interface Figure {
  readonly title: string;
  readonly bars: readonly Bar[];
}

/** The file for the figures; the process inside the namespace gets it from the one outside. */
const FILE = "OVERLAY_RENDER_BENCH_JSON";

/** Reads `--json FILE` from the command line of the process outside, and begins the file. */
export function beginFigures(args: readonly string[]): void {
  const at = args.indexOf("--json");
  const file = at < 0 ? undefined : args[at + 1];
  if (file === undefined) return;
  const path = file.startsWith("/") ? file : `${Deno.cwd()}/${file}`;
  Deno.writeTextFileSync(path, "[]\n");
  Deno.env.set(FILE, path);
}

/** Adds a table to the file, if there is one. Bars that were not measured are left out. */
export function addFigure(title: string, bars: readonly Bar[]): void {
  const path = Deno.env.get(FILE);
  if (path === undefined) return;
  const before: Figure[] = JSON.parse(Deno.readTextFileSync(path));
  const measured = bars.filter(({ ms }) => Number.isFinite(ms))
    .map(({ what, ms }) => ({ what, ms: Number(ms.toFixed(1)) }));
  const all = [...before, { title, bars: measured }];
  Deno.writeTextFileSync(path, `${JSON.stringify(all, null, 2)}\n`);
}
