/**
 * Resolves the names in a request: the tree of an image or an id, and the real paths of the lowers.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { isGranted } from "../system/permissions.ts";
import type { PodRequest, RenderRequest } from "../request/options.ts";
import { quote } from "../core/quote.ts";
import { checkRequest, namesLowers, parseLowers } from "../request/request.ts";
import type { LowersRequest } from "../request/request.ts";
import { defaults } from "../request/layout.ts";
import { withUserxattr } from "../request/mount_option.ts";
import { resolvedFor, withResolved } from "../request/resolved.ts";

/** Finds the real path of a lower: an upper belongs to one tree, and a symlink can be changed to another. */
function findRealPath(path: string, mayReadAll: boolean): string {
  // Without the permission, Deno would prompt on a terminal.
  if (!mayReadAll && !isGranted({ name: "read", path })) return path;
  try {
    return Deno.realPathSync(path);
  } catch (error) {
    // Other errors are reported by the operation that requires the lower.
    if (!(error instanceof Deno.errors.InvalidData)) return path;
    throw new InvalidValueError(
      "invalid-value",
      `Cannot use lower ${quote(path)}: it leads to a path that is not valid UTF-8`,
      { path, cause: error, hint: "rename the directory that it leads to" },
    );
  }
}

/**
 * Finds the real paths of the lowers of a request. Lowers of imported trees keep their names, which identify
 * their content wherever the store lies.
 */
function withRealLowers<T extends LowersRequest>(request: T, lowers = parsedLowers(request)): T {
  if (resolvedFor(request).stored !== undefined) return request;
  // For many lowers, one query for all of them is faster than one for each.
  const mayReadAll = lowers.length > 1 && isGranted({ name: "read" });
  const real = new Map(lowers.map((path) => [path, findRealPath(path, mayReadAll)]));
  return withResolved(request, { real });
}

/** Adds the option that every overlay needs here. */
function withMarks<T extends Pick<RenderRequest, "options" | "overlay" | "readOnly" | "lower">>(
  request: T,
): T {
  const { lower } = request;
  if (!defaults().userxattr) return request;
  return withUserxattr(request, Array.isArray(lower) ? lower.length : 1);
}

/** Parses the lowers; none if they are invalid, since the parser of the whole request reports that. */
function parsedLowers(request: LowersRequest): readonly string[] {
  try {
    return parseLowers(request);
  } catch (error) {
    if (error instanceof InvalidValueError) return [];
    throw error;
  }
}

/**
 * Checks a request, and looks up the tree or image that it names and the real paths of its lowers.
 *
 * Requires `--allow-read` permission for the store and the lowers. A lower that may not be read, or
 * does not exist, keeps its path.
 *
 * @throws {InvalidValueError} If a field has another type.
 * @throws {OverlayError} If there is no such tree, or it is incomplete.
 */
export async function resolveRequest(request: RenderRequest): Promise<RenderRequest> {
  checkRequest(request);
  const named = namesLowers(request)
    ? request
    : (await import("../store/resolve_tree.ts")).resolveTreeSync(request);
  return withRealLowers(withMarks(named));
}

/** Does the same as {@linkcode resolveRequest} for all apps of a pod. */
export async function resolvePodRequest(request: PodRequest): Promise<PodRequest> {
  const { checkPodRequest } = await import("../request/pod_request.ts");
  checkPodRequest(request);
  const named = request.apps.every(namesLowers)
    ? request
    : (await import("../store/resolve_tree.ts")).resolvePodSync(request);
  const store = request.store === undefined ? {} : { store: request.store };
  const apps = named.apps.map(withMarks).map((app) =>
    withRealLowers(app, parsedLowers({ ...store, ...app }))
  );
  return { ...named, apps };
}
