/**
 * Which image is imported, under which name, and what is said of it.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { OverlayError, planRender } from "../../mod.ts";
import { getOwnPlatform, listRunnable, measureDistance } from "../../lib/image/platform.ts";
import { chooseName, expandName, findNamed } from "../../lib/image/reference.ts";
import { importTree, listTreesSync, resolveTreeSync, treePathSync } from "../../lib/store/tree.ts";
import type { ImportRequest } from "../../lib/store/tree.ts";
import { archive, archiveOfFiles, digestOf, file, layoutFiles, savedFiles } from "../_archive.ts";
import type { Files, Json } from "../_archive.ts";
import { runMain } from "../_main.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { namesIn } from "../_tree.ts";

Deno.test("expandName() reads a name as docker does", { permissions: "none" }, () => {
  const table = {
    "debian": "docker.io/library/debian:latest",
    "debian:12": "docker.io/library/debian:12",
    "index.docker.io/library/debian:12": "docker.io/library/debian:12",
    "docker.io/debian": "docker.io/library/debian:latest",
    "me/app": "docker.io/me/app:latest",
    "me/app/part:1": "docker.io/me/app/part:1",
    "localhost/app": "localhost/app:latest",
    "localhost:5000/app:1": "localhost:5000/app:1",
    "host:5000/app": "host:5000/app:latest",
    "quay.io/app": "quay.io/app:latest",
    "[::1]:5000/app:1": "[::1]:5000/app:1",
    "debian@sha256:ab": "docker.io/library/debian@sha256:ab",
    "debian:12@sha256:ab": "docker.io/library/debian:12@sha256:ab",
  };
  for (const [name, full] of Object.entries(table)) assertEquals(expandName(name), full);
});

Deno.test("findNamed() prefers the very name, and takes digests", { permissions: "none" }, () => {
  const digest = (sign: string) => `sha256:${sign.repeat(64)}`;
  const one = { names: ["docker.io/library/debian:12", "12"], digest: digest("1") };
  const two = { names: ["debian:12"], digest: digest("2") };
  const three = { names: [], digest: digest("3") };
  const all = [one, two, three];
  const table: readonly [ref: string, found: readonly unknown[]][] = [
    ["debian:12", [two]],
    ["12", [one]],
    ["index.docker.io/debian:12", [one, two]],
    ["debian", []],
    [digest("3"), [three]],
    [`@${digest("1")}`, [one]],
    [`debian@${digest("2")}`, [two]],
    [`debian:12@${digest("1")}`, [one]],
    [`debian:11@${digest("1")}`, []],
    [`debian:12@${digest("3")}`, [three]],
    [`other@${digest("1")}`, []],
  ];
  for (const [ref, found] of table) assertEquals(findNamed(all, ref), found, ref);
  assertEquals(chooseName(one.names, "debian:12"), "docker.io/library/debian:12");
  assertEquals([chooseName(one.names, "12"), chooseName([], "a"), chooseName([], undefined)], [
    "12",
    null,
    null,
  ]);
});

Deno.test(
  "measureDistance() says which platform serves where another is wanted",
  { permissions: "none" },
  () => {
    const table: readonly [platform: string, wanted: string, far: number | null][] = [
      ["linux/amd64", "linux/amd64", 0],
      ["linux/x86_64", "linux/amd64", 0],
      ["linux/amd64/v1", "linux/amd64", 0],
      ["linux/amd64", "linux/amd64/v3", 2],
      ["linux/amd64/v3", "linux/amd64", Infinity],
      ["linux/amd64/v3", "linux/amd64/v2", null],
      ["linux/arm64/v8", "linux/arm64", 0],
      ["linux/arm64", "linux/arm64/v8", 0],
      ["linux/aarch64/8", "linux/arm64", 0],
      ["linux/arm/v7", "linux/arm", 0],
      ["linux/arm/v6", "linux/arm/v7", 1],
      ["linux/arm/v5", "linux/arm/v7", 2],
      ["linux/armel", "linux/arm/v7", 1],
      ["linux/arm/v7", "linux/arm/v6", null],
      ["linux/arm64", "linux/amd64", null],
      ["windows/amd64", "linux/amd64", null],
      ["linux/riscv64", "linux/riscv64", 0],
    ];
    for (const [platform, wanted, far] of table) {
      assertEquals(measureDistance(platform, wanted), far);
    }
    assertEquals(listRunnable("linux/riscv64"), ["linux/riscv64"]);
    assertEquals(listRunnable("linux/arm64").slice(0, 2), ["linux/arm64", "linux/arm/v8"]);
  },
);

/** An image of one layer, which holds a file of this name. */
function layoutOf(name: string, platform = getOwnPlatform()): Files {
  const [os, architecture, variant] = platform.split("/");
  const layers = [{ tar: archive(file(name)) }];
  const is = { os, architecture, ...(variant === undefined ? {} : { variant }) };
  return layoutFiles(layers, { config: (was) => ({ ...was, ...is }) });
}

function manifestOf(files: Files): Json {
  return JSON.parse(new TextDecoder().decode(files.get("index.json"))).manifests[0];
}

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** A layout of several images, as an archive, and what is to be said of each. */
async function makeLayouts(
  dir: TempDir,
  images: readonly { readonly files: Files; readonly said: Json }[],
  change = (manifests: readonly Json[], _files: Files): readonly Json[] => manifests,
): Promise<string> {
  const files: Files = new Map(images.flatMap(({ files }) => [...files]));
  const manifests = images.map(({ files, said }) => ({ ...manifestOf(files), ...said }));
  files.set("index.json", encode({ schemaVersion: 2, manifests: change(manifests, files) }));
  const source = dir.join(`layout-${digestOf(files.get("index.json") ?? new Uint8Array())}`);
  await Deno.writeFile(source, archiveOfFiles(files));
  return source;
}

const REF = "org.opencontainers.image.ref.name";

function called(name: string): Json {
  return { annotations: { [REF]: name } };
}

/** An import, the file that the image has, and what was said. */
async function take(
  request: ImportRequest,
): Promise<
  { readonly file: string; readonly image: string | null; readonly said: readonly string[] }
> {
  const said: string[] = [];
  const { id, image } = await importTree(request, { warn: (text) => void said.push(text) });
  const store = request.store ?? "";
  const [lower = ""] = treePathSync({ tree: id, store });
  const [file = ""] = await namesIn(`${lower}/.`);
  return { file, image, said };
}

Deno.test("of several images none is taken, and those that match are listed", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const one = layoutOf("one");
  const two = layoutOf("two");
  const source = await makeLayouts(dir, [
    { files: one, said: called("debian:12") },
    { files: one, said: called("debian:latest") },
    { files: two, said: called("debian:11") },
  ]);
  const error = await assertRejects(() => importTree({ source, store }), OverlayError);
  assertEquals(error.code, "bad-image");
  assertStringIncludes(error.message, '2 images match: "debian:12"');
  assertStringIncludes(error.message, '"debian:11"');
  assertEquals(error.hint, "choose one with --ref, such as --ref debian:12");
  const full = { source, store, ref: "docker.io/library/debian:11" };
  assertEquals(await take(full), { file: "two", image: "debian:11", said: [] });
  assertEquals((await take({ source, store, ref: "debian" })).file, "one");
  const ref = String(manifestOf(two).digest);
  assertEquals((await take({ source, store, ref })).file, "two");
  const wrong = `debian:12@${ref}`;
  const none = await assertRejects(() => importTree({ source, store, ref: wrong }), OverlayError);
  assertStringIncludes(none.hint ?? "", 'it has "debian:12"');
});

Deno.test("of several images that docker has saved those that match are listed", async () => {
  await using dir = await tempDir();
  const [store, source] = [dir.join("store"), dir.join("saved")];
  const parts = ["one", "two", "three"].map((name) => {
    const files = savedFiles([{ tar: archive(file(name)) }], {
      manifest: (was) => ({
        ...was,
        RepoTags: name === "one" ? null : [`${name}:1`],
        Layers: [`${name}.tar`],
      }),
    });
    files.set(`${name}.tar`, files.get("0/layer.tar") ?? new Uint8Array());
    return files;
  });
  const manifest = parts.flatMap((files) => {
    return JSON.parse(new TextDecoder().decode(files.get("manifest.json")));
  });
  const files: Files = new Map(parts.flatMap((part) => [...part]));
  files.set("manifest.json", encode(manifest));
  await Deno.writeFile(source, archiveOfFiles(files));
  const error = await assertRejects(() => importTree({ source, store }), OverlayError);
  assertStringIncludes(error.message, "3 images match: ");
  assertStringIncludes(error.message, '"two:1", "three:1"');
  const given = { source, store, ref: "docker.io/library/three:1" };
  assertEquals(await take(given), { file: "three", image: "three:1", said: [] });
  const [, hex] = /"([0-9a-f]{64})\.json"/.exec(JSON.stringify(manifest[0])) ?? [];
  assertEquals((await take({ source, store, ref: `sha256:${hex}` })).file, "one");
});

Deno.test("an image is rendered by its name in short and in full", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const name = "docker.io/library/debian:12";
  const annotations = { "io.containerd.image.name": name, [REF]: "12" };
  const source = await makeLayouts(dir, [{ files: layoutOf("a"), said: { annotations } }]);
  const { id } = await importTree({ source, store });
  for (const image of [name, "debian:12", "index.docker.io/debian:12"]) {
    const plan = planRender(resolveTreeSync({ image, store, pod: "/p" }));
    assertEquals(plan.mounts[0].tree, id);
    assertEquals((await runMain(["tree", "path", "--store", store, image])).status, 0);
  }
});

Deno.test("a name that an image takes from another one is said", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const [one, two] = await Promise.all(["one", "two"].map((name) => {
    return makeLayouts(dir, [{ files: layoutOf(name), said: called("debian:12") }]);
  }));
  const first = await importTree({ source: one ?? "", store });
  assertEquals((await take({ source: one ?? "", store })).said, [], "it is the same image");
  const moved = await take({ source: two ?? "", store, name: "docker.io/library/debian:12" });
  assertEquals(moved.said, [
    `the name "docker.io/library/debian:12" was that of the tree ${first.id}, which has lost it`,
  ]);
  const trees = listTreesSync({ store });
  assertEquals(trees.find(({ id }) => id === first.id)?.images, []);
  const back = await runMain(["tree", "import", one ?? "", "--store", store]);
  assertStringIncludes(back.stderr, 'warning: the name "debian:12" was that of the tree ');
});

Deno.test("a name that an image gives itself is left out if nobody could give it", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  for (const name of ["a b", "\x1b[2J", "x".repeat(1001), ""]) {
    const source = await makeLayouts(dir, [{ files: layoutOf("a"), said: called(name) }]);
    const { image, said } = await take({ source, store });
    assertEquals([image, said.length], [null, 1], name);
    assert((said[0]?.length ?? 0) < 400);
  }
});

Deno.test("an image for another machine is said, and taken if it is the only one", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const own = getOwnPlatform();
  const other = own === "linux/arm64" ? "linux/amd64" : "linux/arm64";
  const source = await makeLayouts(dir, [{ files: layoutOf("a", other), said: {} }]);
  const warning =
    `the image is for ${other}, and this machine is ${own}: its programs may not run ` +
    "here";
  assertEquals((await take({ source, store })).said, [warning]);
  assertEquals((await take({ source, store, platform: other })).said, []);
  const [os, architecture] = other.split("/");
  const platform = { platform: { os, architecture } };
  const said = await makeLayouts(dir, [{ files: layoutOf("a", other), said: platform }]);
  assertEquals((await take({ source: said, store })).said, [warning]);
  const twice = await makeLayouts(dir, [
    { files: layoutOf("a", other), said: platform },
    { files: layoutOf("b", "linux/s390x"), said: { platform: { os, architecture: "s390x" } } },
  ]);
  const error = await assertRejects(() => importTree({ source: twice, store }), OverlayError);
  assertStringIncludes(error.message, `it has no image for ${JSON.stringify(own)}`);
  assertEquals(error.hint, `it has "${other}", "linux/s390x"; choose with --platform`);
  const saved = dir.join("saved");
  const config = (was: Json) => ({ ...was, os, architecture });
  await Deno.writeFile(
    saved,
    archiveOfFiles(savedFiles([{ tar: archive(file("c")) }], { config })),
  );
  assertEquals((await take({ source: saved, store })).said, [warning]);
});

Deno.test("the exact platform goes before a compatible one, in whatever order", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const platforms = ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64/v8"];
  const images = platforms.map((platform) => {
    const [os, architecture, variant] = platform.split("/");
    const said = { platform: { os, architecture, variant } };
    return { files: layoutOf(`is-${architecture}${variant}`, platform), said };
  });
  const table = {
    "linux/arm/v7": "is-armv7",
    "linux/arm": "is-armv7",
    "linux/arm/v6": "is-armv6",
    "linux/arm/v8": "is-armv7",
    "linux/arm64": "is-arm64v8",
    "linux/aarch64": "is-arm64v8",
  };
  for (const all of [images, images.toReversed()]) {
    // The index of an image in the index of a layout, as docker and buildx write it.
    const source = await makeLayouts(dir, all, (manifests, files) => {
      const index = encode({ schemaVersion: 2, manifests });
      const digest = digestOf(index);
      files.set(`blobs/${digest.replace(":", "/")}`, index);
      const mediaType = "application/vnd.oci.image.index.v1+json";
      return [{ mediaType, digest, size: index.length, ...called("multi") }];
    });
    for (const [platform, file] of Object.entries(table)) {
      const taken = await take({ source, store, platform });
      assertEquals([taken.file, taken.image], [file, "multi"], platform);
    }
  }
});

Deno.test("the config of an image is kept as it came, however it is written", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  let value: unknown = {};
  for (let at = 0; at < 150; at++) value = Array.from({ length: 1 }, () => value);
  const wide = Array.from({ length: 3000 }, () => value);
  const config = (was: Json) => ({ ...was, config: { Labels: { wide } } });
  const files = layoutFiles([{ tar: archive(file("a")) }], { config });
  const source = dir.join("image");
  await Deno.writeFile(source, archiveOfFiles(files));
  const { id } = await importTree({ source, store, name: "deep" });
  const manifest = await Deno.readTextFile(`${store}/tree/${id}/manifest`);
  const [is] = [...files.values()].map((content) => new TextDecoder().decode(content))
    .filter((text) => text.includes("wide"));
  assert(is !== undefined && is.length > 900_000);
  assertEquals(JSON.parse(manifest).images[0].config, is);
  assert(manifest.length < 1.2 * is.length, `it has ${manifest.length} bytes`);
});

Deno.test("a layer that an image has several times is unpacked once", async () => {
  await using dir = await tempDir();
  const [store, source] = [dir.join("store"), dir.join("image")];
  // One is the same everywhere; what the other is like depends on what lies below.
  const same = { tar: archive(file("same")) };
  const fitted = { tar: archive(file("etc/fitted")) };
  const layers = [same, ...Array.from({ length: 50 }, () => fitted)].concat(
    Array.from({ length: 50 }, () => same),
  );
  await Deno.writeFile(source, archiveOfFiles(layoutFiles(layers)));
  const unpacked: number[] = [];
  const tree = await importTree({ source, store }, {
    onUnpacked: (layer) => void unpacked.push(layer),
  });
  assertEquals([unpacked.sort(), tree.layers, tree.entries, tree.changed], [[0, 1], 101, 2, true]);
  const have: number[] = [];
  const again = await importTree({ source, store }, { onHave: (layer) => void have.push(layer) });
  assertEquals([again, have.length], [{ ...tree, changed: false }, 101]);
  assertEquals(treePathSync({ tree: tree.id, store }).length, 2);
});
