/**
 * Blobs that are not what they must be, small ones and such as a thread reads.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { readBlob, WORKER_SIZE } from "../../lib/image/blob.ts";
import type { Blob, BlobDigests } from "../../lib/image/blob.ts";
import { OverlayError } from "../../lib/core/errors.ts";
import { bytes, concat, gzip } from "../_archive.ts";
import { noise } from "../_random.ts";
import { sh, tempDir } from "../_temp.ts";

/** Of those with gzip, the larger is for a thread. */
const SIZES = { small: 600_000, large: WORKER_SIZE + 100_000 };

function blobOf(path: string, size: number): Blob {
  return { name: "the layer", path, offset: 0, size, digest: null, diffId: null };
}

async function digestsOf(blob: Blob): Promise<BlobDigests> {
  const read = readBlob(blob, {});
  for (let next = await read.next();; next = await read.next()) {
    if (next.done) return next.value;
  }
}

function digest(algorithm: string, content: Uint8Array): string {
  return `${algorithm}:${createHash(algorithm).update(content).digest("hex")}`;
}

async function compressed(
  program: string,
  content: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  await using dir = await tempDir();
  await Deno.writeFile(dir.join("plain"), content);
  await sh("sh", "-c", '"$0" -1 --stdout "$1" > "$2"', program, dir.join("plain"), dir.join("out"));
  return await Deno.readFile(dir.join("out"));
}

for (const [what, size] of Object.entries(SIZES)) {
  const content = noise(size);
  const forms = { gzip: gzip(content), none: content, xz: await compressed("xz", content) };
  for (const [form, blob] of Object.entries(forms)) {
    Deno.test(`a blob that is too short says so: ${form}, ${what}`, async () => {
      await using dir = await tempDir();
      const path = dir.join("blob");
      await Deno.writeFile(path, blob.subarray(0, blob.length - 7));
      const short = blobOf(path, blob.length);
      const { message } = await assertRejects(() => digestsOf(short), OverlayError);
      const sizes = `it has ${blob.length - 7} bytes, and must have ${blob.length}`;
      assertEquals(message, `Cannot use blob "the layer": ${sizes}`);
    });

    Deno.test(`a blob in the middle of a file has its digests: ${form}, ${what}`, async () => {
      await using dir = await tempDir();
      const path = dir.join("blob");
      await Deno.writeFile(path, concat(new Uint8Array(600), blob, new Uint8Array(5)));
      const at = { ...blobOf(path, blob.length), offset: 600 };
      const is = { digest: digest("sha256", blob), diffId: digest("sha256", content) };
      assertEquals(await digestsOf(at), is);
      for (const algorithm of ["sha256", "sha512"]) {
        const must = { digest: digest("sha512", blob), diffId: digest(algorithm, content) };
        assertEquals(await digestsOf({ ...at, ...must }), must);
        const other = { ...at, ...must, diffId: `${algorithm}:${"0".repeat(64)}` };
        const { message } = await assertRejects(() => digestsOf(other), OverlayError);
        assertStringIncludes(message, `its diff id is ${must.diffId}, and must be ${other.diffId}`);
      }
    });
  }
}

for (const [what, size] of Object.entries(SIZES)) {
  Deno.test(`a blob that is damaged in the middle says so, ${what}`, async () => {
    await using dir = await tempDir();
    const path = dir.join("blob");
    const stored = concat(bytes("\0\xff\xff\0\0"), noise(0xffff));
    const begin = concat(bytes("\x1f\x8b\x08\0\0\0\0\0\0\x03"), ...Array(5).fill(stored));
    // There is no third type of blocks.
    const blob = concat(begin, bytes("\x07"), noise(size));
    await Deno.writeFile(path, blob);
    const { message } = await assertRejects(
      () => digestsOf(blobOf(path, blob.length)),
      OverlayError,
    );
    assertStringIncludes(
      message,
      "Cannot read archive: its gzip compression is damaged: invalid block type",
    );
  });

  Deno.test(`a blob that nobody wants any more is not read, ${what}`, async () => {
    await using dir = await tempDir();
    const path = dir.join("blob");
    const reason = new Error("enough");
    for (const bytes of [gzip(noise(size)), noise(size)]) {
      await Deno.writeFile(path, bytes);
      for (const signal of [AbortSignal.abort(reason), aborted(20, reason)]) {
        const read = readBlob(blobOf(path, bytes.length), { signal });
        const act = async () => {
          for await (const _ of read) await new Promise((resolve) => setTimeout(resolve, 30));
        };
        assertEquals(await assertRejects(act), reason);
      }
    }
  });
}

/** A signal that is aborted in so many milliseconds. */
function aborted(ms: number, reason: Error): AbortSignal {
  const ended = new AbortController();
  setTimeout(() => ended.abort(reason), ms);
  return ended.signal;
}

Deno.test("a blob that is gone when a thread is to read it is an error that names it", async () => {
  await using dir = await tempDir();
  const path = dir.join("blob");
  const bytes = gzip(noise(SIZES.large));
  await Deno.writeFile(path, bytes);
  // How it is compressed is seen at once, and a thread is there some milliseconds later.
  const reading = assertRejects(() => digestsOf(blobOf(path, bytes.length)), OverlayError);
  await Deno.remove(path);
  const error = await reading;
  assertStringIncludes(error.message, `Cannot read "${path}": it does not exist`);
});
