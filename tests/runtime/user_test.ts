import { assertEquals, assertRejects } from "@std/assert";
import { InvalidValueError, OverlayError } from "../../lib/core/errors.ts";
import { findUser } from "../../lib/runtime/user.ts";
import { GROUP, PASSWD } from "../_rootfs.ts";
import { sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

async function withUsers(passwd = PASSWD, group = GROUP): Promise<TempDir> {
  const dir = await tempDir();
  await Deno.mkdir(dir.join("etc"));
  await Deno.writeTextFile(dir.join("etc/passwd"), passwd);
  await Deno.writeTextFile(dir.join("etc/group"), group);
  return dir;
}

Deno.test("findUser() finds users and groups by name and by number", async () => {
  await using dir = await withUsers();
  const table: readonly (readonly [user: string, found: object])[] = [
    ["", { uid: 0, gid: 0, groups: [], home: "/root" }],
    ["0", { uid: 0, gid: 0, groups: [], home: "/root" }],
    ["www", { uid: 33, gid: 34, groups: [44], home: "/var/www" }],
    ["33", { uid: 33, gid: 34, groups: [44], home: "/var/www" }],
    ["www:root", { uid: 33, gid: 0, groups: [], home: "/var/www" }],
    ["www:7", { uid: 33, gid: 7, groups: [], home: "/var/www" }],
    ["7", { uid: 7, gid: 0, groups: [], home: "/" }],
    ["7:extra", { uid: 7, gid: 44, groups: [], home: "/" }],
    [":extra", { uid: 0, gid: 44, groups: [], home: "/root" }],
    ["4294967294", { uid: 4294967294, gid: 0, groups: [], home: "/" }],
  ];
  for (const [user, found] of table) {
    assertEquals<object>(await findUser(dir.path, user), found, user);
  }
});

Deno.test("findUser() refuses names that are not there, and numbers that are no ids", async () => {
  await using dir = await withUsers();
  for (const user of ["nobody", "www:nobody", "a:b:c", "www:", "4294967295", "-1", "1e3"]) {
    await assertRejects(() => findUser(dir.path, user), InvalidValueError, undefined, user);
  }
});

Deno.test("findUser() does not believe lines that are none", async () => {
  await using dir = await withUsers(
    "www\nwww:x\nwww:x:x:1::\nwww:x:99999999999:0::/\nok:x:5:6::relative\n",
  );
  await assertRejects(() => findUser(dir.path, "www"), InvalidValueError);
  assertEquals((await findUser(dir.path, "ok")).home, "/");
});

/** The things that a hostile image can have in the place of etc/passwd. */
const HOSTILE: readonly (readonly [name: string, make: (path: string) => Promise<unknown>])[] = [
  ["a FIFO", (path) => sh("mkfifo", path)],
  ["a directory", (path) => Deno.mkdir(path)],
  ["a gigabyte", (path) => sh("truncate", "--size=1G", path)],
  ["a device", (path) => sh("mknod", path, "c", "1", "5")],
];

for (const [name, make] of HOSTILE) {
  Deno.test({
    name: `findUser() refuses ${name} as etc/passwd`,
    ignore: Deno.uid() !== 0,
    async fn(): Promise<void> {
      await using dir = await withUsers();
      await Deno.remove(dir.join("etc/passwd"));
      await make(dir.join("etc/passwd"));
      await assertRejects(() => findUser(dir.path, "www"), OverlayError);
      // root needs no look-up.
      assertEquals((await findUser(dir.path, "root")).uid, 0);
    },
  });
}

Deno.test("findUser() reads no file of the host, whatever symlink the image has", async () => {
  await using dir = await withUsers();
  await using outside = await withUsers("spy:x:1:1::/\n");
  await Deno.remove(dir.join("etc/passwd"));
  await Deno.symlink(outside.join("etc/passwd"), dir.join("etc/passwd"));
  await assertRejects(() => findUser(dir.path, "spy"), InvalidValueError);
});
