import { assertEquals } from "@std/assert";
import { gzipSync } from "node:zlib";
import { detectCompression } from "../../lib/image/compression.ts";
import { archive, bytes, file } from "../_archive.ts";

Deno.test("detectCompression() goes by the first bytes", { permissions: "none" }, () => {
  const table: readonly [start: Uint8Array, compression: string][] = [
    [gzipSync("x"), "gzip"],
    [bytes("\x1f\x8b"), "gzip"],
    [bytes("\xfd7zXZ\0\0"), "xz"],
    [bytes("\x28\xb5\x2f\xfd\0"), "zstd"],
    [archive(file("x")), "none"],
    [bytes(""), "none"],
    [bytes("\x1f"), "none"],
    [bytes("\xfd7zX"), "none"],
    [bytes("BZh9"), "none"],
    [bytes("\0\x1f\x8b"), "none"],
  ];
  for (const [start, compression] of table) assertEquals(detectCompression(start), compression);
});
