/**
 * The charts of the benchmarks.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { addFigure, beginFigures } from "../../bench/_figures.ts";
import type { Figure } from "../../bench/_figures.ts";
import { chart, chartName } from "../../tools/charts.ts";
import { filesBelow } from "../../tools/files.ts";
import { tempDir } from "../_temp.ts";

const BENCH = new URL("../../bench/", import.meta.url).pathname;

Deno.test("bench/README.md shows a chart of each figure: deno task bench:charts", async () => {
  const figures: readonly Figure[] = JSON.parse(await Deno.readTextFile(`${BENCH}figures.json`));
  const page = await Deno.readTextFile(`${BENCH}README.md`);
  for (const figure of figures) {
    assertEquals(await Deno.readTextFile(`${BENCH}img/${chartName(figure)}`), chart(figure));
    assertStringIncludes(page, `(img/${chartName(figure)})`);
  }
  assertEquals((await filesBelow(`${BENCH}img`, ".", ".svg")).length, figures.length);
});

Deno.test("chart() draws each bar in proportion, and escapes names", () => {
  const bars = [{ what: "render <&>", ms: 100 }, { what: 'other "one"', ms: 50 }];
  const svg = chart({ title: "A title", bars });
  const widths = [...svg.matchAll(/<rect class="([^"]+)".* width="([\d.]+)"/g)];
  assertEquals(widths.map(([, kind]) => kind), ["bar ours", "bar"]);
  assertEquals(Number(widths[0]?.[2]) / Number(widths[1]?.[2]), 2);
  assertStringIncludes(svg, "render &lt;&amp;>");
  assertStringIncludes(svg, "other &quot;one&quot;");
  assert(svg.includes("prefers-color-scheme: dark"));
});

Deno.test("a bench writes the tables that it prints, if it is told to", async () => {
  await using dir = await tempDir();
  const file = dir.join("figures.json");
  addFigure("Not written", [{ what: "a", ms: 1 }]);
  try {
    beginFigures(["--json", file]);
    addFigure("One", [{ what: "a", ms: 1.25 }, { what: "not measured", ms: NaN }]);
    addFigure("Two", []);
  } finally {
    Deno.env.delete("OVERLAY_RENDER_BENCH_JSON");
  }
  assertEquals(JSON.parse(await Deno.readTextFile(file)), [
    { title: "One", bars: [{ what: "a", ms: 1.3 }] },
    { title: "Two", bars: [] },
  ]);
});
