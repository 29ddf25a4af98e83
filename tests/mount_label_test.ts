import { assertEquals, assertThrows } from "@std/assert";
import { InvalidValueError } from "../lib/errors.ts";
import { formatMountLabel } from "../lib/mount_label.ts";

Deno.test("formatMountLabel() adds the label as the label library of the seeds does", {
  permissions: "none",
}, () => {
  const table: readonly [options: string, label: string | null, text: string][] = [
    ["", null, ""],
    ["", "", ""],
    ["ro", null, "ro"],
    ["ro", "", "ro"],
    ["", "u:r:t", 'context="u:r:t"'],
    ["a=b,ro", "u:r:t:s0:c1,c2", 'a=b,ro,context="u:r:t:s0:c1,c2"'],
  ];
  for (const [options, label, text] of table) assertEquals(formatMountLabel(options, label), text);
});

Deno.test("formatMountLabel() refuses a label that would end its own quotes", {
  permissions: "none",
}, () => {
  const label = 'u:r:t",upperdir="/etc';
  assertThrows(() => formatMountLabel("ro", label), InvalidValueError, "Cannot use label");
});
