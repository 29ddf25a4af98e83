/**
 * Finding on the disk what a request names: the tree of an image or an id, and the lowers without symlinks.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { isGranted } from "../system/permissions.ts";
import type { PodRequest, RenderRequest } from "../request/options.ts";
import { quote } from "../core/quote.ts";
import { checkRequest, namesLowers, parseLowers } from "../request/request.ts";
import type { LowersRequest } from "../request/request.ts";
import { resolvedFor, withResolved } from "../request/resolved.ts";

/** An upper belongs to the tree that it was written over, and a symlink can be changed to lead to another. */
function findRealPath(path: string, mayReadAll: boolean): string {
  // Deno would ask on a terminal.
  if (!mayReadAll && !isGranted({ name: "read", path })) return path;
  try {
    return Deno.realPathSync(path);
  } catch (error) {
    // What else is wrong with it is said where the lower is required.
    if (!(error instanceof Deno.errors.InvalidData)) return path;
    throw new InvalidValueError(
      "invalid-value",
      `Cannot use lower ${quote(path)}: it leads to a path that is not valid UTF-8`,
      { path, cause: error, hint: "rename the directory that it leads to" },
    );
  }
}

/**
 * Finds the real paths of the lowers of a request. The names of what was imported say what it is, wherever
 * the store lies and whatever leads there.
 */
function withRealLowers<T extends LowersRequest>(request: T, lowers = parsedLowers(request)): T {
  if (resolvedFor(request).stored !== undefined) return request;
  // Of many lowers, asking for each takes longer than the look.
  const mayReadAll = lowers.length > 1 && isGranted({ name: "read" });
  const real = new Map(lowers.map((path) => [path, findRealPath(path, mayReadAll)]));
  return withResolved(request, { real });
}

/** Returns no lowers where they are not usable, which is said when all of the request is parsed. */
function parsedLowers(request: LowersRequest): readonly string[] {
  try {
    return parseLowers(request);
  } catch (error) {
    if (error instanceof InvalidValueError) return [];
    throw error;
  }
}

/**
 * Checks a request, and looks up in the store what it names by tree or image, and where its lowers lie.
 *
 * Requires `--allow-read` permission for the store and the lowers. A lower that may not be looked at, or
 * is not there, keeps its name.
 *
 * @throws {InvalidValueError} If a field has another type.
 * @throws {OverlayError} If there is no such tree, or it is not whole.
 */
export async function resolveRequest(request: RenderRequest): Promise<RenderRequest> {
  checkRequest(request);
  const named = namesLowers(request)
    ? request
    : (await import("../store/resolve_tree.ts")).resolveTreeSync(request);
  return withRealLowers(named);
}

/** As {@linkcode resolveRequest}, of all apps of a pod. */
export async function resolvePodRequest(request: PodRequest): Promise<PodRequest> {
  const { checkPodRequest } = await import("../request/pod_request.ts");
  checkPodRequest(request);
  const named = request.apps.every(namesLowers)
    ? request
    : (await import("../store/resolve_tree.ts")).resolvePodSync(request);
  const store = request.store === undefined ? {} : { store: request.store };
  const apps = named.apps.map((app) => withRealLowers(app, parsedLowers({ ...store, ...app })));
  return { ...named, apps };
}
