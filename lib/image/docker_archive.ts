/**
 * An image of `docker save`: its `manifest.json`, and the files that it names.
 *
 * Requires `--allow-read` permission for the files.
 *
 * @module
 */
import {
  asList,
  asObject,
  asText,
  hashLike,
  imageError,
  parseJson,
  readDiffIds,
  readDocument,
} from "./image.ts";
import type { Image, ImageChoice, ImageFiles } from "./image.ts";
import { checkPlatform, choose, formatPlatform } from "./image_choice.ts";
import type { Candidate } from "./image_choice.ts";
import { OverlayError } from "../core/errors.ts";
import { foreignLayerError } from "./oci_image.ts";
import { quote } from "../core/quote.ts";
import { chooseName } from "./reference.ts";

const MANIFEST = "manifest.json";

/** The file with names that versions before 1.10 wrote. */
const REPOSITORIES = "repositories";

/** Tells whether the files have the manifest of `docker save`. */
export function hasManifest(files: ImageFiles): boolean {
  return files.has(MANIFEST);
}

/** Tells whether the manifest lists images; a root file system may also have a file of this name. */
export async function namesImages(files: ImageFiles): Promise<boolean> {
  if (!hasManifest(files)) return false;
  try {
    return (await readManifest(files)).length > 0;
  } catch (error) {
    if (error instanceof OverlayError) return false;
    throw error;
  }
}

/**
 * Refuses archives of docker before version 1.10.
 *
 * @throws {OverlayError} If it is such an archive.
 */
export async function refuseOld(files: ImageFiles): Promise<void> {
  if (!files.has(REPOSITORIES)) return;
  const content = new TextDecoder().decode(await readDocument(files, REPOSITORIES));
  const [id] = /[0-9a-f]{64}/.exec(content) ?? [];
  if (id === undefined || !files.has(`${id}/layer.tar`)) return;
  const reason = "it was saved by a docker before 1.10, whose format is not supported";
  throw imageError(files.path, reason, "load it into a newer docker, and save it again");
}

/** An image as the manifest describes it. */
interface Saved extends Candidate {
  readonly config: string;
  readonly layers: readonly string[];
  /** Set if it has foreign layers, which must not be distributed with it. */
  readonly isForeign: boolean;
}

async function readManifest(files: ImageFiles): Promise<readonly Saved[]> {
  const { value } = parseJson(files, MANIFEST, await readDocument(files, MANIFEST));
  if (!Array.isArray(value)) throw imageError(files.path, `its ${MANIFEST} is no list`);
  return value.map((one, at) => parseSaved(files, one, at));
}

function parseSaved(files: ImageFiles, value: unknown, at: number): Saved {
  const where = `${MANIFEST}[${at}]`;
  const { Config, Layers, RepoTags, LayerSources } = asObject(files, where, value);
  const texts = (name: string, list: unknown) => {
    return asList(files, `${where}.${name}`, list).map((text, i) => {
      return asText(files, `${where}.${name}[${i}]`, text);
    });
  };
  const config = asText(files, `${where}.Config`, Config);
  const hex = findHex(config);
  return {
    config,
    layers: texts("Layers", Layers),
    names: texts("RepoTags", RepoTags),
    digest: hex === null ? config : `sha256:${hex}`,
    platform: null,
    isForeign: /foreign|nondistributable/.test(JSON.stringify(LayerSources ?? null)),
  };
}

/** Returns the digest in the name of a config; `null` if it has none. */
function findHex(config: string): string | null {
  return /(?:^|[/:])([0-9a-f]{64})(?:\.json)?$/.exec(config)?.[1] ?? null;
}

/**
 * Reads an image of `docker save`. Its layers have no digests, but their diff ids are verified.
 *
 * @throws {OverlayError} If it is invalid, or the choice of the image is ambiguous.
 */
export async function readDockerArchive(files: ImageFiles, choice: ImageChoice): Promise<Image> {
  const saved = choose(files, await readManifest(files), choice);
  const content = await readDocument(files, saved.config);
  const digest = await hashLike("sha256:", content);
  const hex = findHex(saved.config);
  if (hex !== null && digest !== `sha256:${hex}`) {
    throw imageError(files.path, `its config ${quote(saved.config)} has the digest ${digest}`);
  }
  const { text, value: config } = parseJson(files, saved.config, content);
  const platform = formatPlatform(asObject(files, "config", config));
  const note = checkPlatform(files, platform, choice);
  const diffIds = readDiffIds(files, config, saved.layers.length);
  return {
    name: chooseName(saved.names, choice.ref),
    digest,
    config: text,
    layers: saved.layers.map((name, at) => {
      if (!files.has(name) && saved.isForeign) {
        throw foreignLayerError(files, `layer ${quote(name)}`);
      }
      const { like: _, ...place } = files.locate(name);
      return { name, ...place, digest: null, diffId: diffIds[at] ?? "" };
    }),
    note,
  };
}
