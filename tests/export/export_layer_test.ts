/**
 * What an app wrote as a layer, through a real overlay.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { exists } from "@std/fs/exists";
import {
  exportLayer,
  exportRootfs,
  OverlayError,
  overlayStatus,
  RefusedError,
  renderOverlay,
  resetOverlay,
  unmountOverlay,
} from "../../mod.ts";
import { cli } from "../_cli.ts";
import { freshDenoDir } from "../_deno_dir.ts";
import { modeOf, sh, tempDir } from "../_temp.ts";
import { needs, script, UmociImage } from "../_tool_images.ts";
import { listArchive, readEntries, Stack } from "./_stack.ts";

const root = needs();
const tools = needs("umoci");

/** A change of an app, and the entries of its layer, after that of the root. */
interface Case {
  readonly name: string;
  readonly base: string;
  readonly change: string;
  readonly layer: readonly string[];
}

const CASES: readonly Case[] = [
  { name: "nothing", base: "echo a >a", change: "true", layer: [] },
  {
    name: "a new file, and the directories above it with their own metadata",
    base: "mkdir -p a/b",
    change: "echo new >a/b/new",
    layer: ["directory /a", "directory /a/b", "file /a/b/new"],
  },
  {
    name: "removed entries of every type, before their siblings",
    base: "mkdir -p d/e s; echo a >s/-a; echo b >s/b; ln -s b s/l; mkfifo s/p; echo f >d/e/f",
    change: "rm -r d s/b s/l s/p; echo new >s/-new",
    layer: [
      "file /.wh.d",
      "directory /s",
      "file /s/.wh.b",
      "file /s/.wh.l",
      "file /s/.wh.p",
      "file /s/-new",
    ],
  },
  {
    name: "a file that was made and removed again",
    base: "mkdir d",
    change: "echo a >d/a; rm d/a",
    layer: ["directory /d"],
  },
  {
    name: "a directory that was removed and made again",
    base: "mkdir -p d/e; echo old >d/old",
    change: "rm -r d; mkdir d; echo new >d/new",
    layer: ["directory /d", "file /d/.wh..wh..opq", "file /d/new"],
  },
  {
    name: "an empty directory that was removed and made again hides nothing",
    base: "mkdir d",
    change: "rmdir d; mkdir d; echo new >d/new",
    layer: ["directory /d", "file /d/new"],
  },
  {
    name: "a new directory hides nothing",
    base: "true",
    change: "mkdir -p d/e; echo new >d/e/new",
    layer: ["directory /d", "directory /d/e", "file /d/e/new"],
  },
  {
    name: "a file that became a directory",
    base: "echo f >f2d",
    change: "rm f2d; mkdir f2d; echo in >f2d/in",
    layer: ["directory /f2d", "file /f2d/in"],
  },
  {
    name: "a directory that became a file, and no whiteout below it",
    base: "mkdir -p d2f/sub; echo a >d2f/a",
    change: "rm -r d2f; echo f >d2f",
    layer: ["file /d2f"],
  },
  {
    name: "an opaque directory in an opaque one",
    base: "mkdir -p d/e; echo old >d/e/old",
    change: "rm -r d; mkdir -p d/e; echo new >d/e/new",
    layer: ["directory /d", "file /d/.wh..wh..opq", "directory /d/e", "file /d/e/new"],
  },
  {
    name: "hard links lead to the first name",
    base: "true",
    change: "echo a >c; ln c a; ln a b; mkdir d; ln b d/e",
    layer: [
      "file /a",
      "hardlink /b a",
      "hardlink /c a",
      "directory /d",
      "hardlink /d/e a",
    ],
  },
  {
    name: "devices, FIFOs, symlinks",
    base: "true",
    change: "mknod null c 1 3; mknod disk b 8 0; mkfifo p; ln -s nowhere l",
    layer: ["char /null", "block /disk", "symlink /l", "fifo /p"],
  },
  {
    name: "names that are not UTF-8",
    base: String.raw`mkdir "$(printf 'd\344')"; echo a >"$(printf 'd\344')/$(printf 'f\377')"
      mkdir "$(printf 'o\344')"; echo a >"$(printf 'o\344')/a"; echo b >"$(printf 'b\344')"`,
    change: String.raw`rm "$(printf 'd\344')/$(printf 'f\377')" "$(printf 'b\344')"
      rm -r "$(printf 'o\344')"; mkdir "$(printf 'o\344')"; echo n >"$(printf 'n\344')"`,
    layer: [
      String.raw`file /.wh.b\344`,
      String.raw`directory /d\344`,
      String.raw`file /d\344/.wh.f\377`,
      String.raw`file /n\344`,
      String.raw`directory /o\344`,
      String.raw`file /o\344/.wh..wh..opq`,
    ],
  },
];

for (const { name, base, change, layer } of CASES) {
  Deno.test({
    name: `the layer of an app: ${name}${root.suffix}`,
    ignore: root.ignore,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      const stack = await Stack.make(dir, base);
      await stack.change(change);
      const expected = ["directory /", ...layer];
      const { path, exported } = await stack.layer();
      const found = await listArchive(path);
      assertEquals(found.toSorted(), expected.toSorted());
      // A mark comes right after its directory, a whiteout before its siblings, a directory before its entries.
      for (const [at, one] of expected.entries()) {
        if (/\.wh\./.test(one)) {
          const place = found.indexOf(one);
          const siblings = expected.slice(at + 1).map((other) => found.indexOf(other));
          assert(siblings.every((sibling) => sibling > place), found.join("\n"));
        }
      }
      assertEquals(exported.entries, expected.length);
      // Unmounted, it is the same.
      await unmountOverlay({ pod: stack.pod });
      const again = await stack.layer();
      assertEquals(again.exported, exported);
    },
  });
}

Deno.test({
  name: `a whiteout has no owner, mode or time; times are whole seconds${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, "echo a >a");
    await stack.change(
      "rm a; touch -d '2001-02-03 04:05:06.789 UTC' b; touch -d '1969-12-31 23:59:58.5 UTC' c",
    );
    const entries = await readEntries((await stack.layer()).path);
    const by = (name: string) => entries.find((entry) => entry.name === name);
    const { mode, uid, gid, size, mtime } = by(".wh.a") ?? {};
    assertEquals([mode, uid, gid, size, mtime], [0, 0, 0, 0, "0"]);
    assertEquals([by("b")?.mtime, by("c")?.mtime], ["981173106", "-2"]);
    const clamped = await readEntries((await stack.layer({ sourceDateEpoch: 1000 })).path);
    assertEquals(
      clamped.map((entry) => `${entry.name} ${entry.mtime}`).filter((one) => /^[bc] /.test(one)),
      ["b 1000", "c -2"],
    );
  },
});

Deno.test({
  name: `attributes: those of overlayfs go, an app's own come back unescaped${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, "mkdir d; echo a >d/a");
    await stack.change(`
      setfattr -n trusted.overlay.opaque -v y d
      setfattr -n user.overlay.mine -v 1 d
      setfattr -n trusted.own -v 2 d
      setfattr -n user.plain -v 3 d/a
      setfacl -m u:1000:rwx d/a
      cp /bin/true t; setcap cap_net_raw+ep t; chmod 4755 d/a`);
    const entries = await readEntries((await stack.layer()).path);
    const names = (name: string) => {
      const entry = entries.find((entry) => entry.name === name);
      return [...entry?.attributes.keys() ?? []].sort();
    };
    assertEquals(names("d/"), ["trusted.overlay.opaque", "trusted.own", "user.overlay.mine"]);
    assertEquals(names("d/a"), ["system.posix_acl_access", "user.plain"]);
    assertEquals(names("t"), ["security.capability"]);
    assertEquals(entries.find(({ name }) => name === "d/a")?.mode, 0o4755);
  },
});

Deno.test({
  name: `a name of a whiteout is refused, or left out with all below it${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, "echo a >a");
    await stack.change("mkdir .wh.d; echo b >.wh.d/b; echo c >.wh.c; ln .wh.c kept");
    const error = await assertRejects(() => stack.layer(), OverlayError);
    assertEquals(error.code, "unrepresentable");
    assertStringIncludes(error.message, '"/.wh.c"');
    const warnings: string[] = [];
    const warn = (text: string) => void warnings.push(text);
    const { path } = await stack.layer({ skipUnrepresentable: true }, { warn });
    assertEquals(await listArchive(path), ["directory /", "file /kept"]);
    assertEquals(warnings.length, 3);
    assertStringIncludes(warnings.join("\n"), '"/.wh.d/b"');
  },
});

Deno.test({
  name: `a whiteout whose name would be too long is refused${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const long = "n".repeat(252);
    const stack = await Stack.make(dir, `echo a >${long}`);
    await stack.change(`rm ${long}`);
    const error = await assertRejects(() => stack.layer(), OverlayError, "too long");
    assertEquals(error.code, "unrepresentable");
  },
});

Deno.test({
  name: `sockets are left out with a warning${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, "echo a >a");
    await stack.change("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"t\")'");
    const warnings: string[] = [];
    const { path } = await stack.layer({}, { warn: (text) => void warnings.push(text) });
    assertEquals(await listArchive(path), ["directory /"]);
    assertEquals(warnings.filter((text) => text.endsWith("it is a socket")).length, 1);
  },
});

Deno.test({
  name: `an app cannot make a whiteout itself${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, "echo a >a");
    await assertRejects(() => stack.change("mknod zero c 0 0"), Error, "not permitted");
  },
});

Deno.test({
  name: `marks of fuse-overlayfs become one mark, and its attributes go${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, "mkdir d; echo a >d/a; echo b >b");
    const [app] = await overlayStatus(stack.pod);
    await unmountOverlay({ pod: stack.pod });
    await script(
      dir,
      `${app?.upper}`,
      "mkdir d; setfattr -n user.fuseoverlayfs.opaque -v y d; mknod d/.wh..opq c 0 0; " +
        "touch d/.wh..wh..opq d/n; mknod b c 0 0; setfattr -n user.fuseoverlayfs.origin -v x d/n",
    );
    const { path } = await stack.layer();
    assertEquals(await listArchive(path), [
      "directory /",
      "file /.wh.b",
      "directory /d",
      "file /d/.wh..wh..opq",
      "file /d/n",
    ]);
    const entries = await readEntries(path);
    assertEquals(entries.filter(({ attributes }) => attributes.size > 0), []);
  },
});

Deno.test({
  name:
    `an upper of which content is elsewhere is refused, mounted or not, and its root exported${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const [lower, pod, file] = [dir.join("lower"), dir.join("pod"), dir.join("layer.tar")];
    await Deno.mkdir(lower);
    await script(dir, lower, "mkdir d; echo a >d/a; echo b >b; echo c >c");
    for (const change of ["mv d moved", "chmod 600 b"]) {
      const options = ["redirect_dir=on", "metacopy=on"];
      const { rootfs } = await renderOverlay({ lower, pod, app: "web", options });
      await script(dir, rootfs, change);
      const refuse = async () => {
        const error = await assertRejects(() => exportLayer({ pod }, file), RefusedError);
        assertEquals(error.code, "upper-redirected", change);
        assertStringIncludes(error.hint ?? "", "--rootfs");
        assertEquals(await exists(file), false);
      };
      await refuse();
      const whole = dir.join("root.tar");
      await exportRootfs({ pod, compression: "none" }, whole);
      const content = await sh("tar", "--extract", "--to-stdout", "--file", whole);
      assertEquals(content.split("\n").toSorted().join(""), "abc", change);
      await unmountOverlay({ pod });
      await refuse();
      await resetOverlay({ pod });
    }
  },
});

Deno.test({
  name: `the same bytes for another umask and time zone, and at another time${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, "mkdir d; echo a >d/a; echo b >b");
    await stack.change("rm b; echo new >d/new; chown 1000:1000 d/new; ln d/new d/link");
    for (const compression of ["none", "gzip", "zstd"]) {
      const digests = new Set<string>();
      for (const [umask, TZ] of [["022", "UTC"], ["077", "Asia/Tokyo"], ["000", "America/Lima"]]) {
        const file = dir.join(`${compression}-${umask}`);
        const args = [
          "export",
          `--pod=${stack.pod}`,
          `--layer=${file}`,
          `--compression=${compression}`,
        ];
        const done = await cli(args, {
          umask: umask ?? "",
          env: { TZ: TZ ?? "", LANG: "de_DE.UTF-8" },
        });
        assertEquals([done.status, done.stderr], [0, ""]);
        digests.add(done.stdout);
        assertEquals(modeOf(file), "0600");
      }
      assertEquals(digests.size, 1);
    }
  },
});

/** Reads the highest layer of the only image of a layout, without its compression. */
async function lastLayer(layout: string): Promise<ReadableStream<Uint8Array>> {
  const blob = (digest: string) => `${layout}/blobs/${digest.replace(":", "/")}`;
  const { manifests: [image] } = JSON.parse(await Deno.readTextFile(`${layout}/index.json`));
  const { layers } = JSON.parse(await Deno.readTextFile(blob(image.digest)));
  const file = await Deno.open(blob(layers.at(-1).digest));
  return file.readable.pipeThrough(new DecompressionStream("gzip"));
}

Deno.test({
  name: `the entries of a layer are those of umoci repack${tools.suffix}`,
  ignore: tools.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const base = "mkdir -p d/e f; echo a >a; echo b >d/b; echo c >d/e/c; echo f >f/f; ln -s a l";
    const change = "rm a d/b l; rm -r f; echo C >>d/e/c; mkdir -p n/m; echo n >n/m/n; ln -s m n/l";
    const image = await UmociImage.make(dir);
    await image.change((rootfs) => script(dir, rootfs, base));
    const stack = await Stack.make(dir, base);
    await stack.change(change);
    await image.change((rootfs) => script(dir, rootfs, change));
    const theirs = dir.join("umoci.tar");
    await Deno.writeFile(theirs, await lastLayer(image.layout));
    // Umoci lists directories above a change only if they have another time in seconds.
    const isListed = (one: string) => !/^directory \/(d|d\/e)?$/.test(one);
    const found = (await listArchive((await stack.layer()).path)).filter(isListed);
    const must = (await listArchive(theirs)).filter(isListed);
    assertEquals(found.toSorted(), must.toSorted());
  },
});

/** Runs a command as another user, who may read all files, but not the attributes of root. */
const READER = [
  ...["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
  ...["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"],
];

Deno.test({
  name:
    `the same bytes as another user, who is refused where only root can read marks${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const lower = dir.join("lower");
    await Deno.mkdir(lower);
    const env = { DENO_DIR: await freshDenoDir(dir.join("cache")) };
    await sh("chown", "-R", "65534:65534", env.DENO_DIR);
    await Deno.chmod(dir.path, 0o755);
    await script(dir, lower, "mkdir d; echo old >d/old; echo a >a");
    for (const options of [["userxattr"], []]) {
      const pod = dir.join(`pod-${options.length}`);
      const { rootfs } = await renderOverlay({ lower, pod, options });
      await script(dir, rootfs, "rm -r a d; mkdir d; echo n >d/n; chown 5:6 d/n; chmod 4711 d/n");
      const args = ["export", `--pod=${pod}`, "--layer=-"];
      const [own, others] = [await cli(args), await cli(args, { wrapper: READER, env })];
      assertEquals([own.status, own.stderr], [0, ""]);
      if (options.length > 0) assertEquals(others, own);
      else {
        const listed = await cli(["changes", `--pod=${pod}`], { wrapper: READER, env });
        for (const { status, stdout, stderr } of [others, listed]) {
          assertEquals([status, stdout], [1, ""]);
          assertStringIncludes(stderr, "only root can read the marks");
        }
      }
    }
  },
});

Deno.test({
  name: `--prune leaves out what was copied up and is what it was${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(
      dir,
      "mkdir -p d/e f g; echo a >d/a; echo b >d/e/b; echo c >f/c; echo g >g/g",
    );
    await stack.change("touch d/a; chmod 0644 d/e/b; echo C >f/c; rm g/g; mkdir new");
    const { path } = await stack.layer({ prune: true });
    assertEquals((await listArchive(path)).toSorted(), [
      "directory /",
      "directory /f",
      "directory /g",
      "directory /new",
      "file /f/c",
      "file /g/.wh.g",
    ]);
  },
});
