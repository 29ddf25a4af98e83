import { assert, assertEquals } from "@std/assert";
import { findConflict } from "../../lib/overlay/conflicts.ts";
import { isRealRoot } from "../_privilege.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

Deno.test("findConflict() finds two options that exclude each other, in any order", {
  permissions: "none",
}, () => {
  const pair = ["userxattr", "metacopy=on"] as const;
  for (const options of [pair, pair.toReversed(), ["volatile", ...pair.toReversed(), "index=on"]]) {
    assertEquals(findConflict(options, true)?.options, pair);
    assertEquals(findConflict(options, false)?.options, pair);
  }
});

Deno.test("findConflict() says why, in words that go on after a colon", {
  permissions: "none",
}, () => {
  const reason = findConflict(["index=off", "nfs_export=on"], true)?.reason;
  assertEquals(reason, "a file is exported by its entry in the index");
});

Deno.test("findConflict() finds nothing in options that go together", {
  permissions: "none",
}, () => {
  const table: readonly (readonly string[])[] = [
    [],
    ["userxattr"],
    ["metacopy=on", "redirect_dir=on", "index=on", "volatile"],
    ["userxattr", "redirect_dir=nofollow", "metacopy=off"],
    ["index=on", "nfs_export=on"],
    ["userxattr", "userxattr"],
    ["metacopy=one", "xuserxattr", "userxattr=on"],
  ];
  for (const options of table) {
    for (const hasUpper of [true, false]) assertEquals(findConflict(options, hasUpper), null);
  }
});

Deno.test("findConflict() knows what holds with an upper only", { permissions: "none" }, () => {
  const table: readonly (readonly [a: string, b: string])[] = [
    ["metacopy=on", "redirect_dir=off"],
    ["metacopy=on", "redirect_dir=follow"],
    ["index=off", "nfs_export=on"],
    ["metacopy=on", "nfs_export=on"],
  ];
  for (const options of table) {
    assertEquals(findConflict(options, true)?.options, options);
    assertEquals(findConflict(options, false), null, options.join());
  }
});

Deno.test("findConflict() tells the first of several pairs", { permissions: "none" }, () => {
  const options = ["redirect_dir=nofollow", "nfs_export=on", "metacopy=on", "userxattr"];
  assertEquals(findConflict(options, true)?.options, ["userxattr", "metacopy=on"]);
});

/** Every value of the options that can be in the way of each other. */
const OPTIONS: readonly string[] = [
  ...["userxattr", "volatile"],
  ...["index", "metacopy", "nfs_export"].flatMap((name) => [`${name}=on`, `${name}=off`]),
  ...["on", "off", "follow", "nofollow"].map((value) => `redirect_dir=${value}`),
];

function nameOf(option: string): string {
  return option.split("=")[0] ?? "";
}

/** Every two of them but those that say the same thing differently: the last one counts. */
function pairs(): (readonly [string, string])[] {
  return OPTIONS.flatMap((a, at) => {
    const others = OPTIONS.slice(at + 1).filter((b) => nameOf(a) !== nameOf(b));
    return others.map((b): readonly [string, string] => [a, b]);
  });
}

/** Tells whether the kernel mounts an overlay with these options; it is unmounted again. */
async function mounts(
  dir: TempDir,
  options: readonly string[],
  hasUpper: boolean,
): Promise<boolean> {
  // An overlay leaves marks in its upper and work, by which the next one could be refused.
  const fresh = await Deno.makeTempDir({ dir: dir.path });
  for (const name of ["upper", "work"]) await Deno.mkdir(`${fresh}/${name}`);
  const lower = `lowerdir=${dir.join("a")}:${dir.join("b")}`;
  const upper = hasUpper ? [`upperdir=${fresh}/upper`, `workdir=${fresh}/work`] : ["ro"];
  const text = [lower, ...upper, ...options].join(",");
  const args = ["-t", "overlay", "-o", text, "overlay", dir.join("root")];
  const { success } = await new Deno.Command("mount", { args, stderr: "null" }).output();
  if (success) await new Deno.Command("umount", { args: ["--", dir.join("root")] }).output();
  return success;
}

for (const hasUpper of [true, false]) {
  const where = hasUpper ? "with an upper" : "without an upper";
  Deno.test({
    // In a user namespace overlayfs has only the mark userxattr, which half of the options exclude.
    name: `findConflict() says exactly what the kernel refuses ${where}` +
      (isRealRoot ? "" : " [skipped: needs root]"),
    ignore: !isRealRoot,
    fn: async () => {
      await using dir = await tempDir();
      for (const name of ["a", "b", "root"]) await Deno.mkdir(dir.join(name));
      // What this file system or kernel does not know by itself says nothing about a pair.
      for (const option of OPTIONS) {
        if (!hasUpper && option === "volatile") continue;
        assert(await mounts(dir, [option], hasUpper), option);
      }
      const wrong: string[] = [];
      for (const pair of pairs()) {
        if (!hasUpper && pair.includes("volatile")) continue;
        const taken = await mounts(dir, pair, hasUpper);
        const expected = findConflict(pair, hasUpper) === null;
        if (taken !== expected) wrong.push(`${pair}: ${taken ? "mounted" : "refused"}`);
      }
      assertEquals(wrong, []);
    },
  });
}
