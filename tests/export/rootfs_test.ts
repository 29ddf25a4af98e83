/**
 * The root of a mounted app as an archive and as a disk image.
 *
 * @module
 */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { exists } from "@std/fs/exists";
import { exportRootfs, OverlayError, RefusedError, unmountOverlay } from "../../mod.ts";
import { IMAGE_PROGRAMS } from "../../lib/export/disk_image.ts";
import type { ImageFormat } from "../../lib/export/disk_image.ts";
import { writeAll, writeOutput } from "../../lib/export/output_file.ts";
import { cli } from "../_cli.ts";
import { hasLoopDevices } from "../_disks.ts";
import { entriesOf } from "../_entries.ts";
import { sh, tempDir } from "../_temp.ts";
import { assertSameEntries, needs, withoutRoot } from "../_tool_images.ts";
import { listArchive, Stack } from "./_stack.ts";

const root = needs();

const BASE =
  "mkdir -p d/e; echo a >a; echo b >d/b; ln a d/a; echo gone >gone; cp /bin/true s; chmod 4755 s";
const CHANGE = `rm gone; echo n >n; mkdir .wh.d; echo w >.wh.d/w; setfattr -n user.x -v 1 d
  find . -xdev -newermt @1000000001 -exec touch -hd @1500000000 {} +`;

Deno.test({
  name: `the root of an app, unpacked by GNU tar, is that root${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, BASE);
    await stack.change(CHANGE);
    const must = withoutRoot(await stack.entries());
    const { entries } = await exportRootfs({ pod: stack.pod }, dir.join("root.tar"));
    assertEquals(entries, must.size + 1);
    const found = await listArchive(dir.join("root.tar"));
    assertEquals(found.filter((one) => one.startsWith("hardlink")), ["hardlink /d/a a"]);
    await Deno.mkdir(dir.join("unpacked"));
    const how = ["--extract", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner"];
    await sh("tar", ...how, "-p", "-f", dir.join("root.tar"), "-C", dir.join("unpacked"));
    assertSameEntries(withoutRoot(await entriesOf(dir.join("unpacked"))), must, "GNU tar");
    await unmountOverlay({ pod: stack.pod });
    const act = () => exportRootfs({ pod: stack.pod }, dir.join("root.tar"));
    await assertRejects(act, OverlayError, "it is not mounted");
  },
});

Deno.test({
  name:
    `a file that is no regular one is not replaced, and a full disk leaves nothing${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, BASE);
    await stack.change("head -c 2000000 /dev/urandom >big");
    await Deno.symlink("elsewhere", dir.join("link"));
    for (const path of [dir.join("link"), "/dev/null", dir.path]) {
      await assertRejects(
        () => exportRootfs({ pod: stack.pod }, path),
        OverlayError,
        "Cannot write",
      );
    }
    await Deno.mkdir(dir.join("small"));
    await sh("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir.join("small"));
    const file = dir.join("small", "root.tar");
    await assertRejects(
      () => exportRootfs({ pod: stack.pod }, file),
      OverlayError,
      "No space left",
    );
    assertEquals([...Deno.readDirSync(dir.join("small"))], []);
  },
});

const hasLoops = root.ignore ? false : await hasLoopDevices();

for (const format of ["erofs", "squashfs", "ext4"] as const) {
  const program = IMAGE_PROGRAMS[format as ImageFormat];
  const isThere = await exists(program) && hasLoops;
  const suffix = isThere ? "" : ` [skipped: needs ${program} and loop devices]`;
  Deno.test({
    name: `the root of an app as a disk image: ${format}${suffix}`,
    ignore: !isThere,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      const stack = await Stack.make(dir, BASE);
      await stack.change(CHANGE);
      const file = dir.join(`root.${format}`);
      const args = ["export", `--pod=${stack.pod}`, `--rootfs=${file}`];
      // The script may not run the program; the error names the flag.
      const refused = await cli(args);
      assertEquals(refused.status, 4);
      assertStringIncludes(refused.stderr, `--allow-run=${program}`);
      const flags = (await cli([...args, "--flags"])).stdout.trim().split(" ");
      const done = await cli(args, { flags });
      assertEquals([done.status, done.stderr], [0, ""]);
      await Deno.mkdir(dir.join("mounted"));
      await sh("mount", "-o", "loop,ro", file, dir.join("mounted"));
      const found = withoutRoot(await entriesOf(dir.join("mounted")));
      found.delete("/lost+found");
      assertSameEntries(found, withoutRoot(await stack.entries()), format);
    },
  });
}

Deno.test("of two commands that write one file, the file of the later one is whole", async () => {
  await using dir = await tempDir();
  const path = dir.join("file");
  const write = (text: string) => (file: Deno.FsFile) => writeAll(file, encode(text));
  const first = writeOutput(path, async (file) => {
    await write("half of one")(file);
    await writeOutput(path, write("all of the other"));
    await write("the rest")(file);
  });
  await assertRejects(() => first, OverlayError, "another command writes it");
  assertEquals(await Deno.readTextFile(path), "all of the other");
  assertEquals(await exists(`${path}.new`), false);
});

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

Deno.test({
  name: `a disk image goes into no directory in which others can swap its file${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, BASE);
    await Deno.mkdir(dir.join("shared"));
    await Deno.chmod(dir.join("shared"), 0o777);
    const act = () => exportRootfs({ pod: stack.pod }, dir.join("shared", "root.ext4"));
    await assertRejects(act, RefusedError, "everybody can write to it");
    assertEquals([...Deno.readDirSync(dir.join("shared"))], []);
  },
});
