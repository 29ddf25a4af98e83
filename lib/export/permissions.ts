/**
 * The permissions that an export needs.
 *
 * @module
 */
import { parent } from "../core/path.ts";
import { Call } from "../pod/open.ts";
import { checkPermissions, leastPaths, TRUST } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import type { Reporter } from "../system/change_options.ts";
import type { StoreLayout } from "../store/layout.ts";
import { lowerPaths } from "../store/lower_view.ts";
import { PROGRAMS } from "../system/programs.ts";
import { findApp } from "./find_app.ts";
import type { AppChoice, FoundApp } from "./find_app.ts";
import { IMAGE_PROGRAMS, imageFormat } from "./disk_image.ts";

/** What is exported. */
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

/**
 * Computes the permissions that an export needs; for that, the record of the pod is read.
 *
 * Requires `--allow-read` permission for the pod, `--allow-run` for find, and `--allow-sys=uid`.
 *
 * @throws {MissingPermissionError} If a permission is missing.
 */
export async function exportPermissions(
  request: AppChoice,
  target: ExportTarget,
  options: Reporter,
): Promise<RequiredPermissions> {
  const app = await findAllowedApp(request, new Call(options));
  return { ...foundPermissions(app, target), env: ["SOURCE_DATE_EPOCH"] };
}

/** Checks the permissions to find an app, and finds it. */
async function findAllowedApp(request: AppChoice, call: Call): Promise<FoundApp> {
  checkPermissions("export", findPermissions(request.pod));
  return await findApp(request, call);
}

/**
 * Finds the app that is exported.
 *
 * @throws {MissingPermissionError} If a permission of the export is missing; nothing was written.
 */
export async function openExport(
  request: AppChoice,
  target: ExportTarget,
  options: Reporter,
): Promise<FoundApp> {
  const app = await findAllowedApp(request, new Call(options));
  checkPermissions("export", foundPermissions(app, target));
  return app;
}

/** The part of a commit that its permissions depend on. */
interface CommitChoice extends AppChoice {
  /** Set if the image is made of the mounted root. */
  readonly squash?: boolean;
  /** The layout that it is written into, too. */
  readonly to?: { readonly directory: string } | null;
}

/** Computes the permissions to commit an app that is found, to a store. */
function imagePermissions(
  app: FoundApp,
  store: StoreLayout,
  { squash, to }: CommitChoice,
): RequiredPermissions {
  const found = foundPermissions(app, { what: squash ? "rootfs" : "layer", file: "-" });
  const { ln, sync, rm } = PROGRAMS;
  const write = to === null || to === undefined ? [store.store] : [store.store, to.directory];
  return {
    ...found,
    read: leastPaths([...found.read, ...write]),
    write,
    run: [...new Set([...found.run, ln, sync, rm])],
  };
}

/** The store of the base, and the layout that an image is written into. */
export interface ImageTarget {
  /** The store. */
  readonly store: StoreLayout;
  /** The directory of the layout. */
  readonly directory: string;
}

/** Computes the permissions to write an image of an app that is found into a layout. */
function layoutPermissions(
  app: FoundApp,
  { store, directory }: ImageTarget,
  squash: boolean,
): RequiredPermissions {
  const found = foundPermissions(app, { what: squash ? "rootfs" : "layer", file: "-" });
  const read = leastPaths([...found.read, store.store, directory]);
  return { ...found, read, write: [directory] };
}

/**
 * Finds the app whose image is written into a layout.
 *
 * @throws {MissingPermissionError} If a permission is missing; nothing was written.
 */
export async function openImageExport(
  request: AppChoice & { readonly squash?: boolean },
  target: ImageTarget,
  options: Reporter,
): Promise<FoundApp> {
  const app = await findAllowedApp(request, new Call(options));
  checkPermissions("export", layoutPermissions(app, target, request.squash ?? false));
  return app;
}

/**
 * Computes the permissions to write an image of an app into a layout; for that, the record of the pod is read.
 *
 * Requires `--allow-read` permission for the pod, `--allow-run` for find, and `--allow-sys=uid`.
 *
 * @throws {MissingPermissionError} If a permission is missing.
 */
export async function imageExportPermissions(
  request: AppChoice & { readonly squash?: boolean },
  target: ImageTarget,
  options: Reporter,
): Promise<RequiredPermissions> {
  const app = await findAllowedApp(request, new Call(options));
  const permissions = layoutPermissions(app, target, request.squash ?? false);
  return { ...permissions, env: ["SOURCE_DATE_EPOCH"] };
}

/**
 * Finds the app that is committed.
 *
 * @throws {MissingPermissionError} If a permission of the commit is missing; nothing was written.
 */
export async function openCommit(
  request: CommitChoice,
  store: StoreLayout,
  options: Reporter,
): Promise<FoundApp> {
  const app = await findAllowedApp(request, new Call(options));
  checkPermissions("commit", imagePermissions(app, store, request));
  return app;
}

/**
 * Computes the permissions that a commit needs; for that, the record of the pod is read.
 *
 * Requires `--allow-read` permission for the pod, `--allow-run` for find, and `--allow-sys=uid`.
 *
 * @throws {MissingPermissionError} If a permission is missing.
 */
export async function commitPermissions(
  request: CommitChoice,
  store: StoreLayout,
  options: Reporter,
): Promise<RequiredPermissions> {
  const app = await findAllowedApp(request, new Call(options));
  const permissions = imagePermissions(app, store, request);
  return { ...permissions, env: ["SOURCE_DATE_EPOCH"] };
}
