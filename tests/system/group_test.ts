import { assertEquals, assertThrows } from "@std/assert";
import { OverlayError } from "../../mod.ts";
import { groupId } from "../../lib/system/group.ts";

Deno.test("groupId() finds every group of /etc/group", async () => {
  const text = await Deno.readTextFile("/etc/group");
  const rows = text.split("\n").map((line) => line.split(":")).filter((row) => row.length === 4);
  assertEquals(groupId("root"), 0);
  for (const [name = "", , gid] of rows) assertEquals(groupId(name), Number(gid));
});

Deno.test("groupId() takes a name as a whole", () => {
  for (const name of ["", "roo", "root:x", "ROOT", "root\n", "no-such-group"]) {
    const error = assertThrows(() => groupId(name), OverlayError);
    assertEquals(error.code, "missing");
    assertEquals(error.message.includes("/etc/group has none"), true);
  }
});

Deno.test("groupId() needs to read /etc/group", { permissions: "none" }, () => {
  assertThrows(() => groupId("root"), Deno.errors.NotCapable, "/etc/group");
});
