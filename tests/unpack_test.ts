/**
 * What is unpacked of archives in the shapes that other programs write, against what umoci makes of the same.
 *
 * @module
 */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { checkTrees, treePath } from "../lib/tree.ts";
import { archive, directory, entry, file, hardlink, pax, symlink } from "./_archive.ts";
import type { Bytes } from "./_archive.ts";
import { cli } from "./_cli.ts";
import { entriesOf } from "./_entries.ts";
import { makeLayout } from "./_image.ts";
import { runMain } from "./_main.ts";
import { isRealRoot } from "./_privilege.ts";
import {
  assertSameEntries,
  imported,
  needs,
  renderedEntries,
  umociEntries,
  withoutRoot,
} from "./_tool_images.ts";
import { tempDir } from "./_temp.ts";
import type { TempDir } from "./_temp.ts";

const umoci = needs("umoci");

/** Imports layers, the lowest first, and compares a render of them with what umoci unpacks. */
async function assertAsUmoci(dir: TempDir, ...layers: readonly Bytes[][]): Promise<void> {
  const archives = layers.map((parts) => archive(...parts));
  const layout = await makeLayout(dir.join("layout"), archives, "latest");
  const { id } = await imported(dir, layout);
  const is = withoutRoot(await renderedEntries(dir, id));
  const must = withoutRoot(await umociEntries(dir, `${layout}:latest`));
  assertSameEntries(is, must, "a render");
}

/** `cap_net_raw=ep` (linux/capability.h, `struct vfs_cap_data`). */
const CAPABILITY = "\x01\0\0\x02\0\x20\0\0" + "\0".repeat(12);

const PRIVILEGED: readonly Bytes[] = [
  file("suid", "", { mode: 0o4755 }),
  pax({ "SCHILY.xattr.security.capability": CAPABILITY }),
  file("capable", "", { mode: 0o755 }),
  entry({ name: "null", flag: "3", mode: 0o666, major: 1, minor: 3 }),
];

const ONE_DEVICE = "warning: left out 1 device node: as --strip devices says\n";
const TWO_FILES =
  "warning: left out setuid, setgid and capabilities of 2 files: as --strip setuid says\n";

/** The files of a directory with their modes, and a star for capabilities. */
async function privileged(directory: string): Promise<string[]> {
  const entries = [...await entriesOf(directory)].filter(([path]) => path !== "/");
  return entries.map(([path, words]) => {
    const mode = /mode=0*(\d+)/.exec(words)?.[1];
    const star = words.includes("security.capability=") ? " *" : "";
    return `${path.slice(1)} ${mode}${star}`;
  });
}

type Kind = readonly [name: string, make: (name: string) => Bytes];

const KINDS: readonly Kind[] = [
  ["file", (name) => file(name, `content of ${name}`, { mode: 0o640, uid: 3 })],
  ["empty", (name) => file(name, "", { mode: 0o604, mtime: 7 })],
  ["absolute", (name) => symlink(name, "/etc/passwd")],
  ["outside", (name) => symlink(name, "../../../target")],
  ["inside", (name) => symlink(name, "real")],
  ["hardlink", (name) => hardlink(name, "real/file")],
  ["fifo", (name) => entry({ name, flag: "6", mode: 0o620 })],
];

/** Every order of some of these, with repetitions. */
function orders(kinds: readonly Kind[], length: number): readonly (readonly Kind[])[] {
  if (length === 0) return [[]];
  return orders(kinds, length - 1).flatMap((before) => kinds.map((kind) => [...before, kind]));
}

/** An archive that names a path several times, for each order; the names tell the order. */
function renamed(kinds: readonly (readonly Kind[])[]): Bytes[] {
  const real = [directory("real"), file("real/file", "real")];
  return [
    ...real,
    ...kinds.flatMap((order) => {
      const name = order.map(([word]) => word).join("-");
      return order.map(([, make]) => make(name));
    }),
  ];
}

const DIRECTORY: Kind = ["directory", (name) => directory(name, { mode: 0o711, uid: 5, mtime: 9 })];

Deno.test({
  name: `a path that is named again is what its last entry says, in any order${umoci.suffix}`,
  ignore: umoci.ignore,
  fn: async () => {
    await using dir = await tempDir();
    const before = orders(KINDS, 2);
    await assertAsUmoci(
      dir,
      renamed([...orders(KINDS, 3), ...before.map((order) => [...order, DIRECTORY])]),
    );
  },
});

Deno.test("tree import keeps setuid, setgid, capabilities and devices unless they are stripped", {
  ignore: !isRealRoot,
}, async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  await Deno.writeFile(source, archive(...PRIVILEGED));
  const ids = new Set<string>();
  const table: readonly [flags: readonly string[], kept: readonly string[], says: string][] = [
    [[], ["suid 4755", "capable 755 *", "null 666"], ""],
    [["--strip=devices"], ["suid 4755", "capable 755 *"], ONE_DEVICE],
    [["--strip", "setuid"], ["suid 755", "capable 755", "null 666"], TWO_FILES],
    [["--strip=setuid,devices"], ["suid 755", "capable 755"], ONE_DEVICE + TWO_FILES],
  ];
  for (const [flags, kept, says] of table) {
    const args = ["tree", "import", source, `--store=${store}`, ...flags];
    const { status, stdout, stderr } = await runMain(args);
    assertEquals([status, stderr.replace(/^layer .*\n/, "")], [0, says]);
    ids.add(stdout);
    const [path = ""] = treePath({ store, tree: stdout.trim() });
    assertEquals((await privileged(path)).sort(), [...kept].sort());
    // It is found again as what it is.
    const again = await runMain([...args, "--json"]);
    assertEquals([JSON.parse(again.stdout).changed, `${JSON.parse(again.stdout).id}\n`], [
      false,
      stdout,
    ]);
  }
  assertEquals(ids.size, table.length);
});

Deno.test("importTree() in a user namespace leaves devices out and says how many", {
  ignore: !isRealRoot,
}, async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  await Deno.writeFile(source, archive(...PRIVILEGED, hardlink("zero", "null")));
  const wrapper = ["unshare", "--user", "--map-root-user"];
  const args = ["tree", "import", source, `--store=${store}`, "--userxattr", "--json"];
  for (const changed of [true, false]) {
    const { status, stdout, stderr } = await cli(args, { wrapper });
    assertEquals([status, JSON.parse(stdout).changed], [0, changed], stderr);
    assertStringIncludes(
      stderr,
      "warning: left out 2 device nodes: a user namespace cannot make them\n",
    );
    const tree: string = JSON.parse(stdout).id;
    const [path = ""] = treePath({ store, tree });
    assertEquals((await privileged(path)).sort(), ["capable 755 *", "suid 4755"]);
    assertEquals(await checkTrees({ store, tree }), [{ id: tree, differences: [] }]);
  }
});

Deno.test("tree import refuses parts that it cannot strip, and flags of earlier versions", async () => {
  const table: readonly [flag: string, says: string][] = [
    ["--strip=setgid", 'Cannot use strip "setgid": it must be setuid or devices'],
    ["--strip=setuid,", 'Cannot use strip "": it must be setuid or devices'],
    ["--allow-setuid", 'Cannot use flag "--allow-setuid": tree import keeps setuid by default'],
    ["--allow-devices=1", 'Cannot use flag "--allow-devices=1": tree import keeps devices'],
  ];
  for (const [flag, says] of table) {
    const { status, stderr } = await runMain(["tree", "import", "/none", flag]);
    assertEquals(status, 2);
    assertStringIncludes(stderr, says);
    if (flag.startsWith("--allow")) assertMatch(stderr, /^hint: .*--strip (setuid|devices)/m);
  }
});
