import { assert, assertEquals, assertRejects } from "@std/assert";
import { apart } from "../lib/thread.ts";
import type { Piece } from "../lib/thread.ts";

const PERMISSIONS = "none";

/** Gives each byte more by a number, in a piece that is part of its buffer, and counts them all. */
async function* add(
  pieces: AsyncIterable<Piece>,
  { number }: { readonly number: number },
): AsyncGenerator<Piece, { readonly bytes: number }> {
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    const larger = new Uint8Array(piece.length + 2);
    larger.set(piece.map((byte) => byte + number), 1);
    yield larger.subarray(1, piece.length + 1);
  }
  return { bytes };
}

async function* of(...pieces: readonly Piece[]): AsyncGenerator<Piece> {
  for (const piece of pieces) yield await Promise.resolve(piece);
}

/** Numbered pieces without end; counts how many were asked for. */
async function* endless(asked: { count: number }): AsyncGenerator<Piece> {
  for (;;) {
    asked.count++;
    yield await Promise.resolve(new Uint8Array([asked.count % 256]));
  }
}

/** All that is made, and the last word. */
async function all<Result>(
  made: AsyncGenerator<Piece, Result>,
): Promise<{ readonly pieces: number[][]; readonly word: Result }> {
  const pieces: number[][] = [];
  for (let next = await made.next();; next = await made.next()) {
    if (next.done) return { pieces, word: next.value };
    pieces.push([...next.value]);
  }
}

for (const count of [0, 1, 31, 32, 33, 500]) {
  Deno.test({
    name: `a thread gets ${count} pieces, and what it makes of them comes back in their order`,
    permissions: PERMISSIONS,
    async fn(): Promise<void> {
      const pieces = Array.from({ length: count }, (_, at) => new Uint8Array([at % 200, 1]));
      const made = await all(apart(add, of(...pieces), { number: 3 }));
      assertEquals(made.pieces, pieces.map((_, at) => [at % 200 + 3, 4]));
      assertEquals(made.word, { bytes: 2 * count });
    },
  });
}

Deno.test({
  name: "of a larger buffer a thread gets the piece, and the rest stays",
  permissions: PERMISSIONS,
  async fn(): Promise<void> {
    const buffer = new Uint8Array([1, 2, 3, 4, 5]);
    const made = await all(
      apart(add, of(buffer.subarray(1, 3), buffer.subarray(3)), { number: 0 }),
    );
    assertEquals(made.pieces, [[2, 3], [4, 5]]);
    assertEquals([...buffer], [1, 2, 3, 4, 5]);
  },
});

/** Fails at the second piece. */
async function* refuse(pieces: AsyncIterable<Piece>, why: string): AsyncGenerator<Piece, null> {
  let count = 0;
  for await (const piece of pieces) {
    if (++count === 2) throw new Error(why);
    yield piece;
  }
  return null;
}

Deno.test({
  name: "a thread that fails says why",
  permissions: PERMISSIONS,
  async fn(): Promise<void> {
    const failing = apart(refuse, endless({ count: 0 }), 'it is "full"');
    const error = await assertRejects(() => all(failing), Error);
    assert(error.message.includes('it is "full"'), error.message);
  },
});

/** Fails with what cannot be told to another thread. */
async function* confuse(pieces: AsyncIterable<Piece>, _: null): AsyncGenerator<Piece, null> {
  yield* pieces;
  throw () => "a function";
}

Deno.test({
  name: "a thread that cannot even say why has failed all the same",
  permissions: PERMISSIONS,
  async fn(): Promise<void> {
    // Deno writes that to stderr too.
    const error = await assertRejects(
      () => all(apart(confuse, of(new Uint8Array(1)), null)),
      Error,
    );
    assert(error.message.includes("could not be cloned"), error.message);
  },
});

Deno.test({
  name: "who reads what a thread gets and fails is heard",
  permissions: PERMISSIONS,
  async fn(): Promise<void> {
    const cause = new TypeError("the disk is broken");
    const failing = async function* (): AsyncGenerator<Piece> {
      yield new Uint8Array([1]);
      await Promise.resolve();
      throw cause;
    };
    assertEquals(await assertRejects(() => all(apart(add, failing(), { number: 0 }))), cause);
  },
});

Deno.test({
  name: "a thread is given no more than what is on its way, and ends with who wants no more",
  permissions: PERMISSIONS,
  async fn(): Promise<void> {
    const asked = { count: 0 };
    const made = apart(add, endless(asked), { number: 0 });
    assertEquals((await made.next()).value, new Uint8Array([1]));
    await new Promise((resolve) => setTimeout(resolve, 200));
    // Two windows, one each way, what the thread works on, and what was taken.
    assert(asked.count <= 2 * 32 + 3, `${asked.count} pieces were asked for`);
    assert(asked.count >= 32, `${asked.count} pieces were asked for`);
    await made.return({ bytes: 0 });
    const { count } = asked;
    await new Promise((resolve) => setTimeout(resolve, 50));
    assertEquals(asked.count, count);
  },
});
