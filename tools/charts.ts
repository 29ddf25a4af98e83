/**
 * `deno task bench:charts [FILE [DIRECTORY]]`: draws a chart of each table in a file that a bench wrote with
 * `--json`; by default those of `bench/figures.json`, into `bench/img/`. A chart is an SVG for light and
 * dark pages.
 *
 * @module
 */
import type { Figure } from "../bench/_figures.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const WIDTH = 760;
/** The columns: names end at LEFT, bars end before RIGHT, and values stand behind them. */
const LEFT = 330;
const RIGHT = WIDTH - 70;
const TOP = 44;
const ROW = 26;

const STYLE = `  <style>
    text { font: 13px system-ui, sans-serif; fill: #1f2328; }
    .title { font-size: 15px; font-weight: 600; }
    .what { text-anchor: end; }
    .tick { text-anchor: middle; fill: #59636e; font-size: 12px; }
    .bar { fill: #8c959f; }
    .ours { fill: #0969da; }
    .grid { stroke: #d1d9e0; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .tick { fill: #9198a1; }
      .bar { fill: #656c76; }
      .ours { fill: #4493f8; }
      .grid { stroke: #3d444d; }
    }
  </style>
`;

/** The rows of this project: they name one of its commands, and no other program. */
const OURS = /^(overlay-render|render|changes|export|commit|tree |cli\.ts|status|restore|gc )/;

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}

/** Returns the name of a chart's file. */
export function chartName({ title }: Figure): string {
  return `${title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-|-$/g, "")}.svg`;
}

/** Finds the distance of about five ticks: 1, 2 or 5, times a power of ten. */
function findStep(end: number): number {
  const rough = end / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const times = [[7.07, 10], [3.16, 5], [1.41, 2]].find(([least = 0]) => rough / power >= least);
  return (times?.[1] ?? 1) * power;
}

/** Makes a scale from 0 to a round number above the largest value, and its ticks. */
function makeScale(largest: number): { scale: (value: number) => number; ticks: number[] } {
  const step = findStep(largest);
  const count = Math.ceil(largest / step);
  return {
    scale: (value) => LEFT + value / (count * step) * (RIGHT - LEFT),
    ticks: Array.from({ length: count + 1 }, (_, at) => Number((at * step).toPrecision(6))),
  };
}

/** Draws a table as horizontal bars, in its order. */
export function chart({ title, bars }: Figure): string {
  const { scale, ticks: values } = makeScale(Math.max(...bars.map(({ ms }) => ms)));
  const bottom = TOP + bars.length * ROW;
  const ticks = values.map((value) => {
    const x = scale(value).toFixed(1);
    return `  <line class="grid" x1="${x}" x2="${x}" y1="${TOP - 6}" y2="${bottom}"/>
  <text class="tick" x="${x}" y="${bottom + 16}">${value}</text>
`;
  });
  const rows = bars.map(({ what, ms }, at) => {
    const y = TOP + at * ROW;
    const width = (scale(ms) - LEFT).toFixed(1);
    const kind = OURS.test(what) ? "bar ours" : "bar";
    return `  <text class="what" x="${LEFT - 8}" y="${y + 15}">${escape(what)}</text>
  <rect class="${kind}" x="${LEFT}" y="${y + 2}" width="${width}" height="${ROW - 8}"/>
  <text x="${(scale(ms) + 6).toFixed(1)}" y="${y + 15}">${ms}</text>
`;
  });
  const height = bottom + 24;
  const name = escape(`${title}, milliseconds`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${name}">
${STYLE}  <text class="title" x="12" y="22">${name}</text>
${ticks.join("")}${rows.join("")}</svg>
`;
}

/** Draws the charts of a file. */
export async function drawCharts(file: string, directory: string): Promise<void> {
  const figures: readonly Figure[] = JSON.parse(await Deno.readTextFile(file));
  await Deno.mkdir(directory, { recursive: true });
  for (const figure of figures.filter(({ bars }) => bars.length > 0)) {
    await Deno.writeTextFile(`${directory}/${chartName(figure)}`, chart(figure));
  }
}

if (import.meta.main) {
  const [file = `${ROOT}bench/figures.json`, directory = `${ROOT}bench/img`] = Deno.args;
  await drawCharts(file, directory);
}
