/**
 * An image in an OCI image layout, by the OCI image specification: the index, the manifest of the image
 * that is meant, its config, and where its layers are.
 *
 * Requires `--allow-read` permission for the layout.
 *
 * @module
 */
import {
  checkPlatform,
  diffIdsOf,
  digestLike,
  digestOf,
  imageError,
  isPlatform,
  listOf,
  objectOf,
  parseJson,
  platformOf,
  readSmall,
  textOf,
} from "./image.ts";
import type { Image, ImageChoice, ImageFiles, Json } from "./image.ts";
import { quote } from "./quote.ts";

/** The annotations that name an image: of the specification, and the full name that containerd writes. */
const REF = "org.opencontainers.image.ref.name";
const FULL_NAME = "io.containerd.image.name";

const INDEX = "index.json";

/** Indexes in indexes are allowed, without end. */
const DEPTH_MAX = 4;

/** What an index says of something: a descriptor that is known to be one. */
interface Descriptor {
  readonly digest: string;
  readonly size: number;
  readonly isIndex: boolean;
  readonly platform: string | null;
  readonly names: readonly string[];
}

function descriptorOf(files: ImageFiles, where: string, value: unknown): Descriptor {
  const { digest, size, mediaType, platform, annotations = {} } = objectOf(files, where, value);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw imageError(files.path, `its ${where}.size is no size`);
  }
  const named = objectOf(files, `${where}.annotations`, annotations);
  const names = [named[FULL_NAME], named[REF]].filter((name) => typeof name === "string");
  return {
    digest: digestOf(files, `${where}.digest`, digest),
    size,
    isIndex: /image\.index|manifest\.list/.test(String(mediaType)),
    platform: platform === undefined
      ? null
      : platformOf(objectOf(files, `${where}.platform`, platform)),
    names,
  };
}

function blobName(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

async function readBlob(files: ImageFiles, { digest, size }: Descriptor): Promise<unknown> {
  const name = blobName(digest);
  const content = readSmall(files, name);
  if (content.length !== size) {
    const reason = `its blob ${quote(digest)} has ${content.length} bytes, and must have ${size}`;
    throw imageError(files.path, reason);
  }
  const is = await digestLike(digest, content);
  if (is !== digest) {
    throw imageError(files.path, `its blob ${quote(digest)} has the digest ${quote(is)}`);
  }
  return parseJson(files, name, content);
}

/** This machine's platform, in the words of images. */
function ownPlatform(): string {
  const { arch } = Deno.build;
  return `linux/${arch === "aarch64" ? "arm64" : "amd64"}`;
}

/** Whether an image has this name. */
function isCalled({ names }: Descriptor, ref: string): boolean {
  return names.includes(ref);
}

function oneOf(
  files: ImageFiles,
  all: readonly Descriptor[],
  { ref, platform = ownPlatform() }: ImageChoice,
): Descriptor {
  const called = ref === undefined ? all : all.filter((one) => isCalled(one, ref));
  const known = all.flatMap(({ names }) => names.slice(0, 1)).map(quote);
  if (called.length === 0) {
    const hint = known.length === 0 ? "leave --ref out" : `it has ${known.join(", ")}`;
    throw imageError(files.path, `it has no image of the reference ${quote(ref ?? "")}`, hint);
  }
  const fitting = called.filter((one) => {
    return one.isIndex || one.platform === null || isPlatform(one.platform, platform);
  });
  const [first, second] = fitting;
  if (first === undefined) {
    const platforms = called.map((one) => one.platform ?? "").filter((text) =>
      !/unknown/.test(text)
    );
    const hint = `it has ${platforms.map(quote).join(", ")}; choose with --platform`;
    throw imageError(files.path, `it has no image for ${quote(platform)}`, hint);
  }
  if (second === undefined || second.digest === first.digest) return first;
  const hint = `choose with --ref; it has ${known.join(", ")}`;
  throw imageError(files.path, `it has ${fitting.length} images that are meant`, hint);
}

/** Goes down from an index to the manifest that is meant. */
async function manifestOf(
  files: ImageFiles,
  index: unknown,
  choice: ImageChoice,
): Promise<{ readonly descriptor: Descriptor; readonly names: readonly string[] }> {
  let [at, wanted, names]: [unknown, ImageChoice, readonly string[]] = [index, choice, []];
  for (let depth = 0; depth < DEPTH_MAX; depth++) {
    const { manifests } = objectOf(files, "index", at);
    const all = listOf(files, "index's manifests", manifests).map((one, i) => {
      return descriptorOf(files, `index's manifests[${i}]`, one);
    });
    const descriptor = oneOf(files, all, wanted);
    if (names.length === 0) names = descriptor.names;
    if (!descriptor.isIndex) return { descriptor, names };
    at = await readBlob(files, descriptor);
    wanted = choice.platform === undefined ? {} : { platform: choice.platform };
  }
  throw imageError(files.path, "it has indexes in indexes without end");
}

/** Whether there is an OCI image layout. */
export function isLayout(files: ImageFiles): boolean {
  return files.has("oci-layout") && files.has(INDEX);
}

/**
 * Reads an image of an OCI image layout.
 *
 * @throws {OverlayError} If it is not as the specification says, or it is not clear which image is meant.
 */
export async function readLayout(files: ImageFiles, choice: ImageChoice): Promise<Image> {
  const index = parseJson(files, INDEX, readSmall(files, INDEX));
  const { descriptor, names } = await manifestOf(files, index, choice);
  const manifest = objectOf(files, "manifest", await readBlob(files, descriptor));
  const config = await readBlob(files, descriptorOf(files, "manifest's config", manifest.config));
  checkPlatform(files, config, choice);
  const layers = listOf(files, "manifest's layers", manifest.layers);
  const diffIds = diffIdsOf(files, config, layers.length);
  return {
    name: choice.ref ?? names[0] ?? null,
    digest: descriptor.digest,
    config,
    layers: layers.map((layer, at) => layerOf(files, { layer, at, diffId: diffIds[at] ?? "" })),
  };
}

function layerOf(
  files: ImageFiles,
  { layer, at, diffId }: { readonly layer: unknown; readonly at: number; readonly diffId: string },
): Image["layers"][number] {
  const where = `manifest's layers[${at}]`;
  const { digest, size } = descriptorOf(files, where, layer);
  const media = textOf(files, `${where}.mediaType`, (layer as Json).mediaType);
  if (/encrypted/.test(media)) throw imageError(files.path, `its ${where} is encrypted`);
  const place = files.locate(blobName(digest));
  if (place.size !== size) {
    const reason = `its blob ${quote(digest)} has ${place.size} bytes, and must have ${size}`;
    throw imageError(files.path, reason);
  }
  return { name: digest, ...place, digest, diffId };
}
