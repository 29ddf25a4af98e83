/**
 * Taking trees and layers of the store away that nobody uses.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { attempt, look } from "../system/disk.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { checkPermissions, isGranted, permissionFlags } from "../system/permissions.ts";
import { child, nameOf } from "../core/path.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { storedTreeLayout, storeLayout } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import { clearAway, openStore, syncDirectory, tidy } from "./open.ts";
import { linkOf, markedTrees, namesIn, treeNamed, viewOf, wholeTrees } from "./tree_manifest.ts";
import type { TreeManifest } from "./tree_manifest.ts";
import { storePermissions } from "./list.ts";
import type { StoreRequest, TreeChoice } from "./list.ts";
import {
  checkedUsersOf,
  forgetPods,
  isKnown,
  mountOf,
  presentUseOf,
  unreadableOf,
  useOf,
} from "./tree_use.ts";
import type { KnownUser, TreeUser } from "./tree_use.ts";

/** What went, or would go. */
export interface RemovedTrees {
  /** The ids of trees. */
  readonly trees: readonly string[];
  /** The keys of layers. */
  readonly layers: readonly string[];
}

function usedError(what: string, by: string, hint: string): RefusedError {
  return new RefusedError("in-use", `Cannot remove ${what}: ${by}`, { hint });
}

/** The error of a note that may be of any pod. */
function noteError(what: string, { note }: TreeUser): RefusedError {
  const by = `${
    quote(note)
  } is no note of a pod as a render writes it, and may be of one that uses it`;
  return usedError(what, by, `when no pod uses it: rm ${shellQuote(note)}`);
}

/** The error of a pod that may use anything. */
function unknownError(
  what: string,
  { pod }: KnownUser,
  { users, cause }: { readonly users: readonly TreeUser[]; readonly cause?: OverlayError },
): RefusedError {
  const known = users.filter(isKnown);
  const read = known.flatMap((user) => unreadableOf(user) ?? []);
  const write = known.map((user) => user.pod).filter((path) => !isGranted({ name: "write", path }));
  const flags = permissionFlags({ read, write, run: [] }).map(shellQuote);
  const hint = flags.length === 0
    ? `see what is wrong with it: overlay-render status --pod ${shellQuote(pod)}`
    : `add ${flags.join(" ")} to the flags of deno run`;
  const why = cause === undefined ? "" : ` (${cause.message})`;
  return usedError(what, `it is not known whether pod ${quote(pod)} uses it${why}`, hint);
}

/** Refuses what a pod uses, or might. */
async function refuseUsed(id: string, store: StoreLayout): Promise<void> {
  const what = `tree ${quote(id)}`;
  const users = await checkedUsersOf(store);
  for (const user of users) {
    if (!isKnown(user)) throw noteError(what, user);
    await refuseUsedBy(user, { id, store, users });
  }
}

async function refuseUsedBy(
  user: KnownUser,
  { id, store, users }: {
    readonly id: string;
    readonly store: StoreLayout;
    readonly users: readonly TreeUser[];
  },
): Promise<void> {
  const what = `tree ${quote(id)}`;
  const path = user.pod;
  const isOpen = isGranted({ name: "write", path }) && unreadableOf(user) === null;
  if (!isOpen) throw unknownError(what, user, { users });
  const use = await presentUseOf(user, store).catch((error: unknown) => {
    if (!(error instanceof OverlayError)) throw error;
    throw unknownError(what, user, { users, cause: error });
  });
  if (use.trees.includes(id)) {
    const hint = `collect it first: overlay-render gc --pod ${shellQuote(path)}`;
    throw usedError(what, `pod ${quote(path)} uses it`, hint);
  }
  if (!use.busy) return;
  const by = `a command that is just rendering pod ${quote(path)} may use it`;
  throw usedError(what, by, "try again later");
}

/** Refuses what is a part of a mount, whoever has made it. */
async function refuseMounted(
  { what, names }: { readonly what: string; readonly names: ReadonlySet<string> },
  store: StoreLayout,
  options: ChangeOptions,
): Promise<void> {
  const target = await mountOf(names, store, programOptions(options));
  if (target === null) return;
  throw usedError(what, `the mount on ${quote(target)} uses it`, "unmount it first");
}

/** The names by which a tree, or its layers, can be a part of a mount. */
function namesOf(tree: TreeManifest): readonly string[] {
  const { id, layers, lowers } = viewOf(tree);
  return [id, ...layers, ...lowers];
}

/**
 * Removes a tree. Its layers stay, until {@linkcode collectTrees} takes those that no tree has.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the store and for the pods that were
 * rendered from it, `--allow-run` for findmnt, find and rm, and `--allow-sys=uid`.
 *
 * @returns The tree that is gone.
 * @throws {RefusedError} If a pod uses it, it is a part of a mount, or another user could change the store.
 * @throws {OverlayError} If there is no such tree.
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function removeTree(
  request: TreeChoice,
  options: ChangeOptions = {},
): Promise<RemovedTrees> {
  checkPermissions("remove a tree", storePermissions(request, true));
  const store = storeLayout(request.store);
  // A store that is not there is not made for that.
  treeNamed(store, request.tree);
  using _lock = await openStore(store, options);
  const manifest = treeNamed(store, request.tree);
  const { id } = manifest;
  const { tree, rendered, removing } = storedTreeLayout(store, id);
  // Pods that use it may be rendered again meanwhile: as long as one does, it is not taken away.
  await refuseUsed(id, store);
  // Who renders notes the pod, and then looks for this; so one of the two sees the other.
  attempt("take away", rendered, () => Deno.renameSync(rendered, removing));
  try {
    await refuseUsed(id, store);
    const shared = new Set(wholeTrees(store).flatMap(namesOf));
    const names = new Set(namesOf(manifest).filter((name) => !shared.has(name)));
    await refuseMounted({ what: `tree ${quote(id)}`, names }, store, options);
    options.signal?.throwIfAborted();
  } catch (error) {
    attempt("put back", rendered, () => Deno.renameSync(removing, rendered));
    throw error;
  }
  const aside = child(store.scratch, "tree");
  attempt("remove", tree, () => Deno.renameSync(tree, aside));
  syncDirectory(store.trees);
  await clearAway([aside], options);
  return { trees: [id], layers: [] };
}

/** How the store is collected. */
export interface CollectTreesRequest extends StoreRequest {
  /** Whether it is only said what would go. @default {false} */
  readonly dryRun?: boolean;
}

/** What pods use of the store, in case that what was written down of their trees is damaged. */
async function usedNames(store: StoreLayout): Promise<ReadonlySet<string>> {
  const used = new Set<string>();
  const whole = new Set(wholeTrees(store).map(({ id }) => id));
  const damaged = markedTrees(store).find((id) => !whole.has(id));
  const users = await checkedUsersOf(store);
  for (const user of users) {
    const use = isKnown(user) ? useOf(user, store) : null;
    if (use === null && damaged !== undefined) {
      const what = `tree ${quote(damaged)}, whose manifest is damaged`;
      throw isKnown(user) ? unknownError(what, user, { users }) : noteError(what, user);
    }
    for (const id of use?.trees ?? []) used.add(id);
    for (const lower of use?.lowers ?? []) used.add(nameOf(lower));
  }
  for (const link of linksIn(store)) if (used.has(link.name)) used.add(link.key);
  return used;
}

function linksIn(
  { links }: StoreLayout,
): readonly { readonly name: string; readonly key: string }[] {
  return namesIn(links).flatMap((name) => {
    const to = linkOf(child(links, name));
    return to === null ? [] : [{ name, key: nameOf(to) }];
  });
}

/** Trees whose import did not finish, and layers that no tree has. */
async function unneeded(store: StoreLayout): Promise<RemovedTrees> {
  const whole = wholeTrees(store);
  const used = await usedNames(store);
  const ids = new Set(whole.map(({ id }) => id));
  const needed = new Set(whole.flatMap((tree) => viewOf(tree).layers));
  return {
    // One without a manifest was not made by an import, or is not finished and without its mark.
    trees: namesIn(store.trees).filter((id) => {
      const isOurs = look(storedTreeLayout(store, id).manifest) !== null;
      return !ids.has(id) && !used.has(id) && isOurs;
    }),
    layers: namesIn(store.layers).filter((key) => !needed.has(key) && !used.has(key)),
  };
}

/**
 * Removes the layers that no tree has, what is left of imports that did not finish, and the notes of pods
 * that are gone. What a pod uses stays, even if what was written down of its tree is damaged.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the store, `--allow-run` for findmnt, find
 * and rm, and `--allow-sys=uid`. Without `--allow-read` permission for a pod, a damaged tree that it may use is an error.
 *
 * @returns What went, or would go.
 * @throws {RefusedError} If a layer that no tree has is a part of a mount, or another user could change the
 * store.
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function collectTrees(
  request: CollectTreesRequest = {},
  options: ChangeOptions = {},
): Promise<RemovedTrees> {
  const dryRun = request.dryRun ?? false;
  checkPermissions("collect trees", storePermissions(request, !dryRun));
  const store = storeLayout(request.store);
  if (dryRun || look(store.store) === null) return await unneeded(store);
  using _lock = await openStore(store, options);
  const { trees, layers } = await unneeded(store);
  const gone = new Set([...trees, ...layers]);
  const names = new Set([
    ...gone,
    ...linksIn(store).filter(({ key }) => gone.has(key)).map(({ name }) => name),
  ]);
  await refuseMounted({ what: "what no tree has", names }, store, options);
  const paths = [
    ...trees.map((id) => storedTreeLayout(store, id).tree),
    ...layers.map((key) => child(store.layers, key)),
  ];
  const aside = paths.map((path, at) => {
    const to = child(store.scratch, `gone-${at}`);
    attempt("remove", path, () => Deno.renameSync(path, to));
    return to;
  });
  // What is half gone must not be in its place again after a power cut.
  for (const path of [store.trees, store.layers]) syncDirectory(path);
  await clearAway(aside, options);
  tidy(store);
  for (const user of await checkedUsersOf(store)) {
    if (isKnown(user)) continue;
    options.warn?.(
      `${quote(user.note)} is no note of a pod as a render writes it; it keeps all trees`,
    );
  }
  await forgetPods(store);
  return { trees, layers };
}
