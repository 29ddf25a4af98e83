/**
 * Large uppers in little memory.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { cli } from "../_cli.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { needs } from "../_tool_images.ts";
import { Stack } from "./_stack.ts";

const root = needs();
const ROOT = new URL("../../", import.meta.url).pathname;

const MEGABYTE = 1_000_000;
const MEMORY_LIMIT = 150 * MEGABYTE;

/** Runs a command that must succeed in little memory; returns the result of its `--json`. */
async function answerInMemory(
  dir: TempDir,
  args: readonly string[],
): Promise<Record<string, unknown>> {
  const note = dir.join("peak");
  const deno = [Deno.execPath(), "run", "-A", "--quiet", "--no-check"];
  const wrapper = [...deno, `${ROOT}tests/_peak.ts`, note];
  const { status, stdout, stderr } = await cli([...args, "--json"], { wrapper });
  assertEquals([status, stderr], [0, ""]);
  const peak = Number(await Deno.readTextFile(note));
  const figure = `${args[0]} had ${(peak / MEGABYTE).toFixed(1)} MB of memory`;
  // Less than any Deno process has would be a mistake of the measurement.
  assert(peak > 10 * MEGABYTE && peak < MEMORY_LIMIT, figure);
  return JSON.parse(stdout);
}

Deno.test({
  name: `a layer with a file of 5 GB of holes takes little memory${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, "echo a >a");
    await stack.change("truncate -s 5G holes; printf end >>holes");
    const file = dir.join("layer.tar.zst");
    const args = ["export", `--pod=${stack.pod}`, `--layer=${file}`, "--compression=zstd"];
    const { entries, size } = await answerInMemory(dir, args);
    assertEquals([entries, size], [2, (await Deno.stat(file)).size]);
  },
});

Deno.test({
  name: `a layer of 100,000 files${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, "echo a >a");
    await stack.change(`python3 - <<'END'
import os
for d in range(100):
    os.mkdir(f"d{d}")
    for f in range(1000): open(f"d{d}/f{f}", "w").write(str(f))
END`);
    const args = ["export", `--pod=${stack.pod}`, `--layer=${dir.join("layer.tar.gz")}`];
    const { entries } = await answerInMemory(dir, args);
    assertEquals(entries, 100_101);
  },
});
