/**
 * The request of an unmount.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { podLayout } from "./layout.ts";
import type { PodLayout } from "./layout.ts";
import { parseAppName } from "./names.ts";

/** A request to unmount a pod or some of its apps. */
export interface UnmountRequest {
  /** The pod, an absolute path. */
  readonly pod: string;
  /** The app, or several; empty for the pod's own image. @default {all apps of the pod} */
  readonly app?: string | readonly string[];
  /**
   * Set if a busy app is detached from the file tree at once, and unmounted by the kernel when nothing uses
   * it any more (umount2(2), MNT_DETACH). @default {false}
   */
  readonly lazy?: boolean;
  /**
   * Set if mounts without a line in `overlay.fstab` are unmounted too, as when a line was lost; only for a
   * whole pod, and not lazily. @default {false}
   */
  readonly foreign?: boolean;
  /**
   * Set if the mounts inside a rootfs are unmounted too, innermost first; not lazily. Nothing may run in the
   * app: umount(8) looks up each mount point by its name, and a process in the app can rename directories.
   * @default {false}
   */
  readonly recursive?: boolean;
  /** Set if `restoreOverlays` mounts again what this unmounts, as after a reboot. @default {false} */
  readonly restorable?: boolean;
}

/** A request to unmount the apps of all pods in a directory. */
export interface UnmountPodsRequest extends Omit<UnmountRequest, "pod" | "app"> {
  /** The directory that the pods are in, an absolute path. */
  readonly pods: string;
}

/** A parsed request. */
export interface ParsedUnmount {
  /** The pod. */
  readonly pod: PodLayout;
  /** The names of the apps; `null` for all apps of the pod. */
  readonly apps: readonly string[] | null;
  /** Set if busy apps are unmounted lazily. */
  readonly lazy: boolean;
  /** Set if mounts without a line are unmounted. */
  readonly foreign: boolean;
  /** Set if mounts inside a rootfs are unmounted. */
  readonly recursive: boolean;
  /** Set if a restore mounts the apps again. */
  readonly restorable: boolean;
}

/**
 * Parses a request to unmount.
 *
 * @throws {InvalidValueError} If the pod is no absolute path, an app no name, or two fields exclude each other.
 */
export function parseUnmount(request: UnmountRequest): ParsedUnmount {
  const { app, lazy = false, foreign = false, recursive = false, restorable = false } = request;
  const pod = podLayout(request.pod);
  if (foreign && (lazy || app !== undefined)) {
    const message = `Cannot use --foreign with ${lazy ? "--lazy" : "--app"}`;
    const hint = lazy
      ? "nothing would remember what is in use still; unmount it in order"
      : "leave out --app: all of the pod is unmounted";
    throw new InvalidValueError("usage", message, { hint });
  }
  if (recursive && lazy) {
    const hint = "leave out --lazy: a mount that is in use is named, and stays";
    throw new InvalidValueError("usage", "Cannot use --recursive with --lazy", { hint });
  }
  const names = typeof app === "string" ? [app] : app;
  return { pod, apps: names?.map(parseAppName) ?? null, lazy, foreign, recursive, restorable };
}
