import { assertEquals } from "@std/assert";
import { editDistance, findClosest } from "../../lib/core/closest.ts";

Deno.test("editDistance() counts what is put in, taken out, replaced and swapped", {
  permissions: "none",
}, () => {
  const table: readonly [from: string, to: string, distance: number][] = [
    ["", "", 0],
    ["", "abc", 3],
    ["render", "render", 0],
    ["rendr", "render", 1],
    ["statsu", "status", 1],
    ["xender", "render", 1],
    ["renderr", "render", 1],
    ["kitten", "sitting", 3],
  ];
  for (const [from, to, distance] of table) {
    assertEquals(editDistance(from, to), distance, `${from} ${to}`);
    assertEquals(editDistance(to, from), distance, `${to} ${from}`);
  }
});

Deno.test("findClosest() finds one word that is near, and none where two are as near", {
  permissions: "none",
}, () => {
  const words = ["render", "restore", "reset", "gc", "keep", "unkeep", "unmount"];
  const table: readonly [given: string, word: string | undefined][] = [
    ["rendr", "render"],
    ["unmout", "unmount"],
    ["unm", "unmount"],
    ["re", undefined],
    ["x", undefined],
    ["keeep", "keep"],
    ["nothing", undefined],
    ["", undefined],
  ];
  for (const [given, word] of table) assertEquals(findClosest(given, words), word, given);
});
