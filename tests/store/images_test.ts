/**
 * Images made by the tools of others are imported and rendered, and then show what those tools show of
 * them, entry by entry.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { cli } from "../_cli.ts";
import {
  assertOdd,
  assertSameEntries,
  Buildah,
  directory,
  entry,
  imported,
  makeOdd,
  makeOdder,
  needs,
  put,
  renderedEntries,
  script,
  skopeo,
  tool,
  umociEntries,
  UmociImage,
  withoutRoot,
} from "../_tool_images.ts";
import { alsoDebian, HOST, SUITE } from "../_debian.ts";
import { entriesOf } from "../_entries.ts";
import { sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { namesIn } from "../_tree.ts";

const full = needs("umoci", "skopeo", "buildah");

/** Changes that leave nothing of a layer as it was. */
const CHANGES = String.raw`
umask 022
rm etc/hello; rm -r deep; rm fifo null
rm -r a/b; mkdir a/b; printf new >a/b/new
rm -r empty; ln -s a empty
rm dangling; mkdir dangling; printf in >dangling/file
rm zeros; mkdir zeros; printf in >zeros/file
rm -r bigdir; printf file >bigdir
rm a/two; printf other >a/two
chmod 0700 closed; chown 7:8 owner; chmod 0111 bin/suid
rm sda; mknod -m 0600 sda b 8 1
ln -sf elsewhere longlink
printf in >'größe €/more'
mkdir -p fresh/sub; printf f >fresh/sub/file; chmod 2750 fresh
`;

const ALL = `find . -type d -exec touch -d '2020-01-02 UTC' {} +\n`;

const AGAIN = String.raw`
umask 022
mkdir deep; printf again >deep/again; mkfifo fifo; printf back >etc/hello
rm empty; mkdir empty; printf full >empty/file
rm -r fresh
`;

/** What is rendered of an image is what umoci unpacks of it, and what buildah mounts. */
async function compare(
  dir: TempDir,
  image: UmociImage,
  drivers: readonly ("vfs" | "overlay")[],
): Promise<void> {
  const { id } = await imported(dir, image.layout);
  const is = await renderedEntries(dir, id);
  assertSameEntries(is, await image.entries(), "umoci");
  for (const driver of drivers) {
    const shown = await new Buildah(dir, driver).entries(`oci:${image.layout}:latest`);
    assertSameEntries(withoutRoot(is), shown, driver);
  }
}

Deno.test({
  name: `an image of umoci is what umoci and buildah show${full.suffix}`,
  ignore: full.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const image = await UmociImage.make(dir);
    await image.change((rootfs) => makeOdd(dir, rootfs));
    assertOdd(await image.entries());
    await image.change(async (rootfs) => {
      await script(dir, rootfs, CHANGES + ALL);
      await put(rootfs, entry("etc/attr", { attributes: new Map([["user.note", "changed"]]) }));
      await put(rootfs, directory("attr", { attributes: new Map([["user.more", "x"]]) }));
    });
    await image.change((rootfs) => script(dir, rootfs, AGAIN + ALL.replace("02", "03")));
    await compare(dir, image, ["vfs", "overlay"]);

    // Of a directory that became a link umoci writes whiteouts, into the link; buildah fails on overlayfs then.
    await image.change(async (rootfs) => {
      await script(
        dir,
        rootfs,
        "rm -r dangling; ln -s nowhere dangling; touch -d '2020-01-04 UTC' .",
      );
    });
    await compare(dir, image, ["vfs"]);
    const layers = await namesIn(dir.join("store/layer"));
    assertEquals(layers.length, 4, "layers are shared");

    await image.change((rootfs) => makeOdder(dir, rootfs));
    await compare(dir, image, []);
  },
});

/** What an image is in each form that skopeo writes, by the form's name. */
async function formsOf(dir: TempDir, layout: string): Promise<Readonly<Record<string, string>>> {
  const from = `oci:${layout}:latest`;
  const archive = dir.join("docker.tar");
  await skopeo(dir, from, `docker-archive:${archive}:example.org/odd:1`);
  await skopeo(dir, from, `oci-archive:${dir.join("oci.tar")}:odd`);
  await skopeo(
    dir,
    "--dest-compress-format=zstd",
    `docker-archive:${archive}`,
    `oci:${dir.join("zstd")}:odd`,
  );
  await skopeo(
    dir,
    "--dest-oci-accept-uncompressed-layers",
    `docker-archive:${archive}`,
    `oci:${dir.join("plain")}:odd`,
  );
  return {
    "docker archive": archive,
    "OCI archive": dir.join("oci.tar"),
    "zstd": dir.join("zstd"),
    "no compression": dir.join("plain"),
  };
}

Deno.test({
  name: `an image is the same tree in each form that skopeo copies it to${full.suffix}`,
  ignore: full.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const image = await UmociImage.make(dir);
    await image.change((rootfs) => makeOdd(dir, rootfs));
    await image.change((rootfs) => script(dir, rootfs, CHANGES));
    const must = await image.entries();
    const { id } = await imported(dir, image.layout);
    const forms = await formsOf(dir, image.layout);
    for (const [form, source] of Object.entries(forms)) {
      const store = dir.join(`store of ${form}`);
      const tree = await imported(dir, source, { store });
      assertEquals([tree.id, tree.layers, tree.changed], [id, 2, true], form);
      assertSameEntries(await renderedEntries(dir, id, store), must, form);
      assertEquals((await imported(dir, source)).changed, false, form);
    }
    const { manifests } = JSON.parse(await Deno.readTextFile(`${forms.zstd}/index.json`));
    const blob = `${forms.zstd}/blobs/${manifests[0].digest.replace(":", "/")}`;
    assertStringIncludes(await Deno.readTextFile(blob), "layer.v1.tar+zstd");

    for (const form of ["docker archive", "OCI archive"]) {
      for (const program of ["gzip -1", "xz -0", "zstd -q -1"]) {
        await script(dir, dir.path, `${program} <'${forms[form]}' >whole`);
        const store = dir.join(`store of ${form}, ${program}`);
        const tree = await imported(dir, dir.join("whole"), { store });
        assertEquals([tree.id, tree.layers, tree.changed], [id, 2, true], program);
        assertSameEntries(await renderedEntries(dir, id, store), must, `${form}, ${program}`);
        assertEquals(await namesIn(`${store}/tmp`), []);
      }
    }

    for (const form of ["docker archive", "OCI archive"]) {
      const store = dir.join(`store of stdin, ${form}`);
      const command = `exec "$@" <"$0"`;
      const wrapper = ["sh", "-c", command, forms[form] ?? ""];
      const args = ["tree", "import", "-", `--store=${store}`];
      const { status, stdout, stderr } = await cli([...args, "--quiet"], { wrapper });
      assertEquals([status, stdout, stderr], [0, `${id}\n`, ""]);
      assertSameEntries(await renderedEntries(dir, id, store), must, `stdin, ${form}`);
    }
  },
});

/** Makes an image of three layers in buildah's storage. */
async function buildWith(dir: TempDir, buildah: Buildah): Promise<void> {
  await buildah.run("from", "--name=first", "scratch");
  await makeOdd(dir, await buildah.run("mount", "first"));
  await makeOdd(dir, dir.join("odd"));
  await buildah.run("copy", "--quiet", "first", dir.join("odd"), "/copied");
  await buildah.run("commit", "--quiet", "first", "first");
  await buildah.run("from", "--pull-never", "--name=second", "first");
  await script(dir, await buildah.run("mount", "second"), CHANGES);
  await buildah.run("commit", "--quiet", "second", "second");
  await buildah.run("from", "--pull-never", "--name=third", "second");
  const rootfs = await buildah.run("mount", "third");
  await script(
    dir,
    rootfs,
    `${AGAIN}\nrm -r copied/bin; mkdir -m 0711 copied/bin; printf sh >copied/bin/sh`,
  );
  await buildah.run("commit", "--quiet", "third", "third");
}

Deno.test({
  name: `an image of buildah is what buildah and umoci show${full.suffix}`,
  ignore: full.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const buildah = new Buildah(dir, "overlay");
    await buildWith(dir, buildah);
    assertOdd(await buildah.entries("first"));
    const layout = dir.join("layout");
    await buildah.run("push", "--quiet", "third", `oci:${layout}:third`);
    await buildah.run("push", "--quiet", "third", `docker-archive:${dir.join("tar")}:third:1`);

    const { id, layers } = await imported(dir, layout);
    assertEquals(layers, 3);
    const is = await renderedEntries(dir, id);
    assertSameEntries(withoutRoot(is), await buildah.entries("third"), "buildah, overlay");
    const copied = await new Buildah(dir, "vfs").entries(`oci:${layout}:third`);
    assertSameEntries(withoutRoot(is), copied, "buildah, vfs");
    assertSameEntries(is, await umociEntries(dir, `${layout}:third`), "umoci");
    assertEquals((await imported(dir, dir.join("tar"))).id, id);
    const records = await Array.fromAsync(Deno.readDir(dir.join("store/record")));
    const jsons = records.filter(({ name }) => name.endsWith(".json"));
    const opaque = jsons.map(({ name }) => {
      return JSON.parse(Deno.readTextFileSync(dir.join("store/record", name))).opaque;
    });
    assert(Math.max(...opaque) > 0, "no directory of it hides what is below");
  },
});

const umoci = needs("umoci");

/** What ustar cannot say. */
const NOT_USTAR = ["deep", "n*", "m*", "longlink", "owner", "bigdir", "old"];

Deno.test({
  name: `an archive of GNU tar is what tar and umoci unpack${umoci.suffix}`,
  ignore: umoci.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const source = dir.join("odd");
    await makeOdd(dir, source);
    await makeOdder(dir, source);
    const whole = await entriesOf(source);
    assertOdd(whole);
    assertStringIncludes(whole.get("/ns") ?? "", "mtime=981173106.789012345");
    const xattrs = ["--xattrs", "--xattrs-include=*"];
    const formats = {
      posix: xattrs,
      gnu: [],
      ustar: NOT_USTAR.map((name) => `--exclude=./${name}`),
    };
    for (const [format, more] of Object.entries(formats)) {
      const archive = dir.join(`${format}.tar`);
      await sh("tar", `--format=${format}`, ...more, "-C", source, "-cf", archive, ".");
      const { id } = await imported(dir, archive);
      const is = await renderedEntries(dir, id);
      if (format === "posix") assertSameEntries(is, whole, "the directory itself");
      const unpacked = dir.join(format);
      await Deno.mkdir(unpacked);
      await sh("tar", ...xattrs, "--numeric-owner", "-C", unpacked, "-xpf", archive);
      assertSameEntries(is, await entriesOf(unpacked), `tar, ${format}`);
      const image = await UmociImage.make(dir, `layout-${format}`);
      await image.add(archive);
      assertSameEntries(is, await image.entries(), `umoci, ${format}`);
      assertEquals((await imported(dir, image.layout)).changed, false);
    }
    const { id } = await imported(dir, source);
    assertSameEntries(await renderedEntries(dir, id), whole, "a directory");
  },
});

const dpkg = needs("dpkg-deb", "umoci");

/** Without the times of directories: tar as dpkg runs it leaves those as they are when all is unpacked. */
function withoutTimes(entries: ReadonlyMap<string, string>): Map<string, string> {
  return new Map([...entries].map(([path, words]) => {
    return [path, words.startsWith("directory") ? words.replace(/ mtime=\S+/, "") : words];
  }));
}

Deno.test({
  name: `a Debian package is what dpkg and umoci unpack${dpkg.suffix}`,
  ignore: dpkg.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await makeOdd(dir, dir.join("odd"));
    await script(dir, dir.join("odd"), "rm new*"); // dpkg refuses a newline
    await Deno.mkdir(dir.join("odd/DEBIAN"));
    const control = ["Package: odd", "Version: 1", "Architecture: all", "Maintainer: a <a@b.c>"];
    const text = [...control, "Description: odd", ""].join("\n");
    await Deno.writeTextFile(dir.join("odd/DEBIAN/control"), text);
    await tool(dir, "dpkg-deb", "--build", "odd", "odd.deb");
    await tool(dir, "dpkg-deb", "--extract", "odd.deb", "unpacked");
    const unpacked = await entriesOf(dir.join("unpacked"));
    await tool(dir, "sh", "-c", "dpkg-deb --fsys-tarfile odd.deb >odd.tar");
    const layered = await UmociImage.make(dir);
    await layered.add(dir.join("odd.tar"));
    const must = await layered.entries();
    for (const how of ["cat", "gzip -1", "xz -0", "zstd -q -1"]) {
      const store = dir.join(`store of ${how}`);
      const command = `dpkg-deb --fsys-tarfile "$0" | ${how} | exec "$@"`;
      const wrapper = ["bash", "-o", "pipefail", "-c", command, dir.join("odd.deb")];
      const args = ["tree", "import", "-", "--json", "--quiet", `--store=${store}`];
      const flags = ["--name=odd"];
      const { status, stdout, stderr } = await cli([...args, ...flags], { wrapper });
      assertEquals([status, stderr], [0, ""]);
      const { id, image } = JSON.parse(stdout);
      assertEquals(image, "odd");
      const is = await renderedEntries(dir, id, store);
      assertSameEntries(is, must, `umoci, ${how}`);
      assertSameEntries(withoutTimes(is), withoutTimes(unpacked), `dpkg, ${how}`);
    }
  },
});

const debian = alsoDebian(needs("mmdebstrap", "umoci", "buildah"));

Deno.test({
  name: `a root file system of mmdebstrap is what tar, umoci and buildah show${debian.suffix}`,
  ignore: debian.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const archive = dir.join("debian.tar");
    const how = ["--quiet", "--variant=extract", "--include=base-files"];
    await tool(dir, "mmdebstrap", ...how, SUITE, archive, HOST);
    const { id, entries } = await imported(dir, archive);
    assert(entries > 200, `it has only ${entries} entries`);
    const is = await renderedEntries(dir, id);
    await Deno.mkdir(dir.join("unpacked"));
    const xattrs = ["--xattrs", "--xattrs-include=*", "--delay-directory-restore"];
    await sh("tar", ...xattrs, "--numeric-owner", "-C", dir.join("unpacked"), "-xpf", archive);
    assertSameEntries(is, await entriesOf(dir.join("unpacked")), "tar");
    const image = await UmociImage.make(dir);
    await image.add(archive);
    assertSameEntries(is, await image.entries(), "umoci");
    const shown = await new Buildah(dir, "overlay").entries(`oci:${image.layout}:latest`);
    assertSameEntries(withoutRoot(is), shown, "buildah");
  },
});
