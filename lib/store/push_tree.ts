/**
 * Pushes an image of the tree store to a registry.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { inLanes, joinSignals } from "../core/lanes.ts";
import { quote } from "../core/quote.ts";
import { formatImageReference, parseImageReference } from "../registry/image_reference.ts";
import type { ImageReference } from "../registry/image_reference.ts";
import { endSession, hasBlob, mountBlob, putManifest, uploadBlob } from "../registry/push_blob.ts";
import type { Repository } from "../registry/registry.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { replaceFile } from "../system/own_file.ts";
import { checkPermissions, isGranted, joinPermissions, TRUST } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { PROGRAMS } from "../system/programs.ts";
import { storedTreeLayout, storeLayout } from "./layout.ts";
import type { TreeChoice } from "./list.ts";
import { openStore } from "./open.ts";
import { findPushable, formatPlace } from "./push_image.ts";
import type { PushableImage, PushedBlob } from "./push_image.ts";
import { accessFor, Sources } from "./push_sources.ts";
import { accessPermissions, connect } from "./registry_access.ts";
import type { AccessOptions, RegistryRequest } from "./registry_access.ts";
import { findTree, formatRecord } from "./tree_manifest.ts";

/** The request of a push. */
export type PushRequest = RegistryRequest & TreeChoice;

/** A layer, in the events of a push. */
export interface PushedLayer {
  /** Its digest. */
  readonly name: string;
  /** The size of its blob, in bytes. */
  readonly size: number;
}

/** The listeners for the progress of a push. */
export interface PushProgress {
  /** Called for a layer that the repository has already. */
  readonly onPresent?: (layer: number, blob: PushedLayer) => void;
  /** Called for a layer that the registry took from another repository. */
  readonly onMounted?: (layer: number, blob: PushedLayer) => void;
  /** Called with the number of further bytes of a layer that were sent, repeatedly. */
  readonly onSent?: (layer: number, bytes: number, blob: PushedLayer) => void;
  /** Called when a layer is uploaded. */
  readonly onPushed?: (layer: number, blob: PushedLayer) => void;
}

/** The options of a push. */
export type PushOptions = ChangeOptions & AccessOptions & PushProgress;

/** An image that was pushed. */
export interface PushedImage {
  /** The full reference. */
  readonly reference: string;
  /** The digest of its manifest. */
  readonly digest: string;
  /** The number of blobs that were uploaded: layers, and the config. */
  readonly uploaded: number;
  /** The number of blobs that the registry took from other repositories. */
  readonly mounted: number;
}

/**
 * Computes the Deno permissions that a push needs. The registry that an image was pulled from is among them if
 * blobs of it are not kept.
 *
 * With `--allow-read` permission for the store, the registries of blobs that are not kept are among them; with
 * `--allow-env`, the environment chooses the credentials files.
 *
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {OverlayError} If there is no such image.
 */
export async function pushPermissions(request: PushRequest): Promise<RequiredPermissions> {
  return blobPermissions(request, (await findIfReadable(request))?.blobs ?? []);
}

/** Finds the image; `null` if the store may not be read. */
async function findIfReadable(request: PushRequest): Promise<PushableImage | null> {
  const { store } = storeLayout(request.store);
  return isGranted({ name: "read", path: store }) ? await findPushable(request) : null;
}

/** Computes the permissions to push blobs; without these, their sources are not known. */
export function blobPermissions(
  request: Omit<PushRequest, "tree">,
  blobs: readonly PushedBlob[],
): RequiredPermissions {
  const reference = parseImageReference(request.reference);
  const { store } = storeLayout(request.store);
  const run = [PROGRAMS.rm, ...TRUST.run];
  const sources = blobs.flatMap(({ open, source }) => {
    return open === null && source !== null ? [source] : [];
  });
  return joinPermissions([
    { read: [store], write: [store], run, sys: TRUST.sys },
    accessPermissions(reference, request),
    ...sources.map((source) => accessPermissions(source, accessFor(source, reference, request))),
  ]);
}

/**
 * Pushes an image of the tree store to a registry: its layers, its config, and its manifest last, byte by byte
 * as they were imported.
 *
 * A blob that the repository has is not sent, and one that another repository of the registry has is taken
 * from there. The bytes of the others are those that the store keeps, or come from the registry that the image
 * was pulled from.
 *
 * Requires the permissions that {@linkcode pushPermissions} computes.
 *
 * @param request The image, the store and the reference.
 * @param options Listeners for warnings and progress, and a signal that ends the push.
 * @returns The reference and the digest.
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {MissingPermissionError} If a Deno permission is missing.
 * @throws {RefusedError} If the registry leads to a forbidden host, such as this machine.
 * @throws {OverlayError} If a blob is nowhere, or the registry does not take it; no manifest is written.
 *
 * @tags allow-read, allow-write, allow-run, allow-sys, allow-net, allow-env
 */
export async function pushTree(
  request: PushRequest,
  options: PushOptions = {},
): Promise<PushedImage> {
  const reference = parseImageReference(request.reference);
  const found = await findIfReadable(request);
  checkPermissions("push", blobPermissions(request, found?.blobs ?? []));
  const image = found ?? await findPushable(request);
  checkDigest(reference, image);
  const pushed = await withSignal(options, async (options) => {
    using connection = await connect("push", reference, request, options);
    const { repository } = connection;
    const counts = await sendBlobs(repository, image, request, options);
    const name = reference.tag ?? image.digest;
    const { bytes, digest, manifest: { mediaType } } = image;
    await putManifest(repository, name, { bytes, digest, mediaType });
    return counts;
  });
  await notePush(request, image, { reference, options });
  return { reference: formatImageReference(reference), digest: image.digest, ...pushed };
}

function checkDigest(reference: ImageReference, { digest }: PushableImage): void {
  if (reference.digest === null || reference.digest === digest) return;
  const full = quote(formatImageReference(reference));
  throw new OverlayError("bad-digest", `Cannot push ${full}: the image has the digest ${digest}`, {
    hint: "leave the digest out, or name the image that has it",
  });
}

/** Runs an action with a signal that also ends when the action fails, so that nothing is left running. */
async function withSignal<T>(
  options: PushOptions,
  act: (options: PushOptions) => Promise<T>,
): Promise<T> {
  const ended = new AbortController();
  try {
    return await act({ ...options, signal: joinSignals(ended.signal, options.signal) });
  } finally {
    ended.abort();
  }
}

/** The number of blobs that are sent at once. */
const AT_ONCE = 3;

/** Sends the blobs that the repository has not, the config last. */
async function sendBlobs(
  repository: Repository,
  image: PushableImage,
  request: PushRequest,
  options: PushOptions,
): Promise<Pick<PushedImage, "uploaded" | "mounted">> {
  const sessions = new Map<string, URL | null>();
  const sources = new Sources(repository.reference, request, options);
  let mounted = 0;
  try {
    await inLanes(image.blobs, AT_ONCE, async (blob) => {
      const found = await findBlob(repository, blob);
      if (found === "mounted") mounted++;
      tell(blob, found === "present" ? options.onPresent : undefined);
      tell(blob, found === "mounted" ? options.onMounted : undefined);
      if (found === null || found instanceof URL) sessions.set(blob.digest, found);
    });
    const wanted = image.blobs.filter(({ digest }) => sessions.has(digest));
    const uploaded = wanted.length;
    refuseLost(wanted, request);
    const upload = async (blob: PushedBlob) => {
      const session = sessions.get(blob.digest) ?? null;
      sessions.delete(blob.digest);
      const open = blob.open ?? await sources.open(blob);
      const { layer, digest: name, size } = blob;
      const onSent = (bytes: number) => {
        if (layer !== null) options.onSent?.(layer, bytes, { name, size });
      };
      await uploadBlob(repository, blob, open, { session, onSent });
      tell(blob, options.onPushed);
    };
    await inLanes(wanted.filter(({ layer }) => layer !== null), AT_ONCE, upload);
    await inLanes(wanted.filter(({ layer }) => layer === null), AT_ONCE, upload);
    return { uploaded, mounted };
  } finally {
    sources[Symbol.dispose]();
    for (const session of sessions.values()) {
      if (session !== null) await endSession(repository, session);
    }
  }
}

function tell(
  { layer, digest: name, size }: PushedBlob,
  listen: ((layer: number, blob: PushedLayer) => void) | undefined,
): void {
  if (layer !== null) listen?.(layer, { name, size });
}

/** Finds a blob in the repository or in another one; otherwise returns the session of an upload, if one began. */
async function findBlob(
  repository: Repository,
  { digest, places }: PushedBlob,
): Promise<"present" | "mounted" | URL | null> {
  if (await hasBlob(repository, digest)) return "present";
  const { registry, repository: own } = repository.reference;
  const near = places.filter((place) => place.registry === registry && place.repository !== own);
  for (const from of new Set(near.map((place) => place.repository))) {
    const mounted = await mountBlob(repository, digest, from);
    if (mounted === true) return "mounted";
    if (mounted !== false) return mounted;
  }
  return null;
}

/** Refuses blobs whose bytes are nowhere. */
function refuseLost(wanted: readonly PushedBlob[], { tree }: PushRequest): void {
  const lost = wanted.filter(({ open, source }) => open === null && source === null);
  if (lost.length === 0) return;
  const digests = lost.map(({ digest }) => digest).join(", ");
  throw new OverlayError(
    "missing",
    `Cannot push ${quote(tree)}: neither the registry nor the store has ${digests}`,
    { hint: "import the image again with --keep-blobs, or push to a registry that has its layers" },
  );
}

/** The largest number of repositories that are noted for an image. */
const PLACES_MAX = 20;

/** Notes the repository in the record of the image, so that another push can take blobs from it. */
async function notePush(
  request: PushRequest,
  { id, manifest: { text } }: PushableImage,
  { reference, options }: { readonly reference: ImageReference; readonly options: PushOptions },
): Promise<void> {
  const store = storeLayout(request.store);
  const place = formatPlace(reference);
  const isNoted = ({ images }: ReturnType<typeof findTree>) => {
    return images.every(({ manifest, pushed }) =>
      manifest?.text !== text || pushed?.includes(place)
    );
  };
  try {
    if (isNoted(findTree(store, id))) return;
    using _lock = await openStore(store, options);
    const tree = findTree(store, id);
    const images = tree.images.map((image) => {
      if (image.manifest?.text !== text) return image;
      const places = new Set([...image.pushed ?? [], place]);
      return { ...image, pushed: [...places].slice(-PLACES_MAX) };
    });
    replaceFile(storedTreeLayout(store, id).manifest, formatRecord({ ...tree, images }), 0o600);
  } catch (error) {
    // The image is in the registry.
    if (!(error instanceof OverlayError)) throw error;
    options.warn?.(`the image is pushed, and the store does not note it: ${error.message}`);
  }
}
