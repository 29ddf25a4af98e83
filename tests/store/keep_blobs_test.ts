/**
 * The original blobs of images, which `--keep-blobs` keeps in the store.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { exists } from "@std/fs/exists";
import { OverlayError } from "../../lib/core/errors.ts";
import { composeImage } from "../../lib/image/compose_image.ts";
import { listBlobs, readManifest } from "../../lib/image/manifest.ts";
import { importImage } from "../../lib/store/import_image.ts";
import { importInto } from "../../lib/store/import_tree.ts";
import { storeLayout } from "../../lib/store/layout.ts";
import { checkTrees, collectTrees, importTree, removeTree } from "../../lib/store/tree.ts";
import { findTree } from "../../lib/store/tree_manifest.ts";
import type { StoredImage } from "../../lib/store/tree_manifest.ts";
import { archive, archiveOfFiles, digestOf, file, gzip, layoutFiles } from "../_archive.ts";
import { savedFiles, writeFiles } from "../_archive.ts";
import type { RawLayer } from "../_archive.ts";
import { ATTRIBUTES } from "../_image.ts";
import { runMain } from "../_main.ts";
import { modeOf, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

const LAYERS: readonly RawLayer[] = [
  { tar: archive(file("lower", "from the lower layer")) },
  { tar: archive(file("upper", "from the upper layer")) },
];

/** The digests of the blobs in a store. */
async function keptIn(store: string): Promise<readonly string[]> {
  const directory = `${store}/blob/sha256`;
  if (!await exists(directory)) return [];
  return (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => `sha256:${name}`)
    .sort();
}

function imageIn(store: string, tree: string): StoredImage {
  const [image] = findTree(storeLayout(store), tree).images;
  assert(image !== undefined);
  return image;
}

async function layout(dir: TempDir, name: string, layers = LAYERS): Promise<string> {
  await writeFiles(dir.join(name), layoutFiles(layers));
  return dir.join(name);
}

Deno.test("tree import --keep-blobs keeps the layers and the config, byte by byte", async () => {
  await using dir = await tempDir();
  const [source, store] = [await layout(dir, "layout"), dir.join("store")];
  const flags = ATTRIBUTES.userxattr ? ["--userxattr"] : [];
  const args = ["tree", "import", source, "--store", store, "--keep-blobs", "--name", "mine"];
  const { status, stderr } = await runMain([...args, ...flags, "--quiet"]);
  assertEquals([status, stderr], [0, ""]);

  const image = imageIn(store, "mine");
  assert(image.manifest !== undefined);
  const { mediaType, text } = image.manifest;
  assertEquals(mediaType, "application/vnd.oci.image.manifest.v1+json");
  assertEquals(digestOf(new TextEncoder().encode(text)), image.digest);
  const digests = listBlobs(image.manifest);
  assertEquals([...digests].sort(), await keptIn(store));
  assertEquals(image.blobs, digests);
  for (const digest of digests) {
    const path = `${store}/blob/${digest.replace(":", "/")}`;
    assertEquals(digestOf(await Deno.readFile(path)), digest);
    assertEquals(modeOf(path), "0600");
  }
  assertEquals([modeOf(`${store}/blob`), modeOf(`${store}/blob/sha256`)], ["0700", "0700"]);
  assertEquals(await collectTrees({ store }), { trees: [], layers: [], blobs: [] });
});

Deno.test("an import without --keep-blobs keeps none, and names those that are there", async () => {
  await using dir = await tempDir();
  const [source, store] = [await layout(dir, "layout"), dir.join("store")];
  const request = { source, store, name: "mine", ...ATTRIBUTES };
  await importTree(request);
  assertEquals([await exists(`${store}/blob`), imageIn(store, "mine").blobs], [false, undefined]);

  // The layers are in the store, so that their blobs are only copied.
  const { changed } = await importTree({ ...request, keepBlobs: true });
  assertEquals([changed, (await keptIn(store)).length], [false, 3]);

  await importTree(request);
  assertEquals(imageIn(store, "mine").blobs?.length, 3);
});

Deno.test("the blobs of docker save and of a plain archive get a manifest of the OCI", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const [{ tar = new Uint8Array() } = {}] = LAYERS;
  const saved = dir.join("saved.tar");
  await Deno.writeFile(saved, archiveOfFiles(savedFiles(LAYERS)));
  const [plain, packed] = [dir.join("plain.tar"), dir.join("packed.tar.gz")];
  await Deno.writeFile(plain, tar);
  await Deno.writeFile(packed, gzip(tar));
  const type = "application/vnd.oci.image.layer.v1.tar";
  const expected = [
    [saved, LAYERS.map(({ tar }) => [type, digestOf(tar)])],
    [plain, [[type, digestOf(tar)]]],
    [packed, [[`${type}+gzip`, digestOf(gzip(tar))]]],
  ] as const;
  for (const [source, layers] of expected) {
    await importTree({ source, store, name: "mine", keepBlobs: true, ...ATTRIBUTES });
    const { manifest } = imageIn(store, "mine");
    assert(manifest !== undefined);
    const blobs = readManifest(manifest);
    assertEquals(blobs.layers.map(({ mediaType, digest }) => [mediaType, digest]), layers);
    const config = await Deno.readFile(`${store}/blob/${blobs.config.digest.replace(":", "/")}`);
    assertEquals(
      JSON.parse(new TextDecoder().decode(config)).rootfs.diff_ids,
      source === saved ? LAYERS.map(({ tar }) => digestOf(tar)) : [digestOf(tar)],
    );
    for (const { digest, size } of blobs.layers) {
      const path = `${store}/blob/${digest.replace(":", "/")}`;
      assertEquals((await Deno.stat(path)).size, size);
    }
  }
});

Deno.test("tree remove takes the blobs that no other image has, and tree gc those of lost names", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const [lower] = LAYERS;
  const both = await layout(dir, "both");
  const one = await layout(dir, "one", lower === undefined ? [] : [lower]);
  await importTree({ source: both, store, name: "both", keepBlobs: true, ...ATTRIBUTES });
  await importTree({ source: one, store, name: "one", keepBlobs: true, ...ATTRIBUTES });
  const [all, kept] = [await keptIn(store), imageIn(store, "one").blobs ?? []];
  assertEquals([all.length, kept.length], [4, 2]);

  const removed = await removeTree({ store, tree: "both" });
  assertEquals([...removed.blobs].sort(), all.filter((digest) => !kept.includes(digest)));
  assertEquals(await keptIn(store), [...kept].sort());

  // Another image takes the name, so that no image names the blobs any more.
  const plain = dir.join("plain.tar");
  await Deno.writeFile(plain, archive(file("other", "image")));
  await importTree({ source: plain, store, name: "one", ...ATTRIBUTES });
  const planned = await runMain(["tree", "gc", "--store", store, "--dry-run"]);
  const collected = await collectTrees({ store });
  assertEquals([...collected.blobs].sort(), [...kept].sort());
  for (const digest of kept) {
    assertStringIncludes(planned.stdout, ` ${store}/blob/${digest.replace(":", "/")} `);
  }
  assertEquals(await keptIn(store), []);
});

Deno.test("tree gc keeps all blobs while the manifest of a tree is damaged", async () => {
  await using dir = await tempDir();
  const [source, store] = [await layout(dir, "layout"), dir.join("store")];
  const { id } = await importTree({ source, store, keepBlobs: true, ...ATTRIBUTES });
  await Deno.writeTextFile(`${store}/tree/${id}/manifest`, "{");
  await collectTrees({ store });
  assertEquals((await keptIn(store)).length, 3);
});

Deno.test("tree check finds a blob that is gone, and one that was changed", async () => {
  await using dir = await tempDir();
  const [source, store] = [await layout(dir, "layout"), dir.join("store")];
  const { id } = await importTree({ source, store, keepBlobs: true, ...ATTRIBUTES });
  const differences = async (quick = false) => {
    const [tree] = await checkTrees({ store, tree: id, quick });
    return tree?.differences.map(({ what }) => what);
  };
  assertEquals(await differences(), []);
  const [first = "", second = ""] = imageIn(store, id).blobs ?? [];
  await Deno.remove(`${store}/blob/${first.replace(":", "/")}`);
  await Deno.writeTextFile(`${store}/blob/${second.replace(":", "/")}`, "x");
  const gone = `the blob ${first} is gone`;
  const is = digestOf(new TextEncoder().encode("x"));
  assertEquals(await differences(), [gone, `the blob ${second} has the digest ${is}`]);
  assertEquals(await differences(true), [gone]);
});

Deno.test("an import that fails keeps no blob, at whichever step", async () => {
  await using dir = await tempDir();
  const [source, store] = [await layout(dir, "layout"), dir.join("store")];
  const request = { source, store, keepBlobs: true, ...ATTRIBUTES };
  for (const last of ["unpacked", "layer", "blobs", "manifest"]) {
    const checkpoint = (step: string) => {
      if (step === last) throw new Error("stopped");
    };
    await assertRejects(() => importTree(request, { checkpoint }), Error, "stopped");
    assertEquals(await exists(`${store}/blob`), false, last);
  }
});

Deno.test("a blob with another digest is refused, also of a layer that the store has", async () => {
  await using dir = await tempDir();
  const [source, store] = [await layout(dir, "layout"), dir.join("store")];
  await importTree({ source, store, ...ATTRIBUTES });
  const blobs = `${source}/blobs/sha256`;
  const [lower] = LAYERS;
  assert(lower !== undefined);
  const digest = digestOf(gzip(lower.tar));
  await Deno.writeFile(`${blobs}/${digest.slice(7)}`, new Uint8Array(gzip(lower.tar).length));
  const before = await snapshot(store);
  const error = await assertRejects(
    () => importTree({ source, store, keepBlobs: true, ...ATTRIBUTES }),
    OverlayError,
    "must be " + digest,
  );
  assertEquals(error.code, "bad-digest");
  assertEquals(await snapshot(store), before);
});

Deno.test("a composed image is stored with its new layer; the layers below need no bytes", async () => {
  await using dir = await tempDir();
  const [source, store] = [await layout(dir, "layout"), dir.join("store")];
  await importTree({ source, store, name: "base", ...ATTRIBUTES });
  const base = imageIn(store, "base");
  assert(base.manifest !== undefined);
  const tar = archive(file("new", "from the new layer"));
  const path = dir.join("layer.tar.gz");
  await Deno.writeFile(path, gzip(tar));
  const below = readManifest(base.manifest).layers.map((descriptor, at) => {
    return { descriptor, diffId: digestOf(LAYERS[at]?.tar ?? new Uint8Array()), path: null };
  });
  const descriptor = {
    mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip",
    digest: digestOf(gzip(tar)),
    size: gzip(tar).length,
  };
  const layers = [...below, { descriptor, diffId: digestOf(tar), path }];
  const config = JSON.stringify({ rootfs: { diff_ids: layers.map(({ diffId }) => diffId) } });
  const image = await composeImage({ name: "composed", config, layers });

  const request = { source: "-", store, keepBlobs: true, ...ATTRIBUTES };
  const tree = await importInto(request, {}, (parsed, options) => {
    return importImage(image, parsed, options);
  });

  assertEquals([tree.layers, tree.changed], [3, true]);
  const { manifest, blobs } = imageIn(store, "composed");
  assert(manifest !== undefined);
  const { config: described, layers: all } = readManifest(manifest);
  assertEquals(blobs, [described.digest, descriptor.digest]);
  assertEquals(all.at(-1)?.mediaType, "application/vnd.oci.image.layer.v1.tar+gzip");
  assertEquals((await checkTrees({ store, tree: tree.id }))[0]?.differences, []);
});
