import { assertEquals } from "@std/assert";
import { mountTable } from "../../lib/system/mount_table.ts";
import { parseMountOptions } from "../../lib/overlay/mount_config.ts";
import { sh, tempDir } from "../_temp.ts";
import { makeTree, MARKS } from "../_tree.ts";

Deno.test("mountTable() names mount points as they are, in the order of mounting", async () => {
  await using dir = await tempDir();
  const names = ["z", "a b", "c\td\ne", "\\f", 'g"h', "#i", "ä", "-j", "k,l:m=n", "\u001b[2J"];
  const paths = names.map((name) => dir.join(name));
  for (const path of paths) {
    await Deno.mkdir(path);
    await sh("mount", "-t", "tmpfs", "tmpfs", "--", path);
  }
  const table = (await mountTable({})).filter(({ target }) => target.startsWith(dir.path));
  assertEquals(table.map(({ target }) => target), paths);
  assertEquals(new Set(table.map(({ fstype }) => fstype)), new Set(["tmpfs"]));
});

Deno.test("mountTable() lists each of several mounts on one mount point", async () => {
  await using dir = await tempDir();
  await sh("mount", "-t", "tmpfs", "one", "--", dir.path);
  await sh("mount", "-t", "ramfs", "two", "--", dir.path);
  const table = (await mountTable({})).filter(({ target }) => target === dir.path);
  assertEquals(table.map(({ fstype }) => fstype), ["tmpfs", "ramfs"]);
  await sh("umount", "--", dir.path);
});

Deno.test("mountTable() shows the paths of an overlay as they were given", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("a b,c"));
  for (const name of ["upper", "work", "root"]) await Deno.mkdir(dir.join(name));
  const given = [
    `lowerdir=${lower.replace(",", "\\,")}`,
    `upperdir=${dir.join("upper")}`,
    `workdir=${dir.join("work")}`,
    ...MARKS,
  ];
  await sh("mount", "-t", "overlay", "x", "-o", given.join(","), "--", dir.join("root"));
  const table = await mountTable({}, "overlay");
  const mount = table.find(({ target }) => target === dir.join("root"));
  const { lower: shown, upper, work } = parseMountOptions(mount?.options ?? "");
  assertEquals([shown, upper, work], [[lower], dir.join("upper"), dir.join("work")]);
  assertEquals(table.every(({ fstype }) => fstype === "overlay"), true);
});

Deno.test("mountTable() is empty where no such file system is mounted", async () => {
  assertEquals(await mountTable({}, "absent-type"), []);
});

Deno.test("mountTable() tells the command line", async () => {
  const told: (readonly string[])[] = [];
  await mountTable({ trace: (argv) => void told.push(argv) }, "overlay");
  assertEquals(told.map(([program]) => program), ["/bin/findmnt"]);
});
