/**
 * Blobs that are not what they must be, small ones and such as a thread reads.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { APART_SIZE, readBlob } from "../lib/blob.ts";
import type { Blob, BlobDigests } from "../lib/blob.ts";
import { OverlayError } from "../lib/errors.ts";
import { concat, gzip } from "./_archive.ts";
import { noise } from "./_random.ts";
import { tempDir } from "./_temp.ts";

const SIZES = { here: 100_000, apart: APART_SIZE + 100_000 };

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

for (const [where, size] of Object.entries(SIZES)) {
  const content = noise(size);
  const forms = { gzip: gzip(content), none: content };
  for (const [form, bytes] of Object.entries(forms)) {
    Deno.test(`a blob that is too short says so: ${form}, read ${where}`, async () => {
      await using dir = await tempDir();
      const path = dir.join("blob");
      await Deno.writeFile(path, bytes.subarray(0, bytes.length - 7));
      const blob = blobOf(path, bytes.length);
      const { message } = await assertRejects(() => digestsOf(blob), OverlayError);
      const sizes = `it has ${bytes.length - 7} bytes, and must have ${bytes.length}`;
      assertEquals(message, `Cannot use blob "the layer": ${sizes}`);
    });

    Deno.test(`a blob in the middle of a file has its digests: ${form}, read ${where}`, async () => {
      await using dir = await tempDir();
      const path = dir.join("blob");
      await Deno.writeFile(path, concat(new Uint8Array(600), bytes, new Uint8Array(5)));
      const at = { ...blobOf(path, bytes.length), offset: 600 };
      const is = { digest: digest("sha256", bytes), diffId: digest("sha256", content) };
      assertEquals(await digestsOf(at), is);
      for (const algorithm of ["sha256", "sha512"]) {
        const must = { digest: digest("sha512", bytes), diffId: digest(algorithm, content) };
        assertEquals(await digestsOf({ ...at, ...must }), must);
        const other = { ...at, ...must, diffId: `${algorithm}:${"0".repeat(64)}` };
        const { message } = await assertRejects(() => digestsOf(other), OverlayError);
        assertStringIncludes(message, `its diff id is ${must.diffId}, and must be ${other.diffId}`);
      }
    });
  }
}

Deno.test("a blob that is gone when a thread is to read it is an error that names it", async () => {
  await using dir = await tempDir();
  const path = dir.join("blob");
  const bytes = gzip(noise(SIZES.apart));
  await Deno.writeFile(path, bytes);
  // How it is compressed is seen at once, and a thread is there some milliseconds later.
  const reading = assertRejects(() => digestsOf(blobOf(path, bytes.length)), OverlayError);
  await Deno.remove(path);
  const error = await reading;
  assertStringIncludes(error.message, `Cannot read "${path}": No such file or directory`);
});
