import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Writeback } from "../../lib/layer/writeback.ts";

const WORTH = 1 << 26;

/** Something that is sent, and ends when it is told to. */
function sender(): {
  readonly send: () => Promise<void>;
  readonly ends: PromiseWithResolvers<void>[];
} {
  const ends: PromiseWithResolvers<void>[] = [];
  const send = () => {
    const end = Promise.withResolvers<void>();
    ends.push(end);
    return end.promise;
  };
  return { send, ends };
}

Deno.test("what was written is sent when it is worth it, once at a time", async () => {
  const { send, ends } = sender();
  await using writeback = new Writeback(send);
  writeback.wrote(WORTH - 1);
  assertEquals(ends.length, 0);
  writeback.wrote(1);
  assertEquals(ends.length, 1);
  for (let more = 0; more < 3; more++) writeback.wrote(WORTH);
  assertEquals(ends.length, 1);
  ends[0]?.resolve();
  await new Promise((resolve) => setTimeout(resolve, 0));
  writeback.wrote(1);
  assertEquals(ends.length, 2);
  ends[1]?.resolve();
  await writeback.end();
});

Deno.test("the end is waited for, and tells of each failure", async () => {
  const { send, ends } = sender();
  await using writeback = new Writeback(send);
  writeback.wrote(WORTH);
  let ended = false;
  const end = writeback.end().finally(() => ended = true);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals(ended, false);
  ends[0]?.reject(new Error("the disk is broken"));
  await assertRejects(() => end, Error, "the disk is broken");
  // Who goes on hears of it too, and nothing more is sent.
  assertThrows(() => writeback.wrote(WORTH), Error, "the disk is broken");
  assertEquals(ends.length, 1);
});

Deno.test("who has failed meanwhile waits for what is being sent, and does not hear of it", async () => {
  const { send, ends } = sender();
  const cause = new Error("the archive is damaged");
  let ended = false;
  const work = async () => {
    await using writeback = new Writeback(send);
    writeback.wrote(WORTH);
    setTimeout(() => {
      ended = true;
      ends[0]?.reject(new Error("the disk is broken"));
    }, 20);
    throw cause;
  };
  assertEquals(await assertRejects(work), cause);
  assertEquals(ended, true);
});
