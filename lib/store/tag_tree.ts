/**
 * Gives names to images of the store, and takes them.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import { replaceFile } from "../system/own_file.ts";
import { checkPermissions, TRUST } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { parseName } from "./import_request.ts";
import { storedTreeLayout, storeLayout } from "./layout.ts";
import type { StoreRequest, TreeChoice } from "./list.ts";
import { openStore } from "./open.ts";
import { chooseImage, findByName, findTree, formatRecord } from "./tree_manifest.ts";
import type { TreeManifest } from "./tree_manifest.ts";
import { writeTree } from "./write_tree.ts";

/** A request to name an image. */
export interface TagRequest extends TreeChoice {
  /** The further name. */
  readonly name: string;
}

/** A request to take the name of an image. */
export interface UntagRequest extends StoreRequest {
  /** The name. */
  readonly name: string;
}

/** A tree whose names were changed. */
export interface TaggedTree {
  /** The tree id. */
  readonly id: string;
  /** The names of its images. */
  readonly images: readonly string[];
}

/** Computes the permissions to change the names of images. */
export function tagPermissions(request: StoreRequest): RequiredPermissions {
  const { store } = storeLayout(request.store);
  return { read: [store], write: [store], run: [...TRUST.run], sys: TRUST.sys };
}

function listTags({ id, images }: TreeManifest): TaggedTree {
  return { id, images: images.flatMap(({ name }) => name ?? []) };
}

/**
 * Gives an image a further name. An image that has the name loses it.
 *
 * Requires the permissions that {@linkcode tagPermissions} computes.
 *
 * @throws {InvalidValueError} If the name is invalid.
 * @throws {OverlayError} If there is no such tree.
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function tagTree(
  request: TagRequest,
  options: ChangeOptions = {},
): Promise<TaggedTree> {
  const name = parseName("name", request.name);
  checkPermissions("name an image", tagPermissions(request));
  const store = storeLayout(request.store);
  findTree(store, request.tree);
  using _lock = await openStore(store, options);
  const tree = findTree(store, request.tree);
  const none = { name: null, digest: null, config: null };
  const image = { ...none, ...chooseImage(tree, request.tree), name };
  await writeTree(store, tree, { image, options });
  return listTags(findTree(store, tree.id));
}

/**
 * Takes a name from an image. The tree stays, also without any name.
 *
 * Requires the permissions that {@linkcode tagPermissions} computes.
 *
 * @throws {OverlayError} If no image has the name.
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function untagTree(
  request: UntagRequest,
  options: ChangeOptions = {},
): Promise<TaggedTree> {
  checkPermissions("take a name", tagPermissions(request));
  const store = storeLayout(request.store);
  findTree(store, request.name);
  using _lock = await openStore(store, options);
  const tree = findTree(store, request.name);
  const image = chooseImage(tree, request.name);
  const isName = findByName([tree], request.name) !== undefined;
  if (image === undefined || !isName) throw noNameError(request.name);
  const others = tree.images.filter((one) => one !== image);
  // The config of the last image stays with the tree.
  const images = others.length > 0 ? others : [{ ...image, name: null }];
  const changed = { ...tree, images };
  replaceFile(storedTreeLayout(store, tree.id).manifest, formatRecord(changed), 0o600);
  return listTags(changed);
}

function noNameError(name: string): OverlayError {
  return new OverlayError("missing", `Cannot take the name ${quote(name)}: no image has it`, {
    hint: "overlay-render tree list shows the names",
  });
}
