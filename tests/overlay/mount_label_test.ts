import { assertEquals, assertThrows } from "@std/assert";
import { InvalidValueError } from "../../lib/core/errors.ts";
import { formatMountLabel, sameLabel } from "../../lib/overlay/mount_label.ts";
import { hasSelinux } from "../../lib/system/selinux.ts";
import type { Mount } from "../../lib/system/mount_table.ts";

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

const T = "system_u:object_r:container_file_t";

/** A label, and how a kernel shows it; measured on Linux 6.1. */
const SAME: readonly (readonly [asked: string | null, shown: string | null])[] = [
  [null, null],
  ["u:r:t", "u:r:t"],
  [`${T}:s0`, `${T}:s0`],
  [`${T}:s0-s0`, `${T}:s0`],
  [`${T}:s0:c2,c1`, `${T}:s0:c1,c2`],
  [`${T}:s0:c1,c1`, `${T}:s0:c1`],
  [`${T}:s0:c1,c2,c3,c5`, `${T}:s0:c1.c3,c5`],
  [`${T}:s0:c5,c3.c4,c1`, `${T}:s0:c1,c3.c5`],
  [`${T}:s0:c1.c5,c2.c3`, `${T}:s0:c1.c5`],
  [`${T}:s0:c0.c1023`, `${T}:s0:c0.c511,c512.c1023`],
  [`${T}:s0-s0:c2,c1`, `${T}:s0-s0:c1,c2`],
  // A second name of the type, of the sensitivity, and of all categories.
  ["system_u:object_r:svirt_sandbox_file_t:s0:c1,c2", `${T}:s0:c1,c2`],
  [`${T}:SystemLow`, `${T}:s0`],
  [`${T}:s0-SystemHigh`, `${T}:s0-s0:c0.c1023`],
];

const DIFFERENT: readonly (readonly [asked: string | null, shown: string | null])[] = [
  [null, `${T}:s0`],
  [`${T}:s0`, null],
  [`${T}:s0:c1,c2`, `${T}:s0`],
  [`${T}:s0`, `${T}:s0:c1,c2`],
  [`${T}:s0:c1,c2`, `${T}:s0:c1,c3`],
  [`${T}:s0:c1,c2`, `${T}:s0:c1.c3`],
  [`${T}:s0:c1,c3`, `${T}:s0:c1.c3`],
  [`${T}:s0:c1`, `${T}:s0:c11`],
  [`${T}:s0:c1`, `${T}:s1:c1`],
  [`${T}:s0-s0:c1`, `${T}:s0:c1`],
  ["u:r:t:s0", "v:r:t:s0"],
  ["u:r:t:s0", "u:q:t:s0"],
  ["u:r:t", "u:r:t:s0"],
];

Deno.test("sameLabel() takes a label as the kernel spells it, and no other one", {
  permissions: "none",
}, () => {
  const of = (rows: typeof SAME, same: boolean) => {
    for (const [a, b] of rows) assertEquals(sameLabel(a, b), same, `${a} and ${b}`);
    for (const [a, b] of rows) assertEquals(sameLabel(b, a), same, `${b} and ${a}`);
  };
  of(SAME, true);
  of(DIFFERENT, false);
});

Deno.test("hasSelinux() wants a selinuxfs on top that can be written, as libselinux does", {
  permissions: "none",
}, () => {
  const at = (target: string, mount: Partial<Mount> = {}): Mount => {
    return {
      id: 1,
      parent: 0,
      target,
      fstype: "selinuxfs",
      options: "rw",
      flags: [],
      ...mount,
    };
  };
  const [own, there] = ["/sys/fs/selinux", "/proc"];
  const table: readonly (readonly [table: readonly Mount[], enabled: boolean])[] = [
    [[], false],
    [[at(there, { fstype: "proc" })], false],
    [[at(there, { fstype: "proc" }), at(own)], true],
    [[at(own, { options: "ro", flags: ["ro"] })], false],
    // Of the whole file system, as in a container that has its own; of this mount alone.
    [[at(own, { options: "ro" })], false],
    [[at(own, { flags: ["ro"] })], false],
    [[at(own), at(own, { flags: ["ro"] })], false],
    [[at(own, { flags: ["ro"] }), at(own)], true],
    [[at(own), at(own, { fstype: "tmpfs" })], false],
  ];
  for (const [mounts, enabled] of table) assertEquals(hasSelinux(mounts), enabled);
});
