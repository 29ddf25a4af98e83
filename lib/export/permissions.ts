/**
 * The permissions that an export needs.
 *
 * @module
 */
import { parent } from "../core/path.ts";
import { Call } from "../pod/open.ts";
import {
  checkPermissions,
  isGranted,
  joinPermissions,
  leastPaths,
  TRUST,
} from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import type { Reporter } from "../system/change_options.ts";
import type { StoreLayout } from "../store/layout.ts";
import type { RegistryRequest } from "../store/registry_access.ts";
import { lowerPaths } from "../store/lower_view.ts";
import { PROGRAMS } from "../system/programs.ts";
import { findBase } from "./commit_base.ts";
import { findApp } from "./find_app.ts";
import type { AppChoice, FoundApp } from "./find_app.ts";
import { IMAGE_PROGRAMS, imageFormat } from "./disk_image.ts";

/** The export of a layer or of a root. */
export interface ExportTarget {
  /** The upper as a layer, or the mounted root. */
  readonly what: "layer" | "rootfs";
  /** The file that is written; `-` for a stream. */
  readonly file: string;
}

/** Computes the permissions to find the app that is exported. */
export function findPermissions(pod: string): RequiredPermissions {
  return { read: [pod], write: [], run: [...TRUST.run], sys: TRUST.sys };
}

/** Computes the permissions to export an app that is found: a layer also depends on its lowers. */
export function foundPermissions(
  { open, line, config }: FoundApp,
  { what, file }: ExportTarget,
): RequiredPermissions {
  const files = file === "-" ? [] : [file, `${file}.new`];
  const { pod } = open.layout;
  const format = what === "rootfs" ? imageFormat(file) : null;
  const readers = format === null ? [PROGRAMS.tar] : [IMAGE_PROGRAMS[format]];
  return {
    read: [
      pod,
      ...what === "layer" ? lowerPaths(config.lower, line.tree) : [parent(line.rootfs)],
      ...files,
    ],
    write: files,
    run: [...readers, ...TRUST.run, ...what === "rootfs" ? [PROGRAMS.findmnt] : []],
    sys: TRUST.sys,
  };
}

/** The part of a request for an image that its permissions depend on. */
interface ImageChoice extends AppChoice {
  /** Set if the image is made of the mounted root. */
  readonly squash?: boolean;
}

/** The place of an image. */
export interface ImageTarget {
  /** The store of the base. */
  readonly store: StoreLayout;
  /** Set if the image is put into the store. */
  readonly commit: boolean;
  /** The layout that it is written into, or the registry that it is pushed to; `null` for none. */
  readonly to: { readonly directory: string } | RegistryRequest | null;
}

/** Computes the permissions to make an image of an app that is found. */
async function imagePermissions(
  app: FoundApp,
  { squash = false }: ImageChoice,
  { store, commit, to }: ImageTarget,
): Promise<RequiredPermissions> {
  const found = foundPermissions(app, { what: squash ? "rootfs" : "layer", file: "-" });
  const { ln, sync, rm } = PROGRAMS;
  const directories = to !== null && "directory" in to ? [to.directory] : [];
  const needed = {
    ...found,
    read: leastPaths([...found.read, store.store, ...directories]),
    write: commit ? [store.store, ...directories] : directories,
    run: [...new Set([...found.run, ...commit ? [ln, sync, rm] : []])],
  };
  if (to === null || "directory" in to) return needed;
  return joinPermissions([needed, await registryPermissions(app, squash, { store, to })]);
}

/** Computes the permissions to push an image, whose layers of the base may come from a registry. */
async function registryPermissions(
  { line }: FoundApp,
  squash: boolean,
  { store, to }: { readonly store: StoreLayout; readonly to: RegistryRequest },
): Promise<RequiredPermissions> {
  const { blobPermissions } = await import("../store/push_tree.ts");
  const { findLayers } = await import("../store/push_image.ts");
  const isReadable = isGranted({ name: "read", path: store.store });
  const layers = isReadable ? findBase(store, line.tree, squash).layers : [];
  const blobs = findLayers(store, layers.map(({ descriptor }) => descriptor));
  return blobPermissions({ ...to, store: store.store }, blobs);
}

/** Computes the permissions of an export or a commit. */
async function permissionsFor(
  app: FoundApp,
  request: ImageChoice,
  target: ExportTarget | ImageTarget,
): Promise<RequiredPermissions> {
  if ("what" in target) return foundPermissions(app, target);
  return await imagePermissions(app, request, target);
}

/**
 * Computes the permissions that an export or a commit needs; for that, the record of the pod is read.
 *
 * Requires `--allow-read` permission for the pod, `--allow-run` for find, and `--allow-sys=uid`.
 *
 * @throws {MissingPermissionError} If a permission is missing.
 */
export async function exportPermissions(
  request: ImageChoice,
  target: ExportTarget | ImageTarget,
  options: Reporter,
): Promise<RequiredPermissions> {
  const app = await findAllowedApp(request, options);
  const needed = await permissionsFor(app, request, target);
  return { ...needed, env: ["SOURCE_DATE_EPOCH", ...needed.env ?? []] };
}

/** Checks the permissions to find an app, and finds it. */
async function findAllowedApp(request: AppChoice, options: Reporter): Promise<FoundApp> {
  checkPermissions("export", findPermissions(request.pod));
  return await findApp(request, new Call(options));
}

/**
 * Finds the app that is exported or committed.
 *
 * @throws {MissingPermissionError} If a permission for the rest is missing; nothing was written.
 */
export async function openExport(
  request: ImageChoice,
  target: ExportTarget | ImageTarget,
  options: Reporter,
): Promise<FoundApp> {
  const app = await findAllowedApp(request, options);
  const verb = "commit" in target && target.commit ? "commit" : "export";
  checkPermissions(verb, await permissionsFor(app, request, target));
  return app;
}
