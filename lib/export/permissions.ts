/**
 * The permissions that an export needs.
 *
 * @module
 */
import { parent } from "../core/path.ts";
import { Call } from "../pod/open.ts";
import { checkPermissions, TRUST } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import type { Reporter } from "../system/change_options.ts";
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
