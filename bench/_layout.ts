/**
 * Images as OCI image layouts: of the tree, in one layer, and of many small layers.
 *
 * @module
 */
import { hexDigest } from "../lib/core/digest.ts";
import { formatEntry, padding, textToBytes } from "../lib/tar/tar_entry.ts";
import type { TarEntry } from "../lib/tar/tar_entry.ts";
import { must } from "./_measure.ts";
import { ARCHITECTURES } from "./_tree.ts";

/** The reference of the image in a layout. */
export const REF = "base";

/** An OCI image layout. */
export interface Layout {
  /** The directory. */
  readonly path: string;
  /** The blob of each layer, the lowest first: an archive with gzip. */
  readonly layers: readonly string[];
}

interface Layer {
  readonly digest: string;
  readonly size: number;
  readonly diffId: string;
}

const PREFIX = "application/vnd.oci.image";

async function sha256(content: Uint8Array<ArrayBuffer>): Promise<string> {
  return `sha256:${await hexDigest("SHA-256", content)}`;
}

function blobOf(path: string, digest: string): string {
  return `${path}/blobs/${digest.replace(":", "/")}`;
}

async function addBlob(path: string, content: Uint8Array<ArrayBuffer>): Promise<Descriptor> {
  const digest = await sha256(content);
  await Deno.writeFile(blobOf(path, digest), content);
  return { digest, size: content.length };
}

type Descriptor = Omit<Layer, "diffId">;

async function addJson(path: string, mediaType: string, value: unknown): Promise<unknown> {
  const blob = await addBlob(path, new TextEncoder().encode(JSON.stringify(value)));
  return { mediaType: `${PREFIX}.${mediaType}+json`, ...blob };
}

/** Writes all of a layout that is not a layer. */
async function writeImage(path: string, layers: readonly Layer[]): Promise<Layout> {
  const config = await addJson(path, "config.v1", {
    architecture: ARCHITECTURES[Deno.build.arch],
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
  });
  const manifest = await addJson(path, "manifest.v1", {
    schemaVersion: 2,
    mediaType: `${PREFIX}.manifest.v1+json`,
    config,
    layers: layers.map(({ digest, size }) => {
      return { mediaType: `${PREFIX}.layer.v1.tar+gzip`, digest, size };
    }),
  });
  const annotations = { "org.opencontainers.image.ref.name": REF };
  const index = { schemaVersion: 2, manifests: [{ ...manifest as object, annotations }] };
  await Deno.writeTextFile(`${path}/index.json`, JSON.stringify(index));
  await Deno.writeTextFile(`${path}/oci-layout`, JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  return { path, layers: layers.map(({ digest }) => blobOf(path, digest)) };
}

async function digestOf(path: string): Promise<string> {
  return `sha256:${(await must(["sha256sum", path])).slice(0, 64)}`;
}

/** Lists paths after the directories that they lie in, as the layers of real images do. */
function withParents(paths: readonly string[]): readonly string[] {
  const parents = (path: string) => path.split("/").map((_, at, all) => all.slice(0, at).join("/"));
  return [...new Set(paths.flatMap((path) => [...parents(path).filter(Boolean), path]))];
}

/** Adds a layer with these paths of a directory. */
async function addLayer(path: string, tree: string, paths: readonly string[]): Promise<Layer> {
  const archive = `${path}/layer.tar`;
  const list = `${path}/layer.list`;
  await Deno.writeTextFile(list, paths.map((one) => `${one}\0`).join(""));
  const from = ["--null", "--no-recursion", `--files-from=${list}`];
  await must(["tar", `--directory=${tree}`, "--create", `--file=${archive}`, ...from]);
  const diffId = await digestOf(archive);
  await must(["gzip", archive]);
  const digest = await digestOf(`${archive}.gz`);
  await Deno.rename(`${archive}.gz`, blobOf(path, digest));
  const { size } = await Deno.stat(blobOf(path, digest));
  await Deno.remove(list);
  return { digest, size, diffId };
}

/** Makes an image of the tree. Its files are spread over the layers, in their order. */
export async function makeLayout(tree: string, path: string, count = 1): Promise<Layout> {
  await Deno.mkdir(`${path}/blobs/sha256`, { recursive: true });
  const all = (await must(["sh", "-c", 'cd "$0" && find . -print0', tree])).split("\0");
  const each = Math.ceil(all.length / count);
  const layers: Layer[] = [];
  for (let at = 0; at < count; at++) {
    const paths = all.slice(at * each, (at + 1) * each).filter((one) => one !== "");
    layers.push(await addLayer(path, tree, withParents(paths)));
  }
  return await writeImage(path, layers);
}

/** An entry of root. */
export function entry(name: string, fields: Partial<TarEntry>): TarEntry {
  return {
    ...{ name, type: "file", mode: 0o755, uid: 0, gid: 0, size: 0, mtime: "1000000000" },
    ...{ link: "", device: [0, 0], attributes: new Map() },
    ...fields,
  };
}

/** The archive of a layer that has a directory of all layers, and in it a file of its own. */
function smallArchive(number: number): Uint8Array<ArrayBuffer> {
  const content = textToBytes(`of layer ${number}\n`);
  const blocks = [
    ...formatEntry(entry("./", { type: "directory" })),
    ...formatEntry(entry("./all/", { type: "directory" })),
    ...formatEntry(entry(`./all/file-${number}`, { size: content.length })),
    content,
    new Uint8Array(padding(content.length) + 1024),
  ];
  return Uint8Array.from(blocks.flatMap((block) => [...block]));
}

async function gzip(content: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([content]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Makes an image of many small layers. */
export async function makeManyLayers(count: number, path: string): Promise<Layout> {
  await Deno.mkdir(`${path}/blobs/sha256`, { recursive: true });
  const layers: Layer[] = [];
  for (let number = 0; number < count; number++) {
    const archive = smallArchive(number);
    const blob = await addBlob(path, await gzip(archive));
    layers.push({ ...blob, diffId: await sha256(archive) });
  }
  return await writeImage(path, layers);
}
