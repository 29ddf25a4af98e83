import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { exists } from "@std/fs/exists";
import { runInWorker, WorkerError } from "../../lib/image/worker.ts";
import type { Piece, Pieces, Work } from "../../lib/image/worker.ts";
import { tempDir } from "../_temp.ts";

const PERMISSIONS = "none";

/** What the work of these tests is told. */
interface How {
  readonly count: number;
  readonly more: number;
}

/** Numbered pieces, all of them in the same memory. */
function* numbered({ count }: How): Generator<Piece> {
  const buffer = new Uint8Array(4);
  for (let at = 0; at < count; at++) {
    buffer.set([at % 200, 1], 1);
    yield buffer.subarray(1, 3);
  }
}

/** Gives each byte more by a number, in a piece that is part of its buffer, and counts them all. */
async function* add(pieces: Pieces, { more }: How): AsyncGenerator<Piece, { bytes: number }> {
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    const larger = new Uint8Array(piece.length + 2);
    larger.set(piece.map((byte) => byte + more), 1);
    yield larger.subarray(1, piece.length + 1);
  }
  return { bytes };
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
    name: `a thread makes ${count} pieces, which come in their order`,
    permissions: PERMISSIONS,
    async fn(): Promise<void> {
      const how = { count, more: 3 };
      let read = 0;
      const onRead = (bytes: number) => {
        assert(bytes > 0);
        read += bytes;
      };
      const made = runInWorker({ source: numbered, transform: add, how }, { onRead });
      const { pieces, word } = await all(made);
      assertEquals(pieces, Array.from({ length: count }, (_, at) => [at % 200 + 3, 4]));
      assertEquals(word, { bytes: 2 * count });
      assertEquals(read, 2 * count);
    },
  });
}

/** Pieces that are all of their buffer, and such that are not. */
async function* ofBuffers(pieces: Pieces): AsyncGenerator<Piece, null> {
  const buffer = new Uint8Array([1, 2, 3, 4, 5]);
  for await (const _ of pieces);
  yield buffer.subarray(1, 3);
  yield buffer.subarray(3);
  yield buffer;
  return null;
}

Deno.test({
  name: "of a larger buffer a piece comes, and the rest stays in the thread",
  permissions: PERMISSIONS,
  async fn(): Promise<void> {
    const work = { source: numbered, transform: ofBuffers, how: { count: 1, more: 0 } };
    assertEquals((await all(runInWorker(work))).pieces, [[2, 3], [4, 5], [1, 2, 3, 4, 5]]);
  },
});

Deno.test({
  name: "a piece is gone when the next is asked for",
  permissions: PERMISSIONS,
  async fn(): Promise<void> {
    const made = runInWorker({ source: numbered, transform: add, how: { count: 2, more: 0 } });
    const { value } = await made.next();
    assertInstanceOf(value, Uint8Array);
    assertEquals([...value], [0, 1]);
    await made.next();
    assertEquals(value.length, 0);
    await made.return({ bytes: 0 });
  },
});

/** Fails at the second piece. */
async function* refuse(pieces: Pieces): AsyncGenerator<Piece, null> {
  let count = 0;
  for await (const piece of pieces) {
    if (++count === 2) throw new Error('it is "full"');
    yield piece;
  }
  return null;
}

/** Fails with what cannot be told to another thread. */
async function* confuse(pieces: Pieces): AsyncGenerator<Piece, null> {
  yield* pieces;
  throw () => "a function";
}

/** A source that fails after its first piece. */
function* broken(): Generator<Piece> {
  yield new Uint8Array(1);
  throw new TypeError("the disk is broken");
}

const HOW: How = { count: 100, more: 0 };
const FAILING: Readonly<Record<string, readonly [Work<How, unknown>, string, boolean]>> = {
  "that fails says why": [
    { source: numbered, transform: refuse, how: HOW },
    'it is "full"',
    false,
  ],
  // Deno writes that to stderr too.
  "that cannot even say why has failed all the same": [
    { source: numbered, transform: confuse, how: { count: 30, more: 0 } },
    "could not be cloned",
    false,
  ],
  "whose source fails says why": [
    { source: broken, transform: add, how: HOW },
    "the disk is broken",
    true,
  ],
};

for (const [what, [work, reason, isOfSource]] of Object.entries(FAILING)) {
  for (const busy of [0, 200]) {
    Deno.test({
      name: `a thread ${what}, to somebody who is busy for ${busy} ms`,
      permissions: PERMISSIONS,
      async fn(): Promise<void> {
        const made = runInWorker(work);
        const act = async () => {
          await made.next();
          // What the thread says meanwhile arrives all at once, and not in its order.
          for (const until = performance.now() + busy; performance.now() < until;);
          await all(made);
        };
        const error = await assertRejects(act, WorkerError);
        assertInstanceOf(error.cause, Error);
        assert(error.cause.message.includes(reason), error.cause.message);
        assertEquals(error.isOfSource, isOfSource);
      },
    });
  }
}

Deno.test({
  name: "who is told how much was read, and fails, is heard",
  permissions: PERMISSIONS,
  async fn(): Promise<void> {
    const cause = new TypeError("nobody wants to know");
    const onRead = () => {
      throw cause;
    };
    const made = runInWorker({ source: numbered, transform: add, how: HOW }, { onRead });
    assertEquals(await assertRejects(() => all(made)), cause);
  },
});

/** Writes a character for each piece that is asked for, and gives nothing but zeros. */
function* noted({ path }: { readonly path: string }): Generator<Piece> {
  for (;;) {
    Deno.writeTextFileSync(path, "x", { append: true });
    yield new Uint8Array(1);
  }
}

/** Gives pieces back as they are. */
async function* same(pieces: Pieces): AsyncGenerator<Piece, null> {
  for await (const piece of pieces) yield piece.slice();
  return null;
}

/** Takes pieces, and gives those that are not zero. */
async function* notable(pieces: Pieces): AsyncGenerator<Piece, null> {
  for await (const piece of pieces) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (piece[0] !== 0) yield piece;
  }
  return null;
}

/** How many pieces were asked for, when there are so many and no more come. */
async function askedFor(path: string, least: number): Promise<number> {
  for (let last = -1;;) {
    const asked = await Deno.readTextFile(path).catch(() => "");
    if (asked.length >= least && asked.length === last) return last;
    last = asked.length;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

Deno.test("a thread makes no more than what is on its way, and goes on when that was taken", async () => {
  await using dir = await tempDir();
  const path = dir.join("asked");
  const made = runInWorker({ source: noted, transform: same, how: { path } });
  await made.next();
  // A window, and what the thread works on.
  assertEquals(await askedFor(path, 33), 33);
  for (let taken = 0; taken < 8; taken++) await made.next();
  assertEquals(await askedFor(path, 41), 41);
  await made.return(null);
});

Deno.test("a thread ends with who wants no more, even when it would never give anything", async () => {
  await using dir = await tempDir();
  const path = dir.join("asked");
  const ended = new AbortController();
  const how = { source: noted, transform: notable, how: { path } };
  const made = runInWorker(how, { signal: ended.signal });
  const reason = new Error("enough");
  const reading = assertRejects(() => made.next());
  while (!await exists(path)) await new Promise((resolve) => setTimeout(resolve, 10));
  ended.abort(reason);
  assertEquals(await reading, reason);
  // No more come.
  await askedFor(path, 1);
  assertEquals(
    await assertRejects(() => runInWorker(how, { signal: ended.signal }).next()),
    reason,
  );
});

Deno.test("threads are started with the same text, whatever they are told", async () => {
  const texts: string[] = [];
  const { Worker } = globalThis;
  globalThis.Worker = class extends Worker {
    constructor(text: string | URL, options?: WorkerOptions) {
      super(text, options);
      texts.push(String(text));
    }
  };
  try {
    for (const how of [HOW, { count: 3, more: 1 }]) {
      await all(runInWorker({ source: numbered, transform: add, how }));
    }
  } finally {
    globalThis.Worker = Worker;
  }
  assertEquals(texts.length, 2);
  assertEquals(texts[0], texts[1]);
});
