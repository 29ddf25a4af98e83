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
  /** The layout that it is written into; `null` for none. */
  readonly layout: { readonly directory: string } | null;
}

/** Computes the permissions to make an image of an app that is found. */
function imagePermissions(
  app: FoundApp,
  { squash }: ImageChoice,
  { store, commit, layout }: ImageTarget,
): RequiredPermissions {
  const found = foundPermissions(app, { what: squash ? "rootfs" : "layer", file: "-" });
  const { ln, sync, rm } = PROGRAMS;
  const directories = layout === null ? [] : [layout.directory];
  return {
    ...found,
    read: leastPaths([...found.read, store.store, ...directories]),
    write: commit ? [store.store, ...directories] : directories,
    run: [...new Set([...found.run, ...commit ? [ln, sync, rm] : []])],
  };
}

/** Computes the permissions of an export or a commit. */
function permissionsFor(
  app: FoundApp,
  request: ImageChoice,
  target: ExportTarget | ImageTarget,
): RequiredPermissions {
  return "what" in target ? foundPermissions(app, target) : imagePermissions(app, request, target);
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
  return { ...permissionsFor(app, request, target), env: ["SOURCE_DATE_EPOCH"] };
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
  checkPermissions(verb, permissionsFor(app, request, target));
  return app;
}
