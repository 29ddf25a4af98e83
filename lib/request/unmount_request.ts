/**
 * What to unmount of a pod.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { podLayout } from "./layout.ts";
import type { PodLayout } from "./layout.ts";
import { parseAppName } from "./names.ts";

/** What to unmount. */
export interface UnmountRequest {
  /** The pod, an absolute path. */
  readonly pod: string;
  /** The app, or several; empty for the pod's own image. @default {all apps of the pod} */
  readonly app?: string | readonly string[];
  /**
   * Whether an app that is in use is taken out of the file tree all the same, and unmounted by the kernel
   * when nothing uses it any more (umount2(2), MNT_DETACH). @default {false}
   */
  readonly lazy?: boolean;
  /**
   * Set if mounts that no line of `overlay.fstab` names are unmounted too, as when a line was lost; only of
   * a whole pod, and not lazily. @default {false}
   */
  readonly foreign?: boolean;
}

/** A request that is parsed. */
export interface ParsedUnmount {
  /** The pod. */
  readonly pod: PodLayout;
  /** The names of the apps; `null` for all of the pod. */
  readonly apps: readonly string[] | null;
  /** Whether what is in use is unmounted lazily. */
  readonly lazy: boolean;
  /** Whether mounts that no line names are unmounted. */
  readonly foreign: boolean;
}

/**
 * Parses what to unmount.
 *
 * @throws {InvalidValueError} If the pod is no absolute path, an app no name, or two fields exclude each other.
 */
export function parseUnmount(request: UnmountRequest): ParsedUnmount {
  const { app, lazy = false, foreign = false } = request;
  const pod = podLayout(request.pod);
  if (foreign && (lazy || app !== undefined)) {
    const message = `Cannot use --foreign with ${lazy ? "--lazy" : "--app"}`;
    const hint = lazy
      ? "nothing would remember what is in use still; unmount it in order"
      : "leave out --app: all of the pod is unmounted";
    throw new InvalidValueError("usage", message, { hint });
  }
  const names = typeof app === "string" ? [app] : app;
  return { pod, apps: names?.map(parseAppName) ?? null, lazy, foreign };
}
