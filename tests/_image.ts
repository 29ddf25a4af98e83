/**
 * Images to import, made of directories with GNU tar.
 *
 * @module
 */
import { digestOf } from "./_archive.ts";
import { isRealRoot } from "./_privilege.ts";
import { sh } from "./_temp.ts";

/** What an import is told in these tests: in a user namespace the marks are user attributes. */
export const ATTRIBUTES: { readonly userxattr: boolean } = { userxattr: !isRealRoot };

/** The same as flags. */
export const ATTRIBUTE_FLAGS: readonly string[] = isRealRoot ? [] : ["--userxattr"];

async function putBlob(layout: string, content: Uint8Array): Promise<Record<string, unknown>> {
  const digest = digestOf(content);
  await Deno.writeFile(`${layout}/blobs/${digest.replace(":", "/")}`, content);
  return { digest, size: content.length };
}

/** A file of a layer: its path, and its content; a path with a slash at its end is a directory. */
export type LayerFiles = Readonly<Record<string, string | Uint8Array>>;

/** Makes the archive of a layer, with all that lies above its files, and its whiteouts as they are named. */
export async function layerArchive(directory: string, files: LayerFiles): Promise<Uint8Array> {
  for (const [path, content] of Object.entries(files)) {
    const at = `${directory}/${path}`;
    await Deno.mkdir(at.slice(0, at.lastIndexOf("/")), { recursive: true });
    if (path.endsWith("/")) continue;
    if (typeof content === "string") await Deno.writeTextFile(at, content);
    else await Deno.writeFile(at, content);
  }
  const to = `${directory}.tar`;
  const how = ["--sort=name", "--mtime=@1000000000", "--owner=0", "--group=0", "--numeric-owner"];
  await sh("tar", "--create", `--file=${to}`, ...how, `--directory=${directory}`, ".");
  return await Deno.readFile(to);
}

async function gzip(content: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([content.slice()]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Makes an OCI image layout of layers, the lowest first. */
export async function makeLayout(
  layout: string,
  archives: readonly Uint8Array[],
  name = "test",
): Promise<string> {
  await Deno.mkdir(`${layout}/blobs/sha256`, { recursive: true });
  const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const layers = [];
  for (const archive of archives) {
    const mediaType = "application/vnd.oci.image.layer.v1.tar+gzip";
    layers.push({ mediaType, ...await putBlob(layout, await gzip(archive)) });
  }
  const rootfs = { type: "layers", diff_ids: archives.map(digestOf) };
  const config = { architecture: "amd64", os: "linux", config: { Env: ["A=b"] }, rootfs };
  const manifest = {
    schemaVersion: 2,
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      ...await putBlob(layout, encode(config)),
    },
    layers,
  };
  const descriptor = {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    ...await putBlob(layout, encode(manifest)),
    annotations: { "org.opencontainers.image.ref.name": name },
  };
  const index = `${layout}/index.json`;
  const before = await Deno.readTextFile(index).then(JSON.parse, () => ({ manifests: [] }));
  const manifests = [...before.manifests, descriptor];
  await Deno.writeFile(index, encode({ schemaVersion: 2, manifests }));
  await Deno.writeFile(`${layout}/oci-layout`, encode({ imageLayoutVersion: "1.0.0" }));
  return layout;
}

/** A small image of two layers: the upper one changes, removes and hides what is in the lower one. */
export async function smallImage(dir: { join(...names: string[]): string }): Promise<string> {
  const base = await layerArchive(dir.join("base"), {
    "file": "from the base",
    "gone": "to be removed",
    "etc/motd": "welcome",
    "hidden/old": "not to be seen",
  });
  const top = await layerArchive(dir.join("top"), {
    "file": "from the top",
    ".wh.gone": "",
    "hidden/.wh..wh..opq": "",
    "hidden/new": "to be seen",
  });
  return await makeLayout(dir.join("layout"), [base, top]);
}
