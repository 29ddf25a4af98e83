/**
 * Checks trees of the store against the records of their import.
 *
 * @module
 */
import { listWithContents } from "../layer/list_contents.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { attempt, look } from "../system/disk.ts";
import { checkPermissions } from "../system/permissions.ts";
import { hashFile } from "../system/hash_file.ts";
import { parseLines, showPath } from "../tar/mtree.ts";
import type { Keywords } from "../tar/mtree.ts";
import { inLanes } from "../core/lanes.ts";
import { child } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { printable, quote } from "../core/quote.ts";
import { storedTreeLayout, storeLayout } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import {
  asView,
  findLostLinks,
  findTree,
  ifSound,
  listWholeTrees,
  readLayer,
  readTree,
  readWholeTrees,
} from "./tree_manifest.ts";
import { checkBlob, listTreeBlobs } from "./kept_blobs.ts";
import type { TreeManifest } from "./tree_manifest.ts";
import { listQuickly } from "../layer/quick_listing.ts";
import type { Entries } from "../layer/quick_listing.ts";
import type { StoreRequest } from "./list.ts";

/** The request of a check. */
export interface CheckRequest extends StoreRequest {
  /** The tree id, or the name of an image. @default {all trees} */
  readonly tree?: string;
  /** Set if contents and extended attributes are left out. @default {false} */
  readonly quick?: boolean;
}

/** A difference between a tree and its record. */
export interface TreeDifference {
  /** The layer's key; `null` in a tree of one directory. */
  readonly layer: string | null;
  /** The path in the tree, with unprintable bytes in octal. */
  readonly path: string;
  /** The difference, in words. */
  readonly what: string;
}

/** A tree that was checked. */
export interface CheckedTree {
  /** The tree id. */
  readonly id: string;
  /** The differences; none if the tree is unchanged. */
  readonly differences: readonly TreeDifference[];
}

/** Computes the permissions that a check needs. */
export function checkTreePermissions(request: CheckRequest): RequiredPermissions {
  const { store } = storeLayout(request.store);
  const program = request.quick ? PROGRAMS.find : PROGRAMS.tar;
  return { read: [store], write: [], run: [program] };
}

/** A directory, and its record. */
interface Part {
  readonly layer: string | null;
  readonly root: string;
  readonly lines: string;
  readonly digest: string;
}

/** The keywords that need reading the files. */
const UNSEEN = /^(sha256digest|device|xattr\..*)$/;

function compareEntries(
  must: Entries,
  is: Entries,
  quick: boolean,
): { path: string; what: string }[] {
  const found: { path: string; what: string }[] = [];
  for (const [path, keywords] of must) {
    const now = is.get(path);
    if (now === undefined) found.push({ path, what: "is gone" });
    else found.push(...compareKeywords(keywords, now, quick).map((what) => ({ path, what })));
  }
  for (const path of is.keys()) if (!must.has(path)) found.push({ path, what: "unexpected" });
  return found;
}

function compareKeywords(must: Keywords, is: Keywords, quick: boolean): string[] {
  const keys = [...new Set([...must.keys(), ...is.keys()])];
  return keys.filter((key) => must.get(key) !== is.get(key) && !(quick && UNSEEN.test(key)))
    .map((key) => `${key} is ${is.get(key) ?? "not set"}, was ${must.get(key) ?? "not set"}`);
}

/** Lists the directories of a tree, which other trees may share. */
function listParts(store: StoreLayout, id: string): readonly Part[] {
  const layout = storedTreeLayout(store, id);
  const tree = readTree(layout);
  const { layers, lines } = tree === null ? { layers: [], lines: null } : asView(tree);
  if (lines !== null) {
    return [{ layer: null, root: layout.rootfs, lines: layout.lines, digest: lines }];
  }
  return layers.map((key) => ({
    layer: key,
    root: child(store.layers, key),
    lines: child(store.records, `${key}.mtree`),
    digest: ifSound(() => readLayer(store, key))?.lines ?? "",
  }));
}

async function checkPart(
  { layer, root, lines, digest }: Part,
  quick: boolean,
  options: ChangeOptions,
): Promise<readonly TreeDifference[]> {
  const lost = (what: string) => [{ layer, path: "/", what }];
  if (look(root) === null) return lost("the layer is gone");
  if (look(lines) === null || await hashFile(lines) !== digest) {
    return lost("what was written down of it is gone, or was changed");
  }
  const must = parseLines(attempt("read", lines, () => Deno.readTextFileSync(lines)));
  const is = await (quick ? listQuickly : listWithContents)(root, options);
  return compareEntries(must, is, quick).map(({ path, what }) => {
    return { layer, path: showPath(path), what };
  });
}

/** The number of directories that are checked at once: one is read while the other is hashed. */
const AT_ONCE = 2;

/**
 * Checks the names, types, modes, owners, times, sizes, links, extended attributes and contents of trees
 * against the records of their import, and the blobs that are kept of their images against their digests.
 *
 * Requires the permissions that {@linkcode checkTreePermissions} computes, and root.
 *
 * @param request The trees, and the depth of the check.
 * @param options Listeners, and a signal that ends the check.
 * @returns The trees, each with its differences.
 * @throws {OverlayError} If there is no such tree, or a file cannot be read.
 *
 * @tags allow-read, allow-run
 */
export async function checkTrees(
  request: CheckRequest = {},
  options: ChangeOptions = {},
): Promise<readonly CheckedTree[]> {
  checkPermissions("check trees", checkTreePermissions(request));
  const store = storeLayout(request.store);
  const damaged = request.tree === undefined ? damagedTrees(store) : [];
  const trees = request.tree === undefined
    ? readWholeTrees(store)
    : [findTree(store, request.tree)];
  const parts = new Map(
    trees.flatMap(({ id }) => listParts(store, id)).map((part) => [part.root, part]),
  );
  const found = new Map<string, readonly TreeDifference[]>();
  await inLanes([...parts.values()], AT_ONCE, async (part) => {
    found.set(part.root, await checkPart(part, request.quick ?? false, options));
  });
  const blobs = await findBadBlobs(store, trees, request.quick ?? false);
  const checked = trees.map((tree) => {
    const { id } = tree;
    const links = [...findLostLinks(asView(tree), store)].map(({ layer, path, what }) => {
      return { layer, path: "/", what: `has no short name: ${printable(quote(path))} ${what}` };
    });
    const inside = listParts(store, id).flatMap(({ root }) => found.get(root) ?? []);
    const kept = listTreeBlobs(tree).flatMap((digest) => {
      const what = blobs.get(digest);
      return what === undefined ? [] : [{ layer: null, path: "/", what }];
    });
    return { id, differences: [...links, ...inside, ...kept] };
  });
  return [...damaged, ...checked];
}

/** Checks the blobs that are kept of trees, each once. Returns the differences by the digests. */
async function findBadBlobs(
  store: StoreLayout,
  trees: readonly TreeManifest[],
  quick: boolean,
): Promise<ReadonlyMap<string, string>> {
  const bad = new Map<string, string>();
  for (const digest of new Set(trees.flatMap(listTreeBlobs))) {
    const what = await checkBlob(store, digest, quick);
    if (what !== null) bad.set(digest, what);
  }
  return bad;
}

/** Lists trees with the `rendered` marker and a damaged manifest. */
function damagedTrees(store: StoreLayout): readonly CheckedTree[] {
  const sound = new Set(readWholeTrees(store).map(({ id }) => id));
  const what = "the manifest is gone, or not as it was written";
  return listWholeTrees(store).filter((id) => !sound.has(id)).map((id) => {
    return { id, differences: [{ layer: null, path: "/", what }] };
  });
}
