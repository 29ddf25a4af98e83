/**
 * Lists the changes of an app: what it added, changed and deleted in its tree.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { checkPermissions, leastPaths } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { PROGRAMS } from "../system/programs.ts";
import { linePermissions } from "../pod/record.ts";
import { Call, openPermissions } from "../pod/open.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { RefusedError } from "../core/errors.ts";
import { appWords, decodeBytes } from "../core/quote.ts";
import { findApp } from "../export/find_app.ts";
import type { FoundApp } from "../export/find_app.ts";
import { podLayout } from "../request/layout.ts";
import { withParents } from "../layer/upper_changes.ts";
import type { EntryChange } from "../layer/upper_changes.ts";
import { listChanges } from "../store/app_changes.ts";
import { lowerPaths } from "../store/lower_view.ts";
import { findMarks } from "../store/upper_marks.ts";

/** A request to list the changes of an app. */
export interface ChangesRequest {
  /** The pod, an absolute path. */
  readonly pod: string;
  /** The app; empty for the pod's own image. @default {the only app of the pod} */
  readonly app?: string;
  /** Set if directories that only lead to a change are listed too. @default {false} */
  readonly all?: boolean;
}

/** The options of {@linkcode overlayChanges}. */
export type ChangesOptions = Pick<ChangeOptions, "trace" | "signal">;

/** A change that an app made in its tree. */
export interface Change {
  /** `A` if the entry was added, `C` if it was changed, `D` if it was deleted. */
  readonly kind: "A" | "C" | "D";
  /** The path in the rootfs, with a slash at its start. */
  readonly path: string;
  /** The bytes of a path that is not UTF-8, in base64; the characters of `path` are then single bytes. */
  readonly base64?: string;
  /** The type: of an entry that was deleted, the one that it had. */
  readonly type: "file" | "directory" | "symlink" | "char" | "block" | "fifo" | "socket";
}

/**
 * Lists what an app added, changed and deleted in its tree, in the order of the bytes of the paths. An entry
 * that was written and is what it was is no change; its time does not matter. Of a directory that was
 * deleted, or replaced by a file, only itself is listed.
 *
 * The app may be mounted or not; nothing is changed. The lowers are known from the records of the tree store,
 * or read from the disk, as far as the app has written to the same paths.
 *
 * Requires the permissions that {@linkcode changesPermissions} computes.
 *
 * @param request The app.
 * @param options Listeners, and a signal that ends the call.
 * @returns The changes; none of a read-only view.
 * @throws {InvalidValueError} If the pod is no absolute path, or has several apps and none is named.
 * @throws {MissingPermissionError} If a Deno permission is missing.
 * @throws {RefusedError} If another user could change the pod, the rootfs is a copy, or a directory was renamed
 * by `redirect_dir` and the app is not mounted.
 * @throws {OverlayError} If there is no such pod or app, or an entry cannot be read or changes meanwhile.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { overlayChanges, renderOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * await Deno.writeTextFile(`${dir}/image/old`, "from the tree");
 * const options = ["userxattr"];
 * {
 *   await using app = await renderOverlay({ lower: `${dir}/image`, pod: `${dir}/pod`, options });
 *   await Deno.remove(`${app.rootfs}/old`);
 *   await Deno.writeTextFile(`${app.rootfs}/new`, "from the app");
 * }
 * const changes = await overlayChanges({ pod: `${dir}/pod` });
 * assert(changes.map(({ kind, path }) => `${kind} ${path}`).join() === "A /new,D /old");
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-run, allow-sys
 */
export async function overlayChanges(
  request: ChangesRequest,
  options: ChangesOptions = {},
): Promise<readonly Change[]> {
  const chosen = await choose(request, options);
  checkPermissions("list changes", permissionsOf(chosen));
  const { line, config: { lower, upper, options: mountOptions } } = chosen;
  if (line.copy) throw copyError(line);
  if (upper === null) return [];
  const { changes, upper: entries } = await listChanges({
    tree: line.tree,
    lower,
    upper,
    attributes: findMarks(line.app, mountOptions),
    findRootfs: () => findRootfs(chosen),
  }, options);
  return (request.all ? withParents(changes, entries) : changes).map(toChange);
}

/**
 * Computes the Deno permissions that {@linkcode overlayChanges} needs. For a directory that was renamed by
 * `redirect_dir` it also needs `--allow-run` for findmnt, and `--allow-read` for a destination outside the pod.
 *
 * Requires `--allow-read` permission for the pod, `--allow-run` for find, and `--allow-sys=uid`.
 *
 * @param request The app.
 * @throws As {@linkcode overlayChanges} does before it reads an entry.
 *
 * @tags allow-read, allow-run, allow-sys
 */
export async function changesPermissions(
  request: ChangesRequest,
  options: ChangesOptions = {},
): Promise<RequiredPermissions> {
  return permissionsOf(await choose(request, options));
}

async function choose(request: ChangesRequest, options: ChangesOptions): Promise<FoundApp> {
  const { pod } = podLayout(request.pod);
  const first = { ...openPermissions(pod), run: [PROGRAMS.find] };
  checkPermissions("list changes", first);
  return await findApp(request, new Call(options));
}

function permissionsOf({ open, line, config }: FoundApp): RequiredPermissions {
  const { read, ...more } = openPermissions(open.layout.pod);
  if (config.upper === null || line.copy) return { ...more, read, run: [PROGRAMS.find] };
  return {
    ...more,
    read: leastPaths([...read, ...lowerPaths(config.lower, line.tree)]),
    run: [PROGRAMS.tar, PROGRAMS.find],
  };
}

function copyError({ app, rootfs }: AppLine): RefusedError {
  const reason = "its rootfs is a copy of the tree, which has no upper";
  return new RefusedError("refused", `Cannot list the changes of ${appWords(app)}: ${reason}`, {
    path: rootfs,
    hint: "render it with overlayfs to know what it changes",
  });
}

/** Finds the rootfs of an app, if it is mounted. */
async function findRootfs({ open, line }: FoundApp): Promise<string | null> {
  const action = "list changes";
  const { read, write } = linePermissions([line], open.layout);
  checkPermissions(action, { read, write, run: [PROGRAMS.findmnt] });
  const [seen] = (await open.snapshot(action, [line])).seen;
  return seen?.state === "mounted" ? seen.target : null;
}

/** The names of types that records abbreviate. */
const TYPES: Readonly<Record<string, string>> = { dir: "directory", link: "symlink" };

function toChange({ kind, path, record }: EntryChange): Change {
  const type = record.get("type") ?? "file";
  const text = decodeBytes(path);
  return {
    kind,
    path: `/${text ?? path}`,
    ...(text === null ? { base64: btoa(`/${path}`) } : {}),
    type: (TYPES[type] ?? type) as Change["type"],
  };
}
