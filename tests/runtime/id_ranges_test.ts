import { assertEquals } from "@std/assert";
import { findFreeRange, findRange, findUserName } from "../../lib/runtime/id_ranges.ts";

Deno.test(
  "findRange() takes the first range of a user, by name or by id",
  { permissions: "none" },
  () => {
    const table: readonly [text: string, must: number | null][] = [
      ["", null],
      ["me:100000:65536\n", 100_000],
      ["other:1:2\nme:300000:10\nme:400000:10", 300_000],
      ["1000:500000:65536", 500_000],
      ["me2:1:2\nme:x:5\nme:1\n# me:1:2", null],
      ["me:100000:0", null],
    ];
    for (const [text, must] of table) {
      assertEquals(findRange(text, ["me", "1000"])?.start ?? null, must, text);
    }
  },
);

Deno.test("findFreeRange() names a range that nobody has", { permissions: "none" }, () => {
  assertEquals(findFreeRange([]), { start: 100_000, count: 65_536 });
  const texts = ["a:100000:65536\n", "b:1:5\na:165536:65536\nbad"];
  assertEquals(findFreeRange(texts).start, 231_072);
});

Deno.test("findUserName() looks the id up", { permissions: "none" }, () => {
  const passwd = "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/:/bin/sh\n";
  assertEquals([findUserName(passwd, 1000), findUserName(passwd, 100)], ["me", null]);
});
