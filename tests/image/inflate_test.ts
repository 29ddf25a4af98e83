import { createHash } from "node:crypto";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { inflate } from "../../lib/image/inflate.ts";
import type { Inflated, Inflating } from "../../lib/image/inflate.ts";
import { runInWorker } from "../../lib/image/worker.ts";
import { bytes, concat, gzip } from "../_archive.ts";
import { noise } from "../_random.ts";

const HOW: Inflating = { blob: "sha256", content: "sha512", chunk: 1 << 16 };

const LARGE = concat(noise(1 << 20), new Uint8Array(5 << 20), noise(300_001));
const TEXT = bytes("from the image\n");

/** A blob, and in pieces of what size it is read. */
interface Cut {
  readonly text: string;
  readonly size: number;
}

/** A blob cut into pieces, all of them in the same memory. It stands on its own, so that a thread can do it. */
function* cut({ text, size }: Cut): Generator<Uint8Array<ArrayBuffer>> {
  const blob = Uint8Array.fromBase64(text);
  const buffer = new Uint8Array(size);
  for (let at = 0; at < blob.length; at += size) {
    const piece = blob.subarray(at, at + size);
    buffer.set(piece);
    yield buffer.subarray(0, piece.length);
  }
}

type Way = (how: Inflating & Cut) => ReturnType<typeof inflate>;

const WAYS: Readonly<Record<string, Way>> = {
  here: (how) => inflate(cut(how), how),
  apart: (how) => runInWorker({ source: cut, transform: inflate, how }),
};

async function inflated(
  way: Way,
  blob: Uint8Array<ArrayBuffer>,
  size: number,
): Promise<{ readonly content: Uint8Array; readonly told: Inflated }> {
  const made = way({ ...HOW, text: blob.toBase64(), size });
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

for (const [name, way] of Object.entries(WAYS)) {
  for (const [what, [blob, content]] of Object.entries(WHOLE)) {
    for (
      const size of name === "apart" ? [1 << 12] : blob.length < 1000 ? [1, 7] : [1 << 12, 1 << 18]
    ) {
      Deno.test(`inflate ${name}: ${what}, in pieces of ${size}`, async () => {
        const made = await inflated(way, blob, size);
        assertEquals(hex("md5", made.content), hex("md5", content));
        const digests = { blob: hex("sha256", blob), content: hex("sha512", content) };
        assertEquals(made.told, { ...digests, fault: null });
      });
    }
  }
  for (const [what, [blob, fault]] of Object.entries(DAMAGED)) {
    Deno.test(`inflate ${name}: ${what} is damage`, async () => {
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
