/**
 * Writes images into OCI image layouts (OCI image specification, "Image Layout"). Blobs are written first, each
 * beside its place, and the index is replaced last, so that it names only whole images.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { child, parent } from "../core/path.ts";
import { quote } from "../core/quote.ts";
import { describeBytes, readManifest } from "../image/manifest.ts";
import type { Descriptor, ImageManifest } from "../image/manifest.ts";
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions, Reporter } from "../system/change_options.ts";
import { attempt, entriesIn, look } from "../system/disk.ts";
import { lockPod } from "../system/lock.ts";
import { checkAbove, checkPod } from "../system/trust.ts";
import { hashFileLike } from "../system/hash_file.ts";
import { readOwnFile, replaceFile } from "../system/own_file.ts";

/** The place of an image in a layout. */
export interface LayoutTarget {
  /** The directory. */
  readonly directory: string;
  /** The name of the image in its index; `null` for none. */
  readonly ref: string | null;
}

/** An image that is written. */
export interface LayoutImage {
  /** Its manifest. */
  readonly manifest: ImageManifest;
  /** Its config, as JSON. */
  readonly config: string;
}

/** Finds the file of a blob outside the layout; `null` if there is none. */
export type FindBlob = (digest: string) => string | null;

/** The mode of the files of a layout, which other tools read. */
const MODE = 0o644;

const REF_NAME = "org.opencontainers.image.ref.name";

/** Computes the path of a blob in a layout. */
export function layoutBlob({ directory }: LayoutTarget, digest: string): string {
  return child(directory, "blobs", ...digest.split(":"));
}

/**
 * Checks that all of these blobs are in the layout or can be found.
 *
 * @throws {OverlayError} If some cannot; it names them, and how to get them.
 */
export function checkBlobs(
  target: LayoutTarget,
  blobs: readonly Pick<Descriptor, "digest">[],
  find: FindBlob,
): void {
  const missing = blobs.map(({ digest }) => digest).filter((digest) => {
    return look(layoutBlob(target, digest)) === null && find(digest) === null;
  });
  if (missing.length === 0) return;
  const message = `Cannot write ${
    quote(target.directory)
  }: these layers of the base are not at hand: ${missing.join(", ")}`;
  throw new OverlayError("missing", message, {
    path: target.directory,
    hint: "import or pull the base again with --keep-blobs, copy its blobs into the layout, " +
      "or make one layer of all: --squash",
  });
}

/**
 * Writes an image into a layout that is open, see {@linkcode openLayout}. An image of the same name loses it.
 *
 * Requires `--allow-read` and `--allow-write` permission for the directory, and `--allow-read` for the blobs.
 *
 * @throws {OverlayError} If a blob is missing or has another digest, or the disk is full.
 */
export async function writeLayout(
  target: LayoutTarget,
  { manifest, config }: LayoutImage,
  find: FindBlob,
): Promise<Descriptor> {
  const { config: described, layers } = readManifest(manifest);
  checkBlobs(target, layers, find);
  for (const { digest } of layers) await placeBlob(target, digest, find);
  const encoder = new TextEncoder();
  const content = encoder.encode(manifest.text);
  const descriptor = await describeBytes(manifest.mediaType, content);
  replaceFile(layoutBlob(target, described.digest), encoder.encode(config), MODE);
  replaceFile(layoutBlob(target, descriptor.digest), content, MODE);
  replaceFile(indexOf(target), encoder.encode(addToIndex(target, descriptor)), MODE);
  return descriptor;
}

function indexOf({ directory }: LayoutTarget): string {
  return child(directory, "index.json");
}

/**
 * Checks a layout: a user who could swap a directory or a file of it for a symlink could have any file written.
 *
 * Requires the permissions of `checkAbove`.
 *
 * @throws {RefusedError} If another user can change it.
 */
export async function checkLayout(
  { directory }: LayoutTarget,
  options: Reporter,
): Promise<void> {
  await checkAbove([directory], programOptions(options));
  const blobs = child(directory, "blobs");
  for (const path of [directory, blobs, child(blobs, "sha256"), child(blobs, "sha512")]) {
    checkPod(path);
  }
}

/**
 * Opens a layout for writing, for one command at a time; it is made if it is missing.
 *
 * @returns The lock.
 * @throws {RefusedError} If another user can change it, or another command writes into it for too long.
 * @throws {OverlayError} If a directory that is no layout is there.
 */
export async function openLayout(
  target: LayoutTarget,
  options: ChangeOptions,
): Promise<Disposable> {
  const { directory } = target;
  await checkLayout(target, options);
  refuseForeign(target);
  makeDirectories(child(directory, "blobs", "sha256"));
  // Another user may have made what was missing.
  await checkLayout(target, options);
  const { signal } = options;
  const lock = await lockPod(child(directory, "overlay.lock"), { waitMs: WAIT_MS, signal });
  const close = () => {
    if (look(lock.path) !== null) Deno.removeSync(lock.path);
    lock[Symbol.dispose]();
  };
  try {
    markLayout(target);
    return { [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Makes a directory and those above it, which only their owner can change, whatever the umask. */
function makeDirectories(path: string): void {
  attempt("make directory", path, () => Deno.mkdirSync(path, { recursive: true, mode: 0o755 }));
}

/** The time to wait for another command: an export of a large app takes long. */
const WAIT_MS = 600_000;

/** The names that a layout has before its marker. */
const FIRST_NAMES: readonly string[] = ["blobs", "overlay.lock", "oci-layout.new"];

/** Refuses a directory that is no layout, and not one that a command has just begun, or begun before it was killed. */
function refuseForeign({ directory }: LayoutTarget): void {
  if (look(child(directory, "oci-layout")) !== null) return;
  if (entriesIn(directory).every(({ name }) => FIRST_NAMES.includes(name))) return;
  const message = `Cannot write ${quote(directory)}: it is no OCI image layout, and not empty`;
  throw new OverlayError("failed", message, { path: directory, hint: "name another directory" });
}

/** Writes the marker of a layout. */
function markLayout({ directory }: LayoutTarget): void {
  const marker = child(directory, "oci-layout");
  if (look(marker) !== null) return;
  replaceFile(marker, new TextEncoder().encode('{"imageLayoutVersion":"1.0.0"}'), MODE);
}

/** Copies a blob into a layout, and checks its digest. */
async function placeBlob(target: LayoutTarget, digest: string, find: FindBlob): Promise<void> {
  const place = layoutBlob(target, digest);
  if (look(place) !== null) return;
  const from = find(digest) ?? place;
  const beside = `${place}.new`;
  try {
    makeDirectories(parent(place));
    attempt("write", place, () => Deno.copyFileSync(from, beside));
    const is = await hashFileLike(beside, digest);
    if (is !== digest) {
      const message = `Cannot use blob ${quote(from)}: its digest is ${is}, and must be ${digest}`;
      throw new OverlayError("bad-digest", message, { path: from });
    }
    putInPlace(beside, place);
  } finally {
    if (look(beside) !== null) await Deno.remove(beside);
  }
}

/** Syncs a file and renames it to its place in a layout. */
export function putInPlace(beside: string, place: string): void {
  attempt("write", place, () => {
    using file = Deno.openSync(beside, { read: true, write: true });
    file.syncSync();
    Deno.chmodSync(beside, MODE);
    Deno.renameSync(beside, place);
  });
}

/** Adds an image to the index of a layout. */
function addToIndex(target: LayoutTarget, descriptor: Descriptor): string {
  const { ref } = target;
  const before = readOwnFile(indexOf(target));
  const index = parseIndex(target, before);
  const others = index.manifests.filter(({ digest, annotations }) => {
    const name = annotations?.[REF_NAME] ?? null;
    return ref === null ? name !== null || digest !== descriptor.digest : name !== ref;
  });
  const named = ref === null ? {} : { annotations: { [REF_NAME]: ref } };
  return JSON.stringify({ ...index, manifests: [...others, { ...descriptor, ...named }] });
}

interface Index {
  readonly schemaVersion: number;
  readonly manifests: readonly {
    readonly digest?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  }[];
}

function parseIndex(target: LayoutTarget, content: Uint8Array | null): Index {
  if (content === null) return { schemaVersion: 2, manifests: [] };
  try {
    const index = JSON.parse(new TextDecoder().decode(content));
    if (Array.isArray(index?.manifests)) return index;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  const message = `Cannot write ${quote(indexOf(target))}: it is no index of images`;
  throw new OverlayError("bad-image", message, { path: indexOf(target) });
}
