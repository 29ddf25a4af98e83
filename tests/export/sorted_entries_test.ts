/**
 * The order of the entries of a layer.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { SortedEntries } from "../../lib/export/sorted_entries.ts";
import { textToBytes } from "../../lib/tar/tar_entry.ts";

/** The output of find(1) for paths, each behind its type. */
function print(...entries: string[]): Uint8Array {
  const text = entries.map((one) => `${one.slice(1)}\0${one[0]}7 1.0 2 644 0 0\0`);
  return textToBytes(text.join(""));
}

Deno.test("a directory precedes what is in it, a device its siblings; names are bytes", () => {
  const sorted = ["d", "cz", "da", "ca/y", "cb", "fa/\x01", "fa/b", "da\x01", "fa-", "fa\xe4"];
  const found = [...new SortedEntries(print(...sorted.toReversed()))];
  assertEquals(found.map(({ type, path }) => type + path), [
    ...["d", "cb", "cz", "da", "ca/y", "fa/\x01", "fa/b", "da\x01", "fa-", "fa\xe4"],
  ]);
  assertEquals(found[3], { path: "a", type: "d", size: 7 });
});

Deno.test("devices of a directory are in the order of their bytes, too", () => {
  const entries = new SortedEntries(print("d", "dd", "cd/b", "cd/a", "fd/0", "cd/ab", "dd/d"));
  const paths = [...entries].map(({ path }) => path);
  assertEquals(paths, ["", "d", "d/a", "d/ab", "d/b", "d/0", "d/d"]);
  assertEquals(entries.count, paths.length);
});
