/**
 * The paths of pods, apps and trees. Nothing is read or made.
 *
 * Requires no permissions.
 *
 * @module
 */
import { parseAppName, parsePath, parsePod, parseTreeId } from "./names.ts";
import type { LayoutName } from "./names.ts";
import { child } from "../core/path.ts";

/** The default tree store. */
export const DEFAULT_STORE = "/var/lib/overlay-render";

/** The default directory of the pods that a command is run in and that are removed afterwards. */
export const DEFAULT_PODS = "/var/lib/overlay-render-pods";
/** The defaults of requests: the command sets others for a user who is not root. */
export interface Defaults {
  /** The tree store. */
  readonly store: string;
  /** The directory of pods that are not named. */
  readonly pods: string;
  /** Set if an overlay needs `userxattr`, as in a user namespace. */
  readonly userxattr: boolean;
  /** Set if a mount would end with the command, so that `--overlay auto` makes a copy. */
  readonly copies: boolean;
}

let current: Defaults = {
  store: DEFAULT_STORE,
  pods: DEFAULT_PODS,
  userxattr: false,
  copies: false,
};

/** Returns the defaults. */
export function defaults(): Defaults {
  return current;
}

/** Changes the defaults; `undefined` leaves one as it is. */
export function setDefaults(
  changes: { readonly [K in keyof Defaults]?: Defaults[K] | undefined },
): void {
  const given = Object.entries(changes).filter(([, value]) => value !== undefined);
  current = { ...current, ...Object.fromEntries(given) };
}

/** The paths of a pod. */
export interface PodLayout {
  /** The pod itself. */
  readonly pod: string;
  /** Holds upper and work of every app, by tree. */
  readonly overlay: string;
  /** The fstab(5) file with one line per app. */
  readonly fstab: string;
  /** The file that is locked while a command changes the pod. */
  readonly lock: string;
  /** The lines of many apps while one mount process mounts them; gone when it has ended. */
  readonly batch: string;
  /** The file that keeps the pod from being collected. */
  readonly keep: string;
  /** The directory of the pod's own image (rkt `Stage1ImagePath`). */
  readonly stage1: string;
  /** The rootfs of the pod's own image (rkt `Stage1RootfsPath`). */
  readonly stage1Rootfs: string;
  /** The manifest of the pod's own image (rkt `Stage1ManifestPath`). */
  readonly stage1Manifest: string;
  /** The file that names the tree of the pod's own image (rkt `Stage1TreeStoreIDFilename`). */
  readonly stage1TreeStoreId: string;
  /** Holds the default destination of every app. */
  readonly apps: string;
  /** Holds the destination of every app in rkt's layout (rkt `AppsPath`). */
  readonly stage1Apps: string;
  /** Holds the information about every app (rkt `AppsInfoPath`). */
  readonly appsInfo: string;
}

/** The paths of an app. */
export interface AppLayout {
  /** The image directory, `<pod>/overlay/<tree id>`. */
  readonly image: string;
  /** The directory that holds the uppers of this tree; the upper itself for the empty app. */
  readonly uppers: string;
  /** The upper. */
  readonly upper: string;
  /** The directory that holds the works of this tree; the work itself for the empty app. */
  readonly works: string;
  /** The work. */
  readonly work: string;
  /** The destination, given or from the layout (rkt `AppPath`; `Stage1ImagePath` for the empty app). */
  readonly dest: string;
  /** The mount point, `<destination>/rootfs` (rkt `AppRootfsPath`). */
  readonly rootfs: string;
  /** The manifest in the destination (rkt `ImageManifestPath`). */
  readonly manifest: string;
  /** The directory with the information about the app (rkt `AppInfoPath`). */
  readonly info: string;
  /** The app's manifest in that directory (rkt `AppImageManifestPath`). */
  readonly infoManifest: string;
  /** The file that names the app's tree (rkt `AppTreeStoreIDPath`). */
  readonly treeStoreId: string;
}

/** The app of {@linkcode appLayout}. */
export interface AppLayoutOptions {
  /** The app's name; empty for the pod's own image. */
  readonly app: string;
  /** The id of the tree that the app is rendered from. */
  readonly tree: string;
  /** The destination, an absolute path. @default {that of the layout} */
  readonly dest?: string;
  /** The layout of the pod, which gives the destination. @default {"default"} */
  readonly layout?: LayoutName;
}

/** The paths of a tree of the tree store. */
export interface TreeLayout {
  /** The tree, `<store>/tree/<tree id>`. */
  readonly tree: string;
  /** The tree's one directory (rkt `GetTreeStoreRootFS`). */
  readonly rootfs: string;
}

/**
 * Returns the paths of a pod.
 *
 * Requires no permissions.
 *
 * @param pod The pod, an absolute path.
 * @returns Absolute paths below the pod.
 * @throws {InvalidValueError} If `pod` is not an absolute path that the kernel accepts, or is `/`.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { podLayout } from "@overlay/render";
 *
 * assert(podLayout("/pods/one").fstab === "/pods/one/overlay.fstab");
 * ```
 */
export function podLayout(pod: string): PodLayout {
  const root = parsePod(pod);
  const stage1 = child(root, "stage1");
  const stage1Rootfs = child(stage1, "rootfs");
  return {
    pod: root,
    overlay: child(root, "overlay"),
    fstab: child(root, "overlay.fstab"),
    lock: child(root, "overlay.lock"),
    batch: child(root, "overlay.mount"),
    keep: child(root, "overlay.keep"),
    stage1,
    stage1Rootfs,
    stage1Manifest: child(stage1, "manifest"),
    stage1TreeStoreId: child(root, "stage1TreeStoreID"),
    apps: child(root, "apps"),
    stage1Apps: child(stage1Rootfs, "opt", "stage2"),
    appsInfo: child(root, "appsinfo"),
  };
}

/**
 * Returns the paths of an app of a pod.
 *
 * Requires no permissions.
 *
 * @param pod The pod, an absolute path.
 * @param options The app, its tree and its destination.
 * @returns Absolute paths.
 * @throws {InvalidValueError} If the pod or destination is no absolute path, or a name could leave its
 * directory.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { appLayout } from "@overlay/render";
 *
 * const { upper, rootfs } = appLayout("/pods/one", { app: "web", tree: "debian" });
 * assert(upper === "/pods/one/overlay/debian/upper/web");
 * assert(rootfs === "/pods/one/apps/web/rootfs");
 * ```
 */
export function appLayout(pod: string, options: AppLayoutOptions): AppLayout {
  return layoutIn(podLayout(pod), options);
}

/** Returns the paths of an app of a pod whose layout is known. */
export function layoutIn(layout: PodLayout, options: AppLayoutOptions): AppLayout {
  const app = parseAppName(options.app);
  const image = child(layout.overlay, parseTreeId(options.tree));
  const uppers = child(image, "upper");
  const works = child(image, "work");
  const dest = options.dest === undefined
    ? destinationIn(layout, app, options.layout)
    : parsePath("destination", options.dest);
  const info = app === "" ? layout.appsInfo : child(layout.appsInfo, app);
  return {
    image,
    uppers,
    upper: child(uppers, app),
    works,
    work: child(works, app),
    dest,
    rootfs: child(dest, "rootfs"),
    manifest: child(dest, "manifest"),
    info,
    infoManifest: child(info, "manifest"),
    treeStoreId: app === "" ? layout.stage1TreeStoreId : child(info, "treeStoreID"),
  };
}

/** Returns the default destination of an app. */
function destinationIn(pod: PodLayout, app: string, layout: LayoutName = "default"): string {
  const [own, apps] = layout === "rkt" ? [pod.stage1, pod.stage1Apps] : [pod.pod, pod.apps];
  return app === "" ? own : child(apps, app);
}

/**
 * Returns the paths of a tree of the tree store.
 *
 * Requires no permissions.
 *
 * @param store The tree store, an absolute path.
 * @param tree The tree id.
 * @returns Absolute paths below the store.
 * @throws {InvalidValueError} If the store is no absolute path, or the tree id could leave its directory.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { treeLayout } from "@overlay/render";
 *
 * const { rootfs } = treeLayout("/var/lib/overlay-render", "debian");
 * assert(rootfs === "/var/lib/overlay-render/tree/debian/rootfs");
 * ```
 */
export function treeLayout(store: string, tree: string): TreeLayout {
  const root = child(parsePath("store", store), "tree", parseTreeId(tree));
  return { tree: root, rootfs: child(root, "rootfs") };
}

/** The kernel's marker in the work of a volatile mount, with which it refuses to mount the work again. */
export function volatileMark(work: string): string {
  return child(work, "work", "incompat");
}
