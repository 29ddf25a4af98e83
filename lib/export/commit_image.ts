/**
 * Commits an app: makes an image of the one that it was rendered from and of what it wrote.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { commitConfig } from "../image/commit_config.ts";
import type { ConfigChanges } from "../image/commit_config.ts";
import { composeImage } from "../image/compose_image.ts";
import type { ComposedLayer } from "../image/compose_image.ts";
import type { Image } from "../image/image.ts";
import type { Descriptor } from "../image/manifest.ts";
import { layerType } from "../image/manifest.ts";
import { child } from "../core/path.ts";
import type { ImportedTree } from "../store/import_options.ts";
import type { PushedImage, PushOptions } from "../store/push_tree.ts";
import type { RegistryRequest } from "../store/registry_access.ts";
import { storeLayout } from "../store/layout.ts";
import { sum } from "../store/write_tree.ts";
import { findBase } from "./commit_base.ts";
import type { CommitBase } from "./commit_base.ts";
import { exportPieces, openUpper } from "./export_layer.ts";
import type { ArchiveRequest, Exported } from "./export_layer.ts";
import { openRootfs } from "./export_rootfs.ts";
import type { FoundApp } from "./find_app.ts";
import { checkBlobs, checkLayout } from "./oci_layout.ts";
import type { LayoutTarget } from "./oci_layout.ts";
import { findIn, writeStoredImage } from "./stored_image.ts";
import { openExport } from "./permissions.ts";
import { sendTo } from "./send_to.ts";

/** A request to make an image of an app. */
export interface ImageRequest extends ArchiveRequest, ConfigChanges {
  /** The tree store with the image of the app. @default {"/var/lib/overlay-render"} */
  readonly store?: string;
  /** Set if the image has one layer, with all of the mounted root. @default {false} */
  readonly squash?: boolean;
}

/** A request to commit an app. */
export interface CommitRequest extends ImageRequest {
  /** The name of the new image. */
  readonly name: string;
  /** An OCI image layout that the image is written into too, or a registry that it is pushed to. @default {none} */
  readonly to?: LayoutTarget | RegistryRequest | null;
}

/** The options of a commit: those of a push, and listeners for its progress. */
export type CommitOptions = PushOptions;

/** An image that was committed. */
export interface CommittedImage extends ImportedTree {
  /** The image in the registry, if it was pushed to one. */
  readonly pushed?: PushedImage;
}

/** An app, the base of its image, and how the image is made. */
export interface ImageSource {
  readonly app: FoundApp;
  readonly base: CommitBase;
  readonly request: ImageRequest;
}

/** Lists the descriptors of the base's layers. */
export function listDescriptors({ base }: ImageSource): readonly Descriptor[] {
  return base.layers.map(({ descriptor }) => descriptor);
}

/** Finds the base of an app's image, and warns of what it lacks. */
export function openBase(
  app: FoundApp,
  request: ImageRequest,
  { warn }: ChangeOptions,
): ImageSource {
  const store = storeLayout(request.store);
  const base = findBase(store, app.line.tree, request.squash ?? false);
  const lost = (part: "setuid" | "devices") =>
    sum(base.layers.map(({ record }) => record[part].left));
  if (lost("setuid") > 0) warn?.("the tree was imported without setuid: changed files lack it too");
  if (lost("devices") > 0) warn?.("the tree was imported without devices");
  return { app, base, request };
}

/**
 * Makes the image of an app.
 *
 * @param name Its name; `null` if it has none.
 * @param file The file that its new layer is written to.
 */
export async function makeImage(
  { app, base, request }: ImageSource,
  { name, file }: { readonly name: string | null; readonly file: string },
  options: ChangeOptions,
): Promise<Image> {
  const { squash, compression = "gzip", sourceDateEpoch } = request;
  const how = { ...request, compression };
  const source = await (squash ? openRootfs : openUpper)(app, how, options);
  const exported = await sendTo(file, exportPieces(source, options));
  const created = sourceDateEpoch ?? Math.floor(Date.now() / 1000);
  const diffIds = base.layers.map(({ diffId }) => diffId);
  const config = commitConfig({ config: base.image?.config ?? null, diffIds }, {
    diffId: exported.diffId,
    created,
  }, request);
  const layers = [...base.layers, describeLayer(exported, file)];
  return await composeImage({ name, config, layers, annotations: annotate(base, squash ?? false) });
}

function describeLayer(exported: Exported, path: string): ComposedLayer {
  const { digest, size, diffId, compression } = exported;
  return { descriptor: { mediaType: layerType(compression), digest, size }, diffId, path };
}

/** Names the base in a manifest (OCI image specification, "Annotations"). */
function annotate({ image }: CommitBase, squash: boolean): Readonly<Record<string, string>> {
  if (image === null || squash) return {};
  const { digest, name } = image;
  return {
    ...(digest === null ? {} : { "org.opencontainers.image.base.digest": digest }),
    ...(name === null ? {} : { "org.opencontainers.image.base.name": name }),
  };
}

/** An image with its layers of the base as they are in the store. */
function withRecords(image: Image, { layers }: CommitBase): Image {
  return {
    ...image,
    layers: image.layers.map((blob, at) => {
      const key = layers[at]?.record.key;
      return key === undefined ? blob : { ...blob, key };
    }),
  };
}

/**
 * Commits an app: makes an image of the one that it was rendered from, and of what it wrote as a further
 * layer, and puts it into the tree store. The app keeps its lowers. The blobs of the new layer and the config
 * are kept in the store, for a push. If the layout or the registry does not take the image, it is in the store all
 * the same.
 *
 * Requires the permissions of `exportLayer`, and `--allow-read` and `--allow-write` for the store and
 * `--allow-run` for ln, sync and rm; with `squash` those of `exportRootfs`; for a registry those of `pushTree`.
 *
 * @param request The app, the name, and the changes of the config.
 * @param options Listeners for warnings and programs, and a signal that ends the commit.
 * @returns The tree of the new image.
 * @throws {InvalidValueError} If a part of the request is invalid, or the tree of the app is no image.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was written.
 * @throws {OverlayError} As `exportLayer` does; the store is unchanged.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { commitImage, renderOverlay } from "@overlay/render";
 * import { importTree } from "@overlay/render/tree";
 *
 * const dir = await Deno.makeTempDir();
 * const store = `${dir}/store`;
 * const pod = `${dir}/pod`;
 * await Deno.mkdir(`${dir}/image`);
 * await importTree({ source: `${dir}/image`, store, name: "base" });
 * {
 *   await using app = await renderOverlay({ image: "base", store, pod });
 *   await Deno.writeTextFile(`${app.rootfs}/hello`, "from the app");
 *   const { image } = await commitImage({ pod, store, name: "mine", squash: true });
 *   assert(image === "mine");
 * }
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys, allow-net, allow-env
 */
export async function commitImage(
  request: CommitRequest,
  options: CommitOptions = {},
): Promise<CommittedImage> {
  const { importImage } = await import("../store/import_image.ts");
  const { importInto } = await import("../store/import_tree.ts");
  const store = storeLayout(request.store);
  const { name, to = null } = request;
  const app = await openExport(request, { store, commit: true, to }, options);
  const source = openBase(app, request, options);
  if (to !== null && "directory" in to) {
    await checkLayout(to, options);
    checkBlobs(to, listDescriptors(source), findIn(store));
  }
  const { userxattr } = source.base;
  const tree = await importInto(
    {
      source: "-",
      store: store.store,
      name,
      keepBlobs: true,
      ...(userxattr === undefined ? {} : { userxattr }),
    },
    options,
    async (parsed, options) => {
      const file = child(parsed.store.scratch, "committed");
      const image = await makeImage(source, { name, file }, options);
      return await importImage(withRecords(image, source.base), parsed, options);
    },
  );
  if (to === null) return tree;
  if ("reference" in to) {
    const { pushTree } = await import("../store/push_tree.ts");
    return { ...tree, pushed: await pushTree({ ...to, tree: name, store: store.store }, options) };
  }
  await writeStoredImage(name, store, to, options);
  return tree;
}
