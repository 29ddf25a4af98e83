import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import { probeMount, withScratch } from "../../lib/api/probe.ts";
import { hasLoopDevices, mountOverlay, mountRamfs, mountWithoutTypes } from "../_disks.ts";
import { counter } from "../_pods.ts";
import { isRealRoot } from "../_privilege.ts";
import { mountsBelow, snapshot, tempDir } from "../_temp.ts";
import { isMissing, MARKS, namesIn } from "../_tree.ts";

/** Tries a mount, and checks that nothing of it is left. */
async function probe(directory: string, options: readonly string[]): Promise<string | null> {
  const [names, mounts] = [await namesIn(directory), await mountsBelow(directory)];
  const reason = await probeMount(directory, options, {});
  assertEquals([await namesIn(directory), await mountsBelow(directory)], [names, mounts]);
  return reason;
}

Deno.test("probeMount() finds nothing in the way where an overlay works, and leaves nothing", async () => {
  await using dir = await tempDir();
  assertEquals(await probe(dir.path, MARKS), null);
  assertEquals(await probe(dir.path, [...MARKS, "volatile"]), null);
});

Deno.test("probeMount() finds nothing in the way in a directory with an odd name", async () => {
  await using dir = await tempDir();
  for (const name of ["a,b", "c:d", "e\\f", 'g"h', "i j", "-k"]) {
    await Deno.mkdir(dir.join(name));
    assertEquals(await probe(dir.join(name), MARKS), null, name);
  }
});

/** Options that the kernel refuses everywhere. */
const REFUSED: readonly (readonly string[])[] = [
  ["userxattr", "metacopy=on"],
  ["metacopy=on", "redirect_dir=nofollow"],
  ["no_such_option"],
];

for (const options of REFUSED) {
  Deno.test(`probeMount() says why ${options.join(" and ")} cannot be mounted`, async () => {
    await using dir = await tempDir();
    const reason = await probe(dir.path, options);
    // In one line, without mount(8)'s name and the mount point, which is gone.
    assertMatch(reason ?? "", /^wrong fs type, bad option, [^\n]*$/);
  });
}

Deno.test("probeMount() says why a directory on an overlay holds no upper", async () => {
  await using dir = await tempDir();
  const root = await mountOverlay(dir);
  const reason = await probe(root, MARKS);
  assertMatch(reason ?? "", /^[a-z][^\n]*$/);
  assertEquals(reason?.includes(dir.path), false, `${reason}`);
});

Deno.test({
  name: "probeMount() finds out by itself that marks are missing in a user namespace" +
    (isRealRoot ? " [skipped: needs to be in one]" : ""),
  ignore: isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    assertStringIncludes(await probe(dir.path, []) ?? "", "opaque");
  },
});

Deno.test({
  name: "probeMount() finds out by itself that a file system keeps no attributes" +
    (isRealRoot ? "" : " [skipped: needs root]"),
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const place = await mountRamfs(dir.join("ram"));
    assertStringIncludes(await probe(place, []) ?? "", "opaque");
  },
});

const loops = isRealRoot && await hasLoopDevices();

Deno.test({
  name: "probeMount() finds out by itself that directories keep no types of files" +
    (loops ? "" : " [skipped: needs root, mkfs.ext4 and a loop device]"),
  ignore: !loops,
  fn: async () => {
    await using dir = await tempDir();
    const place = await mountWithoutTypes(dir.join("typeless"));
    assertStringIncludes(await probe(place, []) ?? "", "d_type");
  },
});

Deno.test("probeMount() fails where nothing can be made, in words", async () => {
  await using dir = await tempDir();
  const before = await snapshot(dir.path);
  const error = await assertRejects(() => probeMount(dir.join("none"), [], {}), OverlayError);
  assertMatch(error.message, /^Cannot make directory in ".*\/none": No such file or directory$/);
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("probeMount() runs mount and umount alone, once each", async () => {
  await using dir = await tempDir();
  const { trace, count, lines } = counter();
  await probeMount(dir.path, MARKS, { trace: (argv) => trace(`run ${argv.join(" ")}`) });
  assertEquals([count("mount"), count("umount"), lines.length], [1, 1, 2]);
});

Deno.test("withScratch() gives a directory that is gone afterwards, whatever happens", async () => {
  await using dir = await tempDir();
  const seen: string[] = [];
  const fill = async (directory: string): Promise<number> => {
    seen.push(directory);
    await Deno.writeTextFile(`${directory}/file`, "");
    return 1;
  };
  assertEquals(await withScratch(dir.path, fill), 1);
  const failing = async (directory: string): Promise<never> => {
    await fill(directory);
    throw new Error("on purpose");
  };
  await assertRejects(() => withScratch(dir.path, failing), Error, "on purpose");
  assertEquals(seen.map((path) => path.startsWith(`${dir.path}/`)), [true, true]);
  for (const path of seen) assertEquals(await isMissing(path), true);
});
