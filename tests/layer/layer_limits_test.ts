import { assertEquals, assertThrows } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import { LayerLimits } from "../../lib/layer/layer_limits.ts";

const NONE: ReadonlyMap<string, string> = new Map();

function assertTooLarge(act: () => void, says: string, hint: RegExp): void {
  const error = assertThrows(act, OverlayError, `Cannot unpack layer: it has more than ${says}`);
  assertEquals([error.code, hint.test(error.hint ?? "")], ["too-large", true]);
}

Deno.test("LayerLimits lets through what is allowed, to the last byte and entry", {
  permissions: "none",
}, () => {
  const limits = new LayerLimits({ maxBytes: 10, maxEntries: 3 });
  limits.take(4);
  limits.make();
  limits.take(6);
  assertEquals([limits.entries, limits.bytes], [2, 10]);
  assertTooLarge(() => limits.make(), "3 entries", /--max-entries/);
});

Deno.test("LayerLimits counts entries, and directories that have none", {
  permissions: "none",
}, () => {
  const limits = new LayerLimits({ maxBytes: 10, maxEntries: 2 });
  limits.make();
  limits.make();
  assertTooLarge(() => limits.take(0), "2 entries", /--max-entries/);
});

Deno.test("LayerLimits counts bytes before they come", { permissions: "none" }, () => {
  const limits = new LayerLimits({ maxBytes: 10, maxEntries: 3 });
  limits.take(10);
  assertTooLarge(() => limits.take(1), "10 bytes", /--max-size/);
});

Deno.test("LayerLimits counts what is read and is no content", { permissions: "none" }, () => {
  const limits = new LayerLimits({ maxBytes: 1e9, maxEntries: 10 });
  limits.take(1e8);
  limits.read(1e8 + 10 * 4096 + (4 << 20));
  assertTooLarge(() => limits.read(1), "4235264 bytes beside the contents", /--max-entries/);
});

Deno.test("LayerLimits counts what is kept in the memory", { permissions: "none" }, () => {
  const limits = new LayerLimits({ maxBytes: 1, maxEntries: 1 });
  const megabyte = "a".repeat(1 << 20);
  for (let at = 0; at < 128; at++) limits.keep(megabyte, NONE);
  const attributes = new Map([["a", megabyte.slice(1)]]);
  for (let at = 0; at < 128; at++) limits.keep("", attributes);
  assertTooLarge(() => limits.keep("a", NONE), "268435456 bytes of names", /with less in it/);
});
