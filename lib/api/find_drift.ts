/**
 * Finds drift between the records of pods and the kernel, for monitoring.
 *
 * @module
 */
import type { Reporter } from "../system/change_options.ts";
import { RefusedError } from "../core/errors.ts";
import type { ErrorCode, OverlayError } from "../core/errors.ts";
import { appWords, quote } from "../core/quote.ts";
import { overlayStatus } from "./status.ts";
import type { Drift, StatusRequest } from "./status.ts";

/** A difference between the record of a pod and the kernel, or a pod that cannot be compared. */
export interface PodDrift {
  /** The pod. */
  readonly pod: string;
  /** The app's name; `null` if it is none of an app. */
  readonly app: string | null;
  /** The kind: that of an app, `not-named` for a mount that no line names, or the code of an error. */
  readonly kind: Drift | "not-named" | ErrorCode;
  /** The rootfs or the mount point; `null` if the pod cannot be compared. */
  readonly path: string | null;
  /** The difference, in one sentence. */
  readonly reason: string;
}

/** The difference of each kind, as the end of a sentence about the app. */
const REASONS: Readonly<Record<Drift, string>> = {
  "not-mounted": "is to be mounted, and is not",
  "not-recorded": "is mounted, and its line says noauto",
  foreign: "is hidden by another mount, or by one with other directories or another label",
  missing: "lacks a directory: a lower, the upper, the work or the destination",
  replaced: "shows a lower that was replaced since it was mounted",
  options: "is mounted with other options than its line says",
};

/**
 * Finds drift between `overlay.fstab` and the kernel in a pod, or in all pods of a directory: an app that is to
 * be mounted and is not, a mount that no line names, a mount with other directories or options than its line,
 * and a record that is damaged. Another user's pod in a directory is left out with a warning.
 *
 * Requires the permissions of `overlayStatus`.
 *
 * @param request A pod, or a directory of pods.
 * @param options Listeners for programs that are run, and warnings.
 * @returns The differences, those of a pod together; none if all is as recorded.
 * @throws As `overlayStatus` does, but not for a record that is damaged.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { findDrift } from "@overlay/render";
 *
 * const pods = await Deno.makeTempDir();
 * assert((await findDrift({ pods })).length === 0);
 *
 * await Deno.remove(pods);
 * ```
 *
 * @tags allow-read, allow-run, allow-sys
 */
export async function findDrift(
  request: StatusRequest,
  options: Reporter = {},
): Promise<readonly PodDrift[]> {
  const found: PodDrift[] = [];
  const failed = (pod: string, { code, message }: OverlayError) => {
    found.push({ pod, app: null, kind: code, path: null, reason: message });
  };
  const unnamed = (pod: string, target: string) => {
    const reason = `no line of pod ${quote(pod)} names what is mounted on ${quote(target)}`;
    found.push({ pod, app: null, kind: "not-named", path: target, reason });
  };
  try {
    const wanted = { ...request, size: false };
    for (const status of await overlayStatus(wanted, { ...options, failed, unnamed })) {
      const { pod, app, rootfs: path, drift: kind } = status;
      if (kind === undefined) continue;
      const word = app === "" ? "the own image" : appWords(app);
      const reason = `${word} of pod ${quote(pod)} ${REASONS[kind]}`;
      found.push({ pod, app, kind, path, reason });
    }
  } catch (error) {
    const isDamaged = error instanceof RefusedError && error.code === "bad-record";
    if (!isDamaged || !("pod" in request)) throw error;
    failed(request.pod, error);
  }
  return Map.groupBy(found, ({ pod }) => pod).values().toArray().flat();
}
