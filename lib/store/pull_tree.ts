/**
 * Pulls an image of a registry into the tree store.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { joinSignals } from "../core/lanes.ts";
import { quote } from "../core/quote.ts";
import type { Image } from "../image/image.ts";
import { formatImageReference, parseImageReference } from "../registry/image_reference.ts";
import type { ImageReference } from "../registry/image_reference.ts";
import { nameOf, openRemoteImage } from "../registry/remote_image.ts";
import { atMirror, isFaultOfMirror } from "../registry/mirror.ts";
import type { Repository } from "../registry/registry.ts";
import { checkPermissions, joinPermissions } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { child } from "../core/path.ts";
import { accessPermissions, connect } from "./registry_access.ts";
import type { AccessOptions, AccessRequest, RegistryRequest } from "./registry_access.ts";
import type { ImportRequest, ParsedImport } from "./import_request.ts";
import { importImage } from "./import_image.ts";
import { importInto, importPermissions } from "./import_tree.ts";
import type { ImportedTree, ImportOptions } from "./import_options.ts";
import { storeLayout } from "./layout.ts";
import { readWholeTrees } from "./tree_manifest.ts";
import type { StoredImage } from "./tree_manifest.ts";
import { listBlobs } from "../image/manifest.ts";

/** The request of a pull. */
export interface PullRequest extends RegistryRequest, Omit<ImportRequest, "source" | "ref"> {
  /**
   * A mirror of the registry, `[http://]HOST[/PREFIX]`, which is asked first. Its credentials and certificates
   * are its own. @default {none}
   */
  readonly mirror?: string;
  /** Set if foreign layers that the registry does not have are fetched from their URLs. @default {false} */
  readonly allowForeign?: boolean;
}

/** The options of a pull. */
export interface PullOptions extends ImportOptions, AccessOptions {
  /** Called with the number of bytes of a layer that were fetched, repeatedly. */
  readonly onFetch?: (digest: string, bytes: number) => void;
}

/**
 * Computes the Deno permissions that a pull needs. A registry may refer to other hosts for tokens and blobs;
 * if one of them may not be accessed, the error of the pull names it, and nothing is left behind.
 *
 * Requires no permissions; with `--allow-env`, the environment chooses the credentials files.
 *
 * @throws {InvalidValueError} If a part of the request is not usable.
 */
export function pullPermissions(request: PullRequest): RequiredPermissions {
  const { mirror, own } = choosePlaces(request);
  const places = mirror === null ? [own] : [mirror, own];
  return joinPermissions([
    importPermissions(importRequest(request)),
    ...places.map(({ at, access }) => accessPermissions(at, access)),
  ]);
}

/** A registry that is asked for an image. */
interface Place {
  /** The reference of the image there. */
  readonly at: ImageReference;
  /** The user and the certificates there. */
  readonly access: AccessRequest;
}

/** Returns the registry of an image, and the mirror. The user and the certificates of a request are for its own. */
function choosePlaces(
  request: PullRequest,
): { readonly mirror: Place | null; readonly own: Place } {
  const { authFile, mirror } = request;
  const at = parseImageReference(request.reference);
  const own = { at, access: request };
  if (mirror === undefined) return { mirror: null, own };
  const { reference, plainHttp } = atMirror(mirror, at);
  return { mirror: { at: reference, access: { authFile, plainHttp } }, own };
}

function importRequest(request: PullRequest): ImportRequest {
  const {
    reference: _reference,
    authFile: _authFile,
    username: _username,
    password: _password,
    certDir: _certDir,
    plainHttp: _plainHttp,
    mirror: _mirror,
    allowForeign: _allowForeign,
    ...rest
  } = request;
  // Nothing is read but the store.
  return { ...rest, source: "-" };
}

/**
 * Pulls an image from its registry into the tree store.
 *
 * Layers in the store are not fetched again, and nothing is fetched if a tag still names the image that was
 * pulled before. The manifest, the config and each layer are verified by their digests.
 *
 * Requires the permissions that {@linkcode pullPermissions} computes, and root, or a user namespace with all
 * users and groups.
 *
 * @param request The reference and the store.
 * @param options Listeners for warnings and progress, and a signal that ends the pull.
 * @returns The tree.
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing is left behind.
 * @throws {RefusedError} If the registry redirects to a forbidden host, such as this machine.
 * @throws {OverlayError} If the image cannot be fetched, or is damaged, hostile or not supported; the store is
 * unchanged.
 *
 * @tags allow-read, allow-write, allow-run, allow-sys, allow-net, allow-env
 */
export async function pullTree(
  request: PullRequest,
  options: PullOptions = {},
): Promise<ImportedTree> {
  checkPermissions("pull", pullPermissions(request));
  const { mirror, own } = choosePlaces(request);
  if (mirror === null) return await pullFrom(own, request, options);
  try {
    return await pullFrom(mirror, request, options);
  } catch (error) {
    if (!isFaultOfMirror(error)) throw error;
    options.warn?.(`the mirror ${quote(request.mirror ?? "")} is left out: ${error.message}`);
    return await pullFrom(own, request, options);
  }
}

/** Pulls an image from a registry: its own, or a mirror, which has another reference for it. */
async function pullFrom(
  { at, access }: Place,
  request: PullRequest,
  options: PullOptions,
): Promise<ImportedTree> {
  const ended = new AbortController();
  const signal = joinSignals(ended.signal, options.signal);
  using connection = await connect("pull", at, access, { ...options, signal });
  const { repository } = connection;
  const known = await findKnown(repository, request);
  if (known !== null) return known;
  const fetches: Promise<void>[] = [];
  return await importInto(importRequest(request), options, async (parsed, options) => {
    try {
      return await importRemote(repository, request, { parsed, options, fetches });
    } finally {
      // Nothing may be written into the scratch directory any more.
      ended.abort(new Error("the pull has ended"));
      await Promise.allSettled(fetches);
    }
  });
}

async function importRemote(
  repository: Repository,
  request: PullRequest,
  { parsed, options, fetches }: {
    readonly parsed: ParsedImport;
    readonly options: PullOptions;
    readonly fetches: Promise<void>[];
  },
): Promise<ImportedTree> {
  const scratch = child(parsed.store.scratch, "pull");
  await Deno.mkdir(scratch, { mode: 0o700 });
  const image = await openRemoteImage(repository, parsed.choice, {
    ...{ ...options, scratch },
    reference: parseImageReference(request.reference),
    allowForeign: request.allowForeign ?? false,
    how: treatmentOf(request),
    begun: (fetch) => void fetches.push(fetch),
  });
  checkSize(image, parsed.policy.maxBytes);
  return await importImage(image, parsed, options);
}

/** Refuses layers that are larger than what may come of them, before one is fetched. */
function checkSize({ name, layers }: Image, max: number): void {
  const size = layers.reduce((sum, layer) => sum + layer.size, 0);
  if (size <= max) return;
  const reason = `its layers have ${size} bytes, and it may have ${max}`;
  throw new OverlayError("too-large", `Cannot pull ${quote(`${name}`)}: ${reason}`, {
    hint: "if you trust the image: --max-size SIZE",
  });
}

/** Describes the options of a request that change the tree of an image. */
function treatmentOf({ platform, strip, userxattr }: PullRequest): string {
  const parts = { platform, strip: strip?.toSorted().join(","), userxattr };
  return Object.entries(parts).flatMap(([key, value]) =>
    value === undefined ? [] : `${key}=${value}`
  )
    .join(" ");
}

/** Tells whether an image has its manifest, and its blobs as far as they are wanted. */
function hasBlobs({ manifest, blobs = [] }: StoredImage, { keepBlobs }: PullRequest): boolean {
  if (manifest === undefined) return false;
  return !keepBlobs || listBlobs(manifest).every((digest) => blobs.includes(digest));
}

/** Finds the tree of an earlier pull that a reference still names; `null` if there is none. */
async function findKnown(
  repository: Repository,
  request: PullRequest,
): Promise<ImportedTree | null> {
  const reference = parseImageReference(request.reference);
  const [full, how] = [formatImageReference(reference), treatmentOf(request)];
  const wanted = request.name ?? nameOf(reference);
  for (const { id, layers, bytes, entries, images } of readWholeTrees(storeLayout(request.store))) {
    const image = images.find(({ source, name }) => {
      return source?.reference === full && source.how === how && name === wanted;
    });
    if (image?.source === undefined || !hasBlobs(image, request)) continue;
    const named = reference.digest ?? await repository.digestOfTag(reference.tag ?? "");
    if (named !== image.source.digest) return null;
    const { name, digest } = image;
    return { id, image: name, digest, layers: layers.length, bytes, entries, changed: false };
  }
  return null;
}
