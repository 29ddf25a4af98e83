/**
 * Exports an app as an image in an OCI image layout.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { child } from "../core/path.ts";
import type { Descriptor } from "../image/manifest.ts";
import { storeLayout } from "../store/layout.ts";
import { attempt, look } from "../system/disk.ts";
import { listDescriptors, makeImage, openBase } from "./commit_image.ts";
import type { ImageRequest } from "./commit_image.ts";
import { checkBlobs, layoutBlob, openLayout, putInPlace, writeLayout } from "./oci_layout.ts";
import { documents, findIn } from "./stored_image.ts";
import type { LayoutTarget } from "./oci_layout.ts";
import { openExport } from "./permissions.ts";

/**
 * Exports an app as an image: the layers of the one that it was rendered from, which the store must keep
 * (`keepBlobs`), and one of what the app wrote; or with `squash` one layer of all. The store is unchanged.
 *
 * Requires the permissions of `exportLayer`, `--allow-read` for the store, and `--allow-read` and
 * `--allow-write` for the layout.
 *
 * @param request The app, and the changes of the config.
 * @param target The layout, and the name of the image in it.
 * @param options Listeners for warnings and programs, and a signal that ends the export.
 * @returns The descriptor of the manifest.
 * @throws {OverlayError} As `exportLayer` does, or if a layer of the base is not at hand (`missing`).
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function exportImage(
  request: ImageRequest,
  target: LayoutTarget,
  options: ChangeOptions = {},
): Promise<Descriptor> {
  const store = storeLayout(request.store);
  const app = await openExport(request, { store, commit: false, to: target }, options);
  const source = openBase(app, request, options);
  const find = findIn(store);
  checkBlobs(target, listDescriptors(source), find);
  using _lock = await openLayout(target, options);
  const file = child(target.directory, "layer.tmp");
  try {
    const image = await makeImage(source, { name: target.ref, file }, options);
    const layer = image.layers.at(-1)?.digest ?? "";
    putInPlace(file, layoutBlob(target, layer));
    return await writeLayout(target, documents(image), find);
  } finally {
    if (look(file) !== null) attempt("remove", file, () => Deno.removeSync(file));
  }
}
