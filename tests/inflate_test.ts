import { createHash } from "node:crypto";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { inflate } from "../lib/inflate.ts";
import type { Inflated, Inflating } from "../lib/inflate.ts";
import { apart } from "../lib/thread.ts";
import { bytes, concat, gzip } from "./_archive.ts";
import { noise } from "./_random.ts";

const HOW: Inflating = { blob: "sha256", content: "sha512", chunk: 1 << 16 };

const LARGE = concat(noise(1 << 20), new Uint8Array(5 << 20), noise(300_001));
const TEXT = bytes("from the image\n");

/** Cut into pieces of a size, each with a buffer of its own: a thread takes them away. */
async function* cut(
  content: Uint8Array<ArrayBuffer>,
  size: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (let at = 0; at < content.length; at += size) {
    yield await Promise.resolve(content.slice(at, at + size));
  }
}

const WAYS: Readonly<Record<string, typeof inflate>> = {
  here: inflate,
  apart: (pieces, how) => apart(inflate, pieces, how),
};

async function inflated(
  way: string,
  blob: Uint8Array<ArrayBuffer>,
  size: number,
): Promise<{ readonly content: Uint8Array; readonly told: Inflated }> {
  const made = (WAYS[way] ?? inflate)(cut(blob, size), HOW);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for (let next = await made.next();; next = await made.next()) {
    if (next.done) return { content: concat(...pieces), told: next.value };
    pieces.push(next.value.slice());
  }
}

function hex(algorithm: string, content: Uint8Array): string {
  return createHash(algorithm).update(content).digest("hex");
}

const WHOLE: Readonly<Record<string, readonly [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>]>> =
  {
    "a text": [gzip(TEXT), TEXT],
    "nothing": [gzip(new Uint8Array()), new Uint8Array()],
    "megabytes": [gzip(LARGE), LARGE],
    "members": [concat(gzip(TEXT), gzip(LARGE), gzip(TEXT)), concat(TEXT, LARGE, TEXT)],
    "zeros after it": [concat(gzip(TEXT), new Uint8Array(700_000)), TEXT],
  };

const DAMAGED: Readonly<Record<string, readonly [Uint8Array<ArrayBuffer>, string]>> = {
  "a cut": [gzip(LARGE).slice(0, 900_000), "its gzip compression is damaged: "],
  "a cut header": [gzip(TEXT).slice(0, 5), "its gzip compression is damaged: "],
  "another byte": [
    gzip(LARGE).map((byte, at) => at === 700_000 ? byte ^ 1 : byte),
    "its gzip compression is damaged: ",
  ],
  "another checksum": [
    gzip(TEXT).map((byte, at, { length }) => at === length - 8 ? byte ^ 1 : byte),
    "its gzip compression is damaged: ",
  ],
  "something after it": [
    concat(gzip(TEXT), new Uint8Array(100), TEXT),
    "something follows its gzip compression",
  ],
  "a member after a piece of zeros": [
    concat(gzip(TEXT), new Uint8Array((1 << 16) - gzip(TEXT).length), gzip(TEXT)),
    "its gzip compression",
  ],
};

for (const way of Object.keys(WAYS)) {
  for (const [what, [blob, content]] of Object.entries(WHOLE)) {
    for (
      const size of way === "apart" ? [1 << 12] : blob.length < 1000 ? [1, 7] : [1 << 12, 1 << 18]
    ) {
      Deno.test(`inflate ${way}: ${what}, in pieces of ${size}`, async () => {
        const made = await inflated(way, blob, size);
        assertEquals(hex("md5", made.content), hex("md5", content));
        const digests = { blob: hex("sha256", blob), content: hex("sha512", content) };
        assertEquals(made.told, { ...digests, fault: null });
      });
    }
  }
  for (const [what, [blob, fault]] of Object.entries(DAMAGED)) {
    Deno.test(`inflate ${way}: ${what} is damage`, async () => {
      const { told } = await inflated(way, blob, 1 << 16);
      assertStringIncludes(told.fault ?? "", fault);
    });
  }
}

Deno.test("inflate here: that no more can be read is told, whatever was thrown", async () => {
  for (const cause of [new Error("the disk is broken"), null]) {
    const failing = async function* (): AsyncGenerator<Uint8Array<ArrayBuffer>> {
      yield gzip(LARGE).slice(0, 100_000);
      await Promise.resolve();
      throw cause;
    };
    let caught: unknown = "nothing";
    try {
      for await (const _ of inflate(failing(), HOW));
    } catch (error) {
      caught = error;
    }
    assertEquals(caught, cause);
  }
});
