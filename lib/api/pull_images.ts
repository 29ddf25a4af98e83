/**
 * Pulls the images of a request before its render, if the request asks for it.
 *
 * @module
 */
import { invalid } from "../core/invalid.ts";
import { OverlayError } from "../core/errors.ts";
import type { PlanOptions, RenderPlan } from "../plan/plan.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { parseChoice, PULL_MODES } from "../request/names.ts";
import type { PodRequest, RenderRequest } from "../request/options.ts";
import { withResolved } from "../request/resolved.ts";
import { storedTreeLayout, storeLayout } from "../store/layout.ts";
import { pullPermissions, pullTree } from "../store/pull_tree.ts";
import { resolveTreeSync } from "../store/resolve_tree.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { checkPermissions, joinPermissions } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import type { RequestKind } from "./request_kind.ts";

/** A pull that precedes a render. */
export interface ImagePull {
  /** Tells it from the operations of the render. */
  readonly kind: "pull";
  /** The tree store. */
  readonly path: string;
  /** The image. */
  readonly reference: string;
}

/** The plan of a render, with the pulls before it. */
export interface PullingPlan extends RenderPlan {
  /** The pulls, which come first. */
  readonly pulls: readonly ImagePull[];
  /** The permissions that the pulls need. */
  readonly pulling: RequiredPermissions;
}

/** The tree id in the plan of a render whose image is not in the store yet. */
export const UNKNOWN_TREE = "deps-sha512-unknown";

type Request = RenderRequest | PodRequest;

/** The part of a request that names an image. */
type App = Pick<RenderRequest, "pull" | "image" | "store" | "lower" | "tree">;

/** Plans an app; without its image, its tree is {@linkcode UNKNOWN_TREE}. */
function planApp<T extends App>(app: T, store: string): { app: T; pull: ImagePull | null } {
  const { pull = "never", image, ...rest } = app;
  const mode = parseChoice("pull", String(pull), PULL_MODES);
  if (mode === "never") return { app, pull: null };
  if (image === undefined) {
    throw invalid("pull", mode, "no image is named", { code: "usage", hint: "give --image NAME" });
  }
  const isThere = hasImage({ ...app, store });
  const pulled = { kind: "pull" as const, path: store, reference: image };
  if (isThere) return { app, pull: mode === "always" ? pulled : null };
  const layout = storeLayout(store);
  const { rootfs, rendered } = storedTreeLayout(layout, UNKNOWN_TREE);
  const unknown = { ...rest, tree: UNKNOWN_TREE, lower: [rootfs] } as unknown as T;
  const stored = { store: layout.store, notes: layout.pods, rendered };
  return { app: withResolved(unknown, { stored }), pull: pulled };
}

function hasImage(app: App & { readonly store: string }): boolean {
  try {
    resolveTreeSync({ pod: "/", ...app });
    return true;
  } catch (error) {
    if (error instanceof OverlayError && error.code === "missing") return false;
    throw error;
  }
}

/** Plans the apps of a request, each image pulled once. */
function planPulls<R extends Request>(
  request: R,
): { readonly request: R; readonly pulls: readonly ImagePull[] } {
  const { store } = storeLayout(request.store);
  const apps = "apps" in request ? request.apps : [request];
  const planned = apps.map((app) => planApp<App>(app, store));
  const pulls = new Map(
    planned.flatMap(({ pull }) => pull === null ? [] : [[pull.reference, pull]]),
  );
  const all = planned.map(({ app }) => app);
  return {
    request: ("apps" in request ? { ...request, apps: all } : all[0]) as R,
    pulls: [...pulls.values()],
  };
}

/**
 * Plans the render of a request, with the pulls before it.
 *
 * Requires `--allow-read` permission for the store; with `--allow-env`, the environment chooses the
 * credentials files.
 *
 * @throws {InvalidValueError} If a part of the request is not usable.
 */
export async function planWithPulls<R extends Request>(
  given: R,
  { resolve, plan }: Pick<RequestKind<R>, "resolve" | "plan">,
  options: PlanOptions,
): Promise<PullingPlan> {
  const { request, pulls } = planPulls(given);
  const pulling = joinPermissions(pulls.map(({ path, reference }) => {
    return pullPermissions({ reference, store: path });
  }));
  return { ...plan(await resolve(request), options), pulls, pulling };
}

/**
 * Pulls the images of a request.
 *
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {MissingPermissionError} If a permission for a pull or for the render is missing; nothing was
 * touched.
 * @throws {OverlayError} If an image cannot be pulled.
 */
export async function pullImages<R extends Request>(
  action: "prepare" | "render",
  given: R,
  { kind, options }: { readonly kind: RequestKind<R>; readonly options: ChangeOptions },
): Promise<void> {
  const plan = await planWithPulls(given, kind, { mount: action === "render" });
  checkPermissions(action, joinPermissions([requiredPermissions(plan), plan.pulling]));
  for (const { path, reference } of plan.pulls) {
    await pullTree({ reference, store: path }, options);
  }
}
