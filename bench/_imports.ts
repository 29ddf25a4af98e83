/**
 * All that is measured of imports, on disk and in memory.
 *
 * @module
 */
import { formatEntry } from "../lib/tar/tar_entry.ts";
import { freshDenoDir } from "../tests/_deno_dir.ts";
import { run, say } from "../tools/run.ts";
import { importing, importOf, inMemory } from "./_importing.ts";
import type { Images } from "./_importing.ts";
import { sayImportTargets, sayRows, SHAPES } from "./_import_table.ts";
import { layering } from "./_layering.ts";
import { entry, makeLayout, makeManyLayers, REF } from "./_layout.ts";
import { measure, must, reasonOf, withCell } from "./_measure.ts";
import type { Measured, Place, Row } from "./_measure.ts";
import { peakMemory } from "./_memory.ts";

const MANY_LAYERS = 128;
const PEERS = ["skopeo", "umoci", "ctr"];

const LARGE_FILES = 40;
const LARGE_FILE = 100 << 20;
const PIECE = 1 << 20;

/** An archive of 4 GB that is nowhere but on its way. */
async function* largeArchive(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const piece = new Uint8Array(PIECE);
  for (let at = 0; at < PIECE; at += 1 << 16) {
    crypto.getRandomValues(piece.subarray(at, at + (1 << 16)));
  }
  for (let file = 0; file < LARGE_FILES; file++) {
    for (const block of formatEntry(entry(`./file-${file}`, { size: LARGE_FILE }))) {
      yield Uint8Array.from(block);
    }
    for (let size = 0; size < LARGE_FILE; size += PIECE) yield piece;
  }
  yield new Uint8Array(1024);
}

async function measureMemory(place: Place, { layout }: Images): Promise<Map<string, number>> {
  const large = `${(LARGE_FILES * LARGE_FILE / 1e9).toFixed(1)} GB from stdin`;
  const kinds = [
    { what: "the image", argv: importOf(place, layout.path, "--ref", REF) },
    { what: large, argv: importOf(place, "-"), input: largeArchive },
  ];
  const peaks = new Map<string, number>();
  for (const { what, argv, input } of kinds) {
    const act = () => peakMemory(argv, place, input?.());
    const peak = await withCell(place, act, `memory-${peaks.size}`).catch((error) => {
      say(`the import of ${what} failed: ${reasonOf(error)}\n`);
      return NaN;
    });
    // It is large, and of few files; what has many is removed in the end.
    const store = `${place.scratch}/cells/memory-${peaks.size}`;
    if (input !== undefined) await run(["rm", "-rf", "--one-file-system", store]);
    peaks.set(what, peak);
  }
  return peaks;
}

async function makeImages({ tree, scratch }: Place): Promise<Images> {
  const layout = await makeLayout(tree, `${scratch}/layout`);
  const archive = `${scratch}/layout.tar`;
  await must(["tar", `--directory=${layout.path}`, "--create", `--file=${archive}`, "."]);
  const small = `${scratch}/small`;
  await makeSmallFiles(small);
  const shapes = {
    [SHAPES.files]: await makeLayout(small, `${scratch}/layout-files`),
    [SHAPES.layers]: await makeLayout(tree, `${scratch}/layout-layers`, 20),
  };
  return { layout, archive, shapes };
}

/** Makes 600 directories of 100 small files each. */
async function makeSmallFiles(path: string): Promise<void> {
  for (let at = 0; at < 600; at++) {
    const directory = `${path}/${at}`;
    await Deno.mkdir(directory, { recursive: true });
    for (let file = 0; file < 100; file++) {
      await Deno.writeTextFile(`${directory}/${file}`, `${at} ${file}\n`.repeat(1 + file % 50));
    }
  }
}

/** How long each table may take. */
const SECONDS = { tmpfs: 80, disk: 90, layers: 30 };

async function table(
  title: string,
  rows: readonly Row[],
  place: Place,
  { seconds, bare = "" }: { readonly seconds: number; readonly bare?: string },
): Promise<Measured[]> {
  const all = await measure(rows, place, seconds);
  sayRows(title, all, bare);
  return all;
}

/** Measures imports, and prints each table as soon as it is there. */
export async function measureImports(place: Place, programs: ReadonlySet<string>): Promise<void> {
  await freshDenoDir(place.env.DENO_DIR ?? "");
  const images = await makeImages(place);
  const rows = importing(place, images)
    .filter(({ by }) => !PEERS.includes(by) || programs.has(by));
  const inTmpfs = await table("Importing, on tmpfs", inMemory(place, rows), place, {
    seconds: SECONDS.tmpfs,
    bare: "tar",
  });
  const onDisk = await table("Importing, on the disk of TMPDIR", rows, place, {
    seconds: SECONDS.disk,
    bare: "tar",
  });
  const layered = await Promise.all([1, MANY_LAYERS].map(async (count) => {
    return { count, layout: await makeManyLayers(count, `${place.scratch}/layers-${count}`) };
  }));
  const layers = await table("Layers", layering(place, layered), place, {
    seconds: SECONDS.layers,
  });
  const memory = await measureMemory(place, images);
  const media = new Map([["tmpfs", inTmpfs], ["disk", onDisk]]);
  sayImportTargets({ media, layers, memory }, MANY_LAYERS);
}
