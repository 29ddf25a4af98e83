/**
 * What is unpacked of archives in the shapes that other programs write, against what umoci makes of the same.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { checkTrees, listTreesSync, treePathSync } from "../../lib/store/tree.ts";
import { archive, concat, directory, entry, file, hardlink, pax, symlink } from "../_archive.ts";
import type { Bytes } from "../_archive.ts";
import { hasLoopDevices, mountExt4, mountRamfs } from "../_disks.ts";
import { cli } from "../_cli.ts";
import { entriesOf } from "../_entries.ts";
import { makeLayout } from "../_image.ts";
import { runMain } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import {
  assertSameEntries,
  entry as plain,
  imported,
  needs,
  put,
  renderedEntries,
  script,
  tool,
  umociEntries,
  UmociImage,
  withoutRoot,
} from "../_tool_images.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

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
  ["absolute", (name) => symlink(name, "/etc/passwd")],
  ["outside", (name) => symlink(name, "../../../target")],
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

const DIRECTORIES: readonly Kind[] = [
  ["directory", (name) => directory(name, { mode: 0o711, uid: 5, mtime: 9 })],
  [
    "full",
    (name) => {
      const all = [directory(name, { mode: 0o1755 }), directory(`${name}/sub`)];
      return concat(...all, file(`${name}/file`), file(`${name}/sub/deep`, "deep"));
    },
  ],
];

Deno.test({
  name: `a path that is named again is what its last entry says, in any order${umoci.suffix}`,
  ignore: umoci.ignore,
  fn: async () => {
    await using dir = await tempDir();
    await assertAsUmoci(dir, renamed(orders([...KINDS, ...DIRECTORIES], 3)));
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
    const [path = ""] = treePathSync({ store, tree: stdout.trim() });
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
      "warning: left out 2 device nodes: none can be made here, as in a user namespace\n",
    );
    const tree: string = JSON.parse(stdout).id;
    const [path = ""] = treePathSync({ store, tree });
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

/** Shapes that writers of images make, and other tools take; layers, the lowest first. */
const SHAPES: Readonly<Record<string, readonly Bytes[][]>> = {
  "a path through a symlink of the same archive": [[
    directory("usr"),
    directory("usr/lib"),
    symlink("lib", "usr/lib"),
    file("lib/x", "in usr/lib"),
    directory("lib/d", { mode: 0o700 }),
    file("./lib//d/y", "deep"),
    symlink("lib/z", "x"),
    hardlink("h", "lib/x"),
    hardlink("lib/i", "usr/lib/x"),
  ]],
  "a path through an absolute symlink, and one with ..": [[
    directory("usr"),
    directory("usr/lib"),
    directory("opt"),
    symlink("lib", "/usr/lib"),
    symlink("opt/lib", "../lib"),
    symlink("up", "../../.."),
    file("lib/x", "absolute"),
    file("opt/lib/y", "relative"),
    file("up/usr/z", "stays inside"),
    file("up/top", "in the root"),
  ]],
  "a path through a symlink to what is not there yet": [[
    symlink("lib", "usr/lib"),
    directory("usr"),
    directory("usr/lib"),
    file("lib/x"),
  ]],
  "a directory in place of a symlink to one": [[
    directory("real"),
    file("real/x"),
    symlink("d", "real"),
    directory("d", { mode: 0o711 }),
    file("d/y"),
  ]],
  "a directory in place of a file in place of a directory of the layer below": [
    [directory("d"), file("d/a"), directory("e"), file("e/a")],
    [file("d"), directory("d"), file("d/b"), directory("e"), file("e/b"), symlink("e", "d")],
  ],
  "whiteouts through a symlink": [
    [directory("usr"), directory("usr/lib"), file("usr/lib/a"), file("usr/lib/b")],
    [
      directory("usr"),
      directory("usr/lib"),
      symlink("lib", "usr/lib"),
      file("lib/.wh.a", ""),
      file("lib/c"),
    ],
  ],
  "hard links in all spellings": [[
    directory("d"),
    file("a", "first"),
    ...["a", "./a", "/a", "a/"].map((link, at) => {
      return hardlink(`d/l${at}`, link);
    }),
    hardlink("./b", "d/l0"),
    symlink("s", "nowhere"),
    hardlink("t", "s"),
    file("a", "second"),
    hardlink("e", "a"),
    hardlink("d/l0", "./e"),
  ]],
  "entries without content that have a size": [[
    directory("d", { size: 4096 }),
    file("a", "content"),
    symlink("s", "a", { size: 1 }),
    hardlink("h", "a", { size: 7 }),
    entry({ name: "p", flag: "6", size: 512 }),
    entry({ name: "n", flag: "3", major: 1, minor: 3, size: 10 }),
    file("b", "the next"),
  ]],
  "a layer of nothing but its end": [[directory("d"), file("d/a")], []],
};

for (const [name, layers] of Object.entries(SHAPES)) {
  Deno.test({
    name: `a render shows what umoci unpacks of ${name}${umoci.suffix}`,
    ignore: umoci.ignore,
    fn: async () => {
      await using dir = await tempDir();
      await assertAsUmoci(dir, ...layers);
    },
  });
}

/** Makes a sparse file of holes and data, and files that are only a hole or only data. */
const SPARSE_FILES = String.raw`
umask 022
truncate -s 3M mixed
for at in 0 5 17 700; do printf 'data at %s' $at | dd of=mixed bs=4096 seek=$at conv=notrunc status=none; done
truncate -s 2M hole; printf plain >plain; : >empty
truncate -s 1M head; printf head | dd of=head conv=notrunc status=none
truncate -s 1M tail; printf tail >>tail
truncate -s 4M many
for at in $(seq 0 9 900); do printf x | dd of=many bs=4096 seek=$at conv=notrunc status=none; done
n=$(printf 'n%.0s' $(seq 150)); cp --sparse=always mixed "$n"
touch -d '2020-01-01 UTC' *
`;

Deno.test({
  name: `a render shows the sparse files of GNU tar, in each of its forms${umoci.suffix}`,
  ignore: umoci.ignore,
  fn: async () => {
    await using dir = await tempDir();
    const source = dir.join("source");
    await Deno.mkdir(source);
    await script(dir, source, SPARSE_FILES);
    const must = withoutRoot(await entriesOf(source));
    const forms = [
      ["--format=gnu"],
      ...["0.0", "0.1", "1.0"].map((version) => ["--format=posix", `--sparse-version=${version}`]),
    ];
    for (const form of forms) {
      const path = dir.join(`${form.join("")}.tar`);
      await tool(dir, "tar", "--create", `--file=${path}`, "--sparse", ...form, "-C", source, ".");
      // Without holes it would be larger than they are.
      assert((await Deno.stat(path)).size < 2 << 20, form.join(" "));
      const { id } = await imported(dir, path);
      assertSameEntries(withoutRoot(await renderedEntries(dir, id)), must, form.join(" "));
      // Umoci does not know the type of entry that GNU's own format has for it.
      if (form.includes("--format=gnu")) continue;
      const image = await UmociImage.make(dir, `layout${form.join("")}`);
      await image.add(path);
      assertSameEntries(withoutRoot(await image.entries()), must, `umoci, ${form.join(" ")}`);
    }
  },
});

/** An entry with an extended attribute. */
function marked(name: string, value: string, part: Bytes): Bytes {
  return concat(pax({ [`SCHILY.xattr.${name}`]: value }), part);
}

Deno.test(
  "tree import counts attributes that nothing there can have, and the record says what is there",
  {
    ignore: !isRealRoot,
  },
  async () => {
    await using dir = await tempDir();
    const [source, store] = [dir.join("source"), dir.join("store")];
    const parts = [
      marked("user.kept", "1", file("a", "content")),
      marked("user.none", "2", symlink("l", "a")),
      marked("user.none", "2", entry({ name: "p", flag: "6" })),
      marked("none.such", "3", file("b", "")),
      marked("system.none", "4", directory("d")),
      hardlink("h", "b"),
      file("after", "content"),
    ];
    await Deno.writeFile(source, archive(...parts));
    const args = ["tree", "import", source, `--store=${store}`, "--json"];
    const { status, stdout, stderr } = await runMain(args);
    assertEquals(status, 0, stderr);
    assertStringIncludes(stderr, "warning: left out 4 extended attributes: ");
    const tree: string = JSON.parse(stdout).id;
    assertEquals(await checkTrees({ store, tree }), [{ id: tree, differences: [] }]);
    const [path = ""] = treePathSync({ store, tree });
    assertStringIncludes((await entriesOf(path)).get("/a") ?? "", "user.kept=0x31");

    // A store on a file system that has none at all.
    const [all, bare] = [dir.join("all"), await mountRamfs(dir.join("ramfs"))];
    await Deno.mkdir(all);
    await put(
      all,
      plain("one", { attributes: new Map([["user.one", "1"], ["trusted.two", "2"]]) }),
    );
    const { stderr: said, stdout: made } = await runMain(
      [...args, `--store=${bare}`].toSpliced(2, 2, all),
    );
    assertStringIncludes(said, "warning: left out 2 extended attributes: ");
    const { id } = JSON.parse(made);
    assertEquals(await checkTrees({ store: bare, tree: id }), [{ id, differences: [] }]);
  },
);

const loops = await hasLoopDevices();

Deno.test("tree import fails where an attribute does not fit", {
  ignore: !isRealRoot || !loops,
}, async () => {
  const table: readonly [name: string, value: string, says: RegExp, hint: RegExp][] = [
    ["user.large", "x".repeat(60_000), /No space left on device/, /--store DIR/],
    ["security.capability", "none", /Invalid argument/, /make the image again/],
  ];
  for (const [name, value, says, hint] of table) {
    await using dir = await tempDir();
    const [source, store] = [dir.join("source"), dir.join("store")];
    await mountExt4(store);
    await Deno.writeFile(source, archive(marked(name, value, file("a")), file("b")));
    const result = await runMain(["tree", "import", source, `--store=${store}`]);
    assertEquals(result.status, 1, result.stderr);
    assertMatch(result.stderr, /^error: Cannot unpack layer .* extended attribute/m);
    assertMatch(result.stderr, says);
    assertMatch(result.stderr, new RegExp(`^hint: .*${hint.source}`, "m"));
    assertEquals(listTreesSync({ store }), []);
  }
});
