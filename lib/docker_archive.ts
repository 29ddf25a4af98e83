/**
 * An image in an archive of `docker save`: its `manifest.json`, and what that names.
 *
 * Requires `--allow-read` permission for the archive.
 *
 * @module
 */
import {
  checkPlatform,
  diffIdsOf,
  digestLike,
  imageError,
  listOf,
  objectOf,
  parseJson,
  readSmall,
  textOf,
} from "./image.ts";
import type { Image, ImageChoice, ImageFiles } from "./image.ts";
import { OverlayError } from "./errors.ts";
import { quote } from "./quote.ts";

const MANIFEST = "manifest.json";

/** Whether there is what `docker save` writes. */
export function isDockerArchive(files: ImageFiles): boolean {
  return files.has(MANIFEST);
}

/** Whether that names layers, all of which are there: other things are called so too. */
export function namesLayers(files: ImageFiles): boolean {
  if (!isDockerArchive(files)) return false;
  try {
    const all = listOf(files, MANIFEST, parseJson(files, MANIFEST, readSmall(files, MANIFEST)));
    const layers = all.flatMap((one, at) => savedOf(files, one, at).layers);
    return layers.length > 0 && layers.every((layer) => files.has(layer));
  } catch (error) {
    if (error instanceof OverlayError) return false;
    throw error;
  }
}

/** What the archive says of one of its images. */
interface Saved {
  readonly config: string;
  readonly layers: readonly string[];
  readonly tags: readonly string[];
}

function savedOf(files: ImageFiles, value: unknown, at: number): Saved {
  const where = `${MANIFEST}[${at}]`;
  const { Config, Layers, RepoTags } = objectOf(files, where, value);
  return {
    config: textOf(files, `${where}.Config`, Config),
    layers: listOf(files, `${where}.Layers`, Layers).map((layer, i) => {
      return textOf(files, `${where}.Layers[${i}]`, layer);
    }),
    tags: RepoTags === null || RepoTags === undefined
      ? []
      : listOf(files, `${where}.RepoTags`, RepoTags).map((tag) => {
        return textOf(files, `${where}.RepoTags`, tag);
      }),
  };
}

/** `debian` is `debian:latest`. */
function tagOf(ref: string): string {
  return /:[^/]*$/.test(ref) ? ref : `${ref}:latest`;
}

function oneOf(files: ImageFiles, all: readonly Saved[], ref: string | undefined): Saved {
  const called = ref === undefined ? all : all.filter(({ tags }) => tags.includes(tagOf(ref)));
  const tags = all.flatMap(({ tags }) => tags).map(quote).join(", ");
  const hint = tags === "" ? "leave --ref out" : `choose with --ref; it has ${tags}`;
  const [first, second] = called;
  if (first === undefined) {
    const what = ref === undefined ? "image" : `image of the reference ${quote(ref)}`;
    throw imageError(files.path, `it has no ${what}`, hint);
  }
  if (second === undefined) return first;
  throw imageError(files.path, `it has ${called.length} images that are meant`, hint);
}

/**
 * Reads an image of such an archive. Its layers have no digests of their own; their diff ids are checked.
 *
 * @throws {OverlayError} If it is not as it must be, or it is not clear which image is meant.
 */
export async function readDockerArchive(files: ImageFiles, choice: ImageChoice): Promise<Image> {
  const all = listOf(files, MANIFEST, parseJson(files, MANIFEST, readSmall(files, MANIFEST)));
  const saved = oneOf(files, all.map((one, at) => savedOf(files, one, at)), choice.ref);
  const content = readSmall(files, saved.config);
  const digest = await digestLike("sha256:", content);
  const [said] = /[0-9a-f]{64}/.exec(saved.config) ?? [];
  if (said !== undefined && digest !== `sha256:${said}`) {
    throw imageError(files.path, `its config ${quote(saved.config)} has the digest ${digest}`);
  }
  const config = parseJson(files, saved.config, content);
  checkPlatform(files, config, choice);
  const diffIds = diffIdsOf(files, config, saved.layers.length);
  return {
    name: choice.ref === undefined ? saved.tags[0] ?? null : tagOf(choice.ref),
    digest,
    config,
    layers: saved.layers.map((name, at) => {
      return { name, ...files.locate(name), digest: null, diffId: diffIds[at] ?? "" };
    }),
  };
}
