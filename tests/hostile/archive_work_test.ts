/**
 * Archives that were made to cost more work, memory or time than their bytes are worth.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { LayerFilter } from "../../lib/layer/layer_filter.ts";
import { importTree, listTreesSync } from "../../lib/store/tree.ts";
import { archive, directory, file, pax } from "../_archive.ts";
import type { Bytes } from "../_archive.ts";
import { runMain } from "../_main.ts";
import { needs } from "../_tool_images.ts";
import { sh, tempDir } from "../_temp.ts";

/** How long it takes to filter an archive, and then to say what depends on the layers below, in ms. */
function timesOf(parts: readonly Bytes[]): { readonly filter: number; readonly judge: number } {
  const filter = new LayerFilter(
    {
      ...{ devices: true, setuid: true, attributes: "trusted", whiteouts: true },
      ...{ maxBytes: 1e12, maxEntries: 1e6 },
    },
    { startDigest: () => createHash("sha256"), line: () => {} },
  );
  const bytes = archive(...parts);
  const start = performance.now();
  for (const steps of [filter.push(bytes), filter.end()]) Array.from(steps);
  const middle = performance.now();
  assertEquals(filter.summary.implicit, filter.needs.implicit.length);
  assertEquals([filter.needs.whiteouts.length, filter.needs.emptied.length], [0, 0]);
  return { filter: middle - start, judge: performance.now() - middle };
}

/** The shortest of a few: others work on this machine, too. */
function best<T>(times: () => T, of: (one: T) => number): number {
  return Math.min(...Array.from({ length: 3 }, () => of(times())));
}

Deno.test("records of all entries cost as much as their bytes, however many entries there are", () => {
  const files = Array.from({ length: 600 }, (_, at) => file(`f${at}`, ""));
  const records = (count: number) => {
    return pax(Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, "v"])), "g");
  };
  const time = (count: number) => {
    return best(() => timesOf([records(count), ...files]), ({ filter }) => filter);
  };
  const [few, many] = [time(2), time(4000)];
  assert(many < 10 * few + 50, `${few} ms, ${many} ms`);
});

Deno.test("directories that are not said cost as much as their number, however deep they are", () => {
  const parts = [
    directory("opaque"),
    file("opaque/.wh..wh..opq", ""),
    ...Array.from({ length: 12 }, (_, at) => [
      pax({ path: `${at}/${"a/".repeat(500)}b` }),
      file("x", ""),
    ]).flat(),
  ];
  const one = () => timesOf(parts);
  const [filter, judge] = [best(one, (times) => times.filter), best(one, (times) => times.judge)];
  assert(judge < 2 * filter + 50, `${filter} ms, ${judge} ms`);
});

Deno.test("whiteouts in deep directories that are nowhere are too many at some point", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  const parts = Array.from({ length: 400 }, (_, at) => [
    pax({ path: `${at}/${"a/".repeat(500)}.wh.b` }),
    file("x", ""),
  ]);
  await Deno.writeFile(source, archive(...parts.flat()));
  const { status, stderr } = await runMain(["tree", "import", source, `--store=${store}`]);
  assertEquals(status, 1);
  assertMatch(stderr, /^error: .* it has more than \d+ steps through its directories$/m);
  assertMatch(stderr, /^hint: /m);
});

Deno.test("a signal ends the import of a file that is nearly all hole, and nothing stays", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  const size = `${60 * 2 ** 30}`;
  const parts = [pax({ "GNU.sparse.map": "0,4", "GNU.sparse.size": size }), file("x", "data")];
  await Deno.writeFile(source, archive(...parts));
  const reason = new Error("enough");
  const started = performance.now();
  const signal = AbortSignal.any([AbortSignal.timeout(500)]);
  const ended = new AbortController();
  signal.addEventListener("abort", () => ended.abort(reason));
  const error = await assertRejects(() => importTree({ source, store }, { signal: ended.signal }));
  assertEquals(error, reason);
  assert(performance.now() - started < 20_000);
  assertEquals(listTreesSync({ store }), []);
});

for (
  const [name, command] of [
    ["xz", "head -c 1000 /dev/zero | xz --lzma2=dict=1536MiB"],
    ["zstd", "head -c 2000000 /dev/urandom | zstd --quiet --long=30"],
  ] as const
) {
  const { ignore, suffix } = needs();
  Deno.test(`tree import refuses an archive that needs much memory for ${name}${suffix}`, {
    ignore,
  }, async () => {
    await using dir = await tempDir();
    const [source, store] = [dir.join("source"), dir.join("store")];
    await sh("sh", "-c", `${command} >"$0"`, source);
    const { status, stderr } = await runMain(["tree", "import", source, `--store=${store}`]);
    assertEquals(status, 1);
    assertMatch(
      stderr,
      new RegExp(`: its ${name} compression needs more than 512 MiB of memory\n`),
    );
    assertMatch(stderr, /^hint: .*smaller dictionary or window$/m);
  });
}
