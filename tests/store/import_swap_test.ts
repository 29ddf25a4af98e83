/**
 * Files of an image that somebody swaps for a FIFO while it is imported: an import ends all the same.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { OverlayError } from "../../mod.ts";
import { importTree } from "../../lib/store/tree.ts";
import { WORKER_SIZE } from "../../lib/image/blob.ts";
import { archive, digestOf, file, gzip, layoutFiles, writeFiles } from "../_archive.ts";
import { cli } from "../_cli.ts";
import { isRealRoot } from "../_privilege.ts";
import { noise } from "../_random.ts";
import { swapping } from "../_swapper.ts";
import { sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing } from "../_tree.ts";

const suffix = isRealRoot ? "" : " [skipped: needs root]";

const SMALL = archive(file("a"));
const LARGE = archive(file("a", noise(WORKER_SIZE + (1 << 20))));

/** A layout in a directory, and the blob of its only layer. */
async function makeLayout(dir: TempDir, tar: Uint8Array<ArrayBuffer>): Promise<string> {
  const blob = gzip(tar, 1);
  await writeFiles(dir.join("image"), layoutFiles([{ tar, blob }]));
  return dir.join("image/blobs", digestOf(blob).replace(":", "/"));
}

Deno.test("an import refuses a FIFO, and whatever it is that lies in the place of a file", async () => {
  await using dir = await tempDir();
  const blob = await makeLayout(dir, SMALL);
  const fifo = dir.join("fifo");
  await sh("mkfifo", fifo);
  await Deno.remove(blob);
  await sh("mkfifo", blob);
  const store = dir.join("store");
  // Who may not write there cannot end the waiting of who opens it.
  const flags = [
    `--allow-read=${dir.path}`,
    `--allow-write=${store}`,
    "--allow-sys=uid",
    "--allow-run=/bin/ln,/bin/tar,/bin/sync,/bin/rm,/bin/find",
  ];
  for (const source of [fifo, dir.join("image")]) {
    const args = ["tree", "import", "--quiet", `--store=${store}`, source];
    const result = await cli(args, { flags, wrapper: ["timeout", "20"] });
    assertEquals([result.status, result.stdout], [1, ""], result.stderr);
    assert(result.stderr.includes("is neither a file nor a directory"), result.stderr);
    assertEquals(await isMissing(store), true);
  }
});

/** Runs something while a file and a FIFO change places; it must come to an end each time. */
async function whileSwapped(
  path: string,
  rounds: number,
  act: (signal: AbortSignal) => Promise<unknown>,
): Promise<void> {
  const fifo = `${path}.fifo`;
  await sh("mkfifo", "--mode=0666", fifo);
  await sh("chown", "-R", "65534:65534", path.slice(0, path.lastIndexOf("/")));
  let refused = 0;
  {
    await using _ = swapping(path, fifo);
    for (let round = 0; round < rounds; round++) {
      const signal = AbortSignal.timeout(30_000);
      await act(signal).catch((error) => {
        assert(error instanceof OverlayError, String(error));
        refused++;
      });
    }
  }
  // What is still being opened ends with a writer.
  const real = [path, fifo].find((name) => Deno.lstatSync(name).isFifo) ?? fifo;
  using _writer = await Deno.open(real, { read: true, write: true });
  await new Promise((settled) => setTimeout(settled, 200));
  assert(refused > 0, "nothing was swapped at the right time");
}

for (const [what, tar, rounds] of [["small", SMALL, 200], ["large", LARGE, 40]] as const) {
  Deno.test({
    name: `an import ends while a ${what} blob is swapped for a FIFO${suffix}`,
    ignore: !isRealRoot,
    fn: async () => {
      await using dir = await tempDir();
      await sh("chmod", "0755", dir.path);
      const blob = await makeLayout(dir, tar);
      let round = 0;
      await whileSwapped(blob, rounds, (signal) => {
        const store = dir.join(`store${round++}`);
        return importTree({ source: dir.join("image"), store }, { signal });
      });
    },
  });
}

Deno.test({
  name: `an import ends while its source is swapped for a FIFO${suffix}`,
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    await sh("chmod", "0755", dir.path);
    const source = dir.join("sources/archive");
    await Deno.mkdir(dir.join("sources"));
    await Deno.writeFile(source, SMALL);
    const before = await assertRejects(() => {
      return importTree({ source: `${source}.none`, store: dir.join("store") });
    }, OverlayError);
    assertEquals(before.code, "missing");
    let round = 0;
    await whileSwapped(source, 200, (signal) => {
      return importTree({ source, store: dir.join(`store${round++}`) }, { signal });
    });
  },
});
