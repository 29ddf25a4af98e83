/**
 * Pinning a pod: a file in it, `overlay.keep`, for which it is not collected.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { attempt, look, typeOf } from "../system/disk.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { checkPermissions, TRUST } from "../system/permissions.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { Call, checkTrusted, openPod } from "../pod/open.ts";
import { noPodError } from "../pod/record.ts";
import { isPod } from "../pod/list.ts";
import { quote, shellQuote } from "../core/quote.ts";

/** A pod that is kept, or no longer. */
export interface KeptPod {
  /** The pod. */
  readonly pod: string;
  /** `true` if it is kept now. */
  readonly kept: boolean;
  /** `false` if it was so before. */
  readonly changed: boolean;
}

/**
 * Refuses a pod that is kept.
 *
 * @throws {RefusedError} If it is.
 */
export function refuseKept(pod: PodLayout): void {
  if (look(pod.keep) === null) return;
  throw new RefusedError("kept", `Cannot collect pod ${quote(pod.pod)}: it is kept`, {
    path: pod.keep,
    hint: `let it go first: overlay-render unkeep --pod ${shellQuote(pod.pod)}`,
  });
}

/**
 * Keeps a pod: no gc collects it, not even one that names it, until {@linkcode unkeepPod}. To keep a pod
 * that is kept changes nothing.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod, `--allow-run` for find, and
 * `--allow-sys=uid`.
 *
 * @param pod The pod, an absolute path.
 * @param options The time to wait for the pod's lock.
 * @throws {InvalidValueError} If the path is not absolute.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If another user could change the pod, or another process holds its lock.
 * @throws {OverlayError} If there is no such pod.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { keepPod, prepareOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * await prepareOverlay({ lower: `${dir}/image`, pod: `${dir}/pod` });
 * assert((await keepPod(`${dir}/pod`)).changed);
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export function keepPod(pod: string, options: ChangeOptions = {}): Promise<KeptPod> {
  return mark(podLayout(pod), true, options);
}

/**
 * Lets a pod go that was kept, see {@linkcode keepPod}; with the same parameters, permissions and errors.
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export function unkeepPod(pod: string, options: ChangeOptions = {}): Promise<KeptPod> {
  return mark(podLayout(pod), false, options);
}

async function mark(layout: PodLayout, kept: boolean, options: ChangeOptions): Promise<KeptPod> {
  const { pod } = layout;
  const verb = kept ? "keep" : "unkeep";
  checkPermissions(verb, { read: [pod], write: [pod], ...TRUST });
  const call = new Call(options);
  if (await checkTrusted(layout, call) === null) throw noPodError(pod);
  if (!isPod(pod)) {
    throw new RefusedError("refused", `Cannot ${verb} ${quote(pod)}: it is no pod`, {
      path: pod,
      hint: "check --pod; a pod is made by prepare and render",
    });
  }
  using open = await openPod(layout, call);
  if (open === null) throw noPodError(pod);
  const path = layout.keep;
  const info = look(path);
  if (info !== null && !info.isFile) {
    throw new OverlayError("failed", `Cannot use ${quote(path)}: it is ${typeOf(info)}`, {
      path,
      hint: "a file must be there, or nothing",
    });
  }
  const changed = (info !== null) !== kept;
  if (changed && kept) {
    attempt("write", path, () => Deno.openSync(path, { write: true, createNew: true }).close());
  } else if (changed) attempt("remove", path, () => Deno.removeSync(path));
  return { pod, kept, changed };
}
