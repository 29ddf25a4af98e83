/**
 * Lists and checks the blobs that the store keeps of its images.
 *
 * @module
 */
import { isDigest } from "../core/digest.ts";
import { child } from "../core/path.ts";
import { removeIfEmpty } from "../system/directory.ts";
import { attempt, look } from "../system/disk.ts";
import { hashFileLike } from "../system/hash_file.ts";
import { blobPath } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import { listNames, listWholeTrees, readWholeTrees } from "./tree_manifest.ts";
import type { TreeManifest } from "./tree_manifest.ts";

/** Lists the digests of the blobs of a tree's images that are kept. */
export function listTreeBlobs({ images }: TreeManifest): readonly string[] {
  return images.flatMap(({ blobs = [] }) => blobs.filter(isDigest));
}

/**
 * Lists the digests of the blobs that no image names. While the manifest of a tree is damaged, there are none,
 * since it may name any of them.
 *
 * @param without The ids of trees whose images do not count.
 */
export function listUnnamedBlobs(
  store: StoreLayout,
  without: ReadonlySet<string> = new Set(),
): readonly string[] {
  const trees = readWholeTrees(store);
  if (listWholeTrees(store).length > trees.length) return [];
  const named = new Set(trees.filter(({ id }) => !without.has(id)).flatMap(listTreeBlobs));
  const all = listNames(store.blobs).flatMap((algorithm) => {
    return listNames(child(store.blobs, algorithm)).map((hex) => `${algorithm}:${hex}`);
  });
  return all.filter((digest) => isDigest(digest) && !named.has(digest));
}

/** Removes the blobs that no image names, after an import that failed, and their directories if they are empty. */
export function discardBlobs(store: StoreLayout): void {
  for (const digest of listUnnamedBlobs(store)) {
    const path = blobPath(store, digest);
    attempt("remove", path, () => Deno.removeSync(path));
  }
  const algorithms = listNames(store.blobs).map((name) => child(store.blobs, name));
  for (const directory of [...algorithms, store.blobs]) removeIfEmpty(directory);
}

/**
 * Checks that a blob is there and has its digest.
 *
 * @returns The difference, in words; `null` if there is none.
 */
export async function checkBlob(
  store: StoreLayout,
  digest: string,
  quick: boolean,
): Promise<string | null> {
  const path = blobPath(store, digest);
  if (look(path)?.isFile !== true) return `the blob ${digest} is gone`;
  if (quick) return null;
  const is = await hashFileLike(path, digest);
  return is === digest ? null : `the blob ${digest} has the digest ${is}`;
}
