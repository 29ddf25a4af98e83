import { assertEquals } from "@std/assert";
import { Journal } from "../../lib/apply/journal.ts";

Deno.test("Journal.rollBack() undoes the last thing first, waits for each, and leaves nothing", {
  permissions: "none",
}, async () => {
  const journal = new Journal();
  const undone: string[] = [];
  journal.add(() => "first", () => void undone.push("first"));
  journal.add(() => "second", async () => {
    await Promise.resolve();
    undone.push("second");
  });
  journal.addBarrier(() => "third", () => void undone.push("third"));
  assertEquals(await journal.rollBack(), []);
  assertEquals(undone, ["third", "second", "first"]);
  assertEquals(await journal.rollBack(), []);
  assertEquals(undone.length, 3);
});

Deno.test("Journal.rollBack() goes on past what cannot be undone, and says what", {
  permissions: "none",
}, async () => {
  const journal = new Journal();
  const undone: string[] = [];
  journal.add(() => 'remove "/a"', () => void undone.push("a"));
  journal.add(() => 'remove "/b"', () => {
    throw new Error("Permission denied (os error 13): remove '/b'");
  });
  journal.add(() => 'remove "/c"', () => Promise.reject("not an error"));
  journal.add(() => 'remove "/d"', () => void undone.push("d"));
  assertEquals(await journal.rollBack(), [
    'could not remove "/c": not an error',
    'could not remove "/b": Permission denied',
  ]);
  assertEquals(undone, ["d", "a"]);
});

Deno.test(
  "Journal.rollBack() stops at a barrier that cannot be undone, since the rest lies below it",
  {
    permissions: "none",
  },
  async () => {
    const journal = new Journal();
    const undone: string[] = [];
    journal.add(() => 'remove "/a"', () => void undone.push("a"));
    journal.addBarrier(() => 'unmount "/a"', () => Promise.reject(new Error("target is busy")));
    journal.add(() => 'remove "/b"', () => void undone.push("b"));
    assertEquals(await journal.rollBack(), ['could not unmount "/a": target is busy']);
    assertEquals(undone, ["b"]);
  },
);
