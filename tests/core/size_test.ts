import { assertEquals } from "@std/assert";
import { formatSize, parseSize } from "../../lib/core/size.ts";
import { assertInvalid } from "../_invalid.ts";

Deno.test("parseSize() reads bytes, and powers of 1024", { permissions: "none" }, () => {
  const table: readonly [value: string, bytes: number][] = [
    ["1", 1],
    ["007", 7],
    ["1K", 1024],
    ["500M", 524_288_000],
    ["64G", 68_719_476_736],
    ["8191T", 9_006_099_743_113_216],
    ["999999999999999", 999_999_999_999_999],
  ];
  for (const [value, bytes] of table) assertEquals([value, parseSize("x", value)], [value, bytes]);
});

Deno.test("parseSize() refuses anything else", { permissions: "none" }, () => {
  for (
    const value of [
      ..."0,0K,-1,+1,1k,1KB,1KiB,1.5G,1e3,K,0x1,8192T,9999999999999999,١".split(","),
      "",
      " 1",
      "1 K",
      "1\n",
    ]
  ) {
    assertInvalid(() => parseSize("maximal size", value), value, "it must be such as 500M or 64G");
  }
});

Deno.test("formatSize() has at most three digits and a unit", { permissions: "none" }, () => {
  const table: readonly [bytes: number, text: string][] = [
    [0, "0 bytes"],
    [999, "999 bytes"],
    [1000, "0.98 KiB"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [10_240, "10 KiB"],
    [99 * 1024, "99 KiB"],
    [999 * 1024, "999 KiB"],
    [1000 * 1024, "0.98 MiB"],
    [178_257_920, "170 MiB"],
    [4 * 2 ** 30, "4 GiB"],
    [3 * 2 ** 40, "3 TiB"],
    [5000 * 2 ** 40, "5000 TiB"],
  ];
  for (const [bytes, text] of table) assertEquals(formatSize(bytes), text);
});
