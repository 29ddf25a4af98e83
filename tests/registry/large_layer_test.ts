/**
 * Large layers, which are unpacked while they are fetched.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { exists } from "@std/fs/exists";
import { OverlayError } from "../../lib/core/errors.ts";
import { pullTree } from "../../lib/store/pull_tree.ts";
import type { PullOptions } from "../../lib/store/pull_tree.ts";
import { importTree } from "../../lib/store/tree.ts";
import { archive, file, layoutFiles, writeFiles } from "../_archive.ts";
import { ATTRIBUTES } from "../_image.ts";
import { noise } from "../_random.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { FakeRegistry, HOST } from "./_fake.ts";

/** A layer that a worker reads. */
const LARGE = { tar: archive(file("large", noise(9 << 20))) };
const HALF = 5 << 20;

function pull(
  dir: TempDir,
  fake: FakeRegistry,
  options: PullOptions = {},
): Promise<{ id: string }> {
  const request = { reference: `${HOST}/a/b:1`, store: dir.join("store"), authFile: "/none" };
  const how = { fetch: fake.fetch, wait: () => Promise.resolve(), ...options };
  return pullTree({ ...request, ...ATTRIBUTES }, how);
}

/** The tree of the same image without a registry. */
async function importedId(dir: TempDir): Promise<string> {
  await writeFiles(dir.join("layout"), layoutFiles([LARGE]));
  const request = { source: dir.join("layout"), store: dir.join("other"), ...ATTRIBUTES };
  return (await importTree(request)).id;
}

/** Answers requests for the layer. */
function answerLayer(
  fake: FakeRegistry,
  answer: (bytes: Uint8Array<ArrayBuffer>, tried: number) => Response,
): void {
  const [{ digest = "" } = {}] = fake.layers;
  let tried = 0;
  fake.override(new RegExp(`^GET \\S+/blobs/${digest}`), () => answer(fake.blob(digest), ++tried));
}

/** A body that breaks after these bytes. */
function broken(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    pull(controller): void {
      if (bytes.length === 0) return controller.error(new TypeError("error reading a body"));
      controller.enqueue(bytes.slice(0, 1 << 20));
      bytes = bytes.subarray(1 << 20);
    },
  });
}

Deno.test("pullTree() unpacks a large layer while it is fetched", async () => {
  await using dir = await tempDir();
  const fake = new FakeRegistry([LARGE]);
  const reading = Promise.withResolvers<void>();
  answerLayer(fake, (bytes) => {
    const parts = [bytes.slice(0, HALF), bytes.slice(HALF)];
    return new Response(
      new ReadableStream({
        async pull(controller): Promise<void> {
          const part = parts.shift();
          if (part === undefined) return controller.close();
          if (parts.length === 0) await reading.promise;
          controller.enqueue(part);
        },
      }, { highWaterMark: 0 }),
    );
  });
  const { id } = await pull(dir, fake, { onRead: () => reading.resolve(), idleMs: 10_000 });
  assertEquals(id, await importedId(dir));
});

Deno.test("pullTree() begins a large layer again where a registry sends all of it after a cut", async () => {
  await using dir = await tempDir();
  const fake = new FakeRegistry([LARGE]);
  answerLayer(fake, (bytes, tried) => {
    return new Response(tried === 1 ? broken(bytes.slice(0, HALF)) : bytes);
  });
  assertEquals((await pull(dir, fake)).id, await importedId(dir));
});

/** The ways in which a large layer fails after it is half unpacked. */
const FAULTS: Readonly<
  Record<string, readonly [code: string, answer: Parameters<typeof answerLayer>[1]]>
> = {
  "breaks each time": ["network", (bytes, tried) => {
    return tried === 1
      ? new Response(broken(bytes.slice(0, HALF)))
      : new Response("", { status: 503 });
  }],
  "is gone after a cut": ["missing", (bytes, tried) => {
    return tried === 1
      ? new Response(broken(bytes.slice(0, HALF)))
      : new Response("", { status: 404 });
  }],
  "has too many bytes": ["bad-digest", (bytes) => {
    return new Response(new Blob([bytes, "more"]));
  }],
  "has other content at its end": ["bad-", (bytes) => {
    const other = bytes.slice();
    other.fill(1, HALF);
    return new Response(other);
  }],
};

for (const [fault, [code, answer]] of Object.entries(FAULTS)) {
  Deno.test(`pullTree() leaves nothing of a large layer that ${fault}`, async () => {
    await using dir = await tempDir();
    const fake = new FakeRegistry([LARGE]);
    answerLayer(fake, answer);
    const error = await assertRejects(() => pull(dir, fake), OverlayError);
    assert(error.code.startsWith(code), `${error.code}: ${error.message}`);
    assertEquals(await exists(dir.join("store")), false);
  });
}

Deno.test("pullTree() removes the blob of a layer when it is unpacked, and fetches none twice", async () => {
  await using dir = await tempDir();
  const base = { tar: archive(file("gone", "below")) };
  const cover = { tar: archive(file(".wh.gone", ""), file("top", "top")) };
  const other = { tar: archive(file("other", "other")) };
  // The second cover must be unpacked again, since it lies on other layers than the first.
  const fake = new FakeRegistry([base, cover, other, cover]);
  const scratch = dir.join("store", "tmp", "pull");
  const left: string[][] = [];
  await pull(dir, fake, {
    checkpoint: (step) => {
      if (step === "synced") left.push(Array.from(Deno.readDirSync(scratch), ({ name }) => name));
    },
  });
  const layers = fake.layers.map(({ digest }) => digest);
  const names = layers.map((digest) => digest.replace(":", "-"));
  assertEquals(left.map((all) => all.filter((name) => names.includes(name))), [[]]);
  for (const digest of layers) {
    assertEquals(fake.asked.filter(({ url }) => url.endsWith(digest)).length, 1);
  }
});
