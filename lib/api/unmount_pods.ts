/**
 * Unmounts the apps of all pods in a directory.
 *
 * @module
 */
import type { ChangeOptions, Reporter } from "../system/change_options.ts";
import { checkPermissions } from "../system/permissions.ts";
import { MissingPermissionError, OverlayError, UnmountError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { listPods } from "../pod/list.ts";
import { Call, openAll, openPermissions, openPod } from "../pod/open.ts";
import type { OpenPod, Visited } from "../pod/open.ts";
import { namesHolder } from "../system/lock.ts";
import { freeze } from "../plan/plan.ts";
import type { Plan } from "../plan/plan.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { parsePath } from "../request/names.ts";
import { parseUnmount } from "../request/unmount_request.ts";
import type { ParsedUnmount, UnmountPodsRequest } from "../request/unmount_request.ts";
import { planOpen, unmountOpen, unmountPermissions } from "./unmount.ts";

/** A pod of which an app could not be unmounted. */
export interface NotUnmounted {
  /** The pod. */
  readonly pod: string;
  /** The code of the error. */
  readonly code: ErrorCode;
  /** The reason, in one sentence. */
  readonly reason: string;
  /** A hint how to fix it, or `null`. */
  readonly hint: string | null;
}

/** The result of unmounting the pods of a directory. */
export interface UnmountedPods {
  /** The apps that were unmounted, in the order of unmounting. */
  readonly unmounted: readonly {
    readonly pod: string;
    readonly app: string;
    readonly rootfs: string;
  }[];
  /** The mount points without a line, in the order of unmounting. */
  readonly foreign: readonly string[];
  /** The pods that failed, each with the reason. */
  readonly failed: readonly NotUnmounted[];
}

/**
 * Unmounts the apps of all pods in a directory, each pod as `unmountOverlay` does. A pod that is damaged,
 * in use or another user's is reported, and does not keep the others from being unmounted.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pods, `--allow-read` for destinations
 * outside them, `--allow-run` for umount, findmnt and find, and `--allow-sys=uid`.
 *
 * @param request The directory of pods.
 * @param options Listeners, the time to wait for locks, and a signal, which ends the call between two pods.
 * @returns The apps that were unmounted, and the pods that failed.
 * @throws {InvalidValueError} If the path is not absolute.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {OverlayError} If there is no such directory.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { renderOverlay, unmountPods } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * const request = { lower: `${dir}/image`, options: ["userxattr"] };
 * await renderOverlay({ ...request, pod: `${dir}/pods/one` });
 * await renderOverlay({ ...request, pod: `${dir}/pods/two` });
 *
 * const { unmounted, failed } = await unmountPods({ pods: `${dir}/pods` });
 * assert(unmounted.length === 2 && failed.length === 0);
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function unmountPods(
  request: UnmountPodsRequest,
  options: ChangeOptions = {},
): Promise<UnmountedPods> {
  const run = new Unmounting(request, options);
  const { directory } = run;
  checkPermissions("unmount", openPermissions(directory), unmountPermissions(directory));
  const pods = await run.lookAtAll();
  // Before the first pod is changed.
  const operations = pods.flatMap(({ plan }) => plan.operations);
  checkPermissions("unmount", requiredPermissions({ operations }));
  for (const { open } of pods) {
    options.signal?.throwIfAborted();
    await run.keepGoing(open.layout, () => run.unmount(open));
  }
  return { unmounted: run.unmounted, foreign: run.foreign, failed: run.failed };
}

/**
 * Plans {@linkcode unmountPods}, and changes nothing.
 *
 * Requires `--allow-read` permission for the pods and for destinations outside them, `--allow-run` for
 * findmnt and find, and `--allow-sys=uid`.
 *
 * @param request The directory of pods.
 * @param options Listeners; a warning names each pod that could not be unmounted.
 * @returns The plan for all pods; `requiredPermissions` computes the permissions that unmounting needs.
 * @throws As {@linkcode unmountPods} does before it unmounts anything.
 *
 * @tags allow-read, allow-run, allow-sys
 */
export async function unmountPodsPlan(
  request: UnmountPodsRequest,
  options: Reporter = {},
): Promise<Plan> {
  const run = new Unmounting(request, options);
  const { directory } = run;
  checkPermissions("plan to unmount", openPermissions(directory));
  const pods = await run.lookAtAll();
  for (const { reason } of run.failed) options.warn?.(reason);
  return freeze<Plan>({
    action: "unmount",
    pod: directory,
    operations: [
      { kind: "look", path: directory },
      ...pods.flatMap(({ plan }) => plan.operations),
    ],
    mounts: [],
  });
}

/** The state of a call. */
class Unmounting {
  readonly directory: string;
  readonly unmounted: { pod: string; app: string; rootfs: string }[] = [];
  readonly foreign: string[] = [];
  readonly failed: NotUnmounted[] = [];
  readonly #request: UnmountPodsRequest;
  readonly #call: Call;

  constructor(request: UnmountPodsRequest, options: ChangeOptions) {
    this.directory = parsePath("directory of pods", request.pods);
    this.#request = request;
    this.#call = new Call(options);
  }

  /** Finds the pods that have something to unmount. The mount table is read once. */
  async lookAtAll(): Promise<readonly { readonly open: OpenPod; readonly plan: Plan }[]> {
    const { options } = this.#call;
    const pods = listPods({ pods: this.directory }, options).map((pod) => podLayout(pod));
    const found: { open: OpenPod; plan: Plan }[] = [];
    for (const pod of await openAll("unmount", pods, this.#call)) {
      await this.keepGoing(pod.layout, async () => found.push(...await this.#lookAt(pod)));
    }
    return found;
  }

  async #lookAt(pod: Visited): Promise<{ open: OpenPod; plan: Plan }[]> {
    if ("error" in pod) throw pod.error;
    const { open } = pod;
    const plan = await planOpen(this.#parse(open.layout), open);
    // Another command that holds the lock may change that.
    const isDone = plan.operations.every(({ kind }) => kind === "open") &&
      !namesHolder(open.layout.lock);
    return isDone ? [] : [{ open, plan }];
  }

  #parse({ pod }: PodLayout): ParsedUnmount {
    const { pods: _, ...request } = this.#request;
    return parseUnmount({ ...request, pod });
  }

  /** Locks a pod that was looked at, and unmounts its apps. */
  async unmount(earlier: OpenPod): Promise<void> {
    const { layout } = earlier;
    this.#call.forgetMounts();
    using open = await openPod(layout, this.#call, { earlier });
    // Another process has collected it.
    if (open === null) return;
    this.#note(layout, await unmountOpen(this.#parse(layout), open));
  }

  #note(
    { pod }: PodLayout,
    { unmounted, foreign = [] }: {
      readonly unmounted: readonly { readonly app: string; readonly rootfs: string }[];
      readonly foreign?: readonly string[];
    },
  ): void {
    for (const { app, rootfs } of unmounted) this.unmounted.push({ pod, app, rootfs });
    this.foreign.push(...foreign);
  }

  /** Runs an action for a pod. Its failure does not stop the others. */
  async keepGoing(layout: PodLayout, act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof OverlayError) || error.code === "interrupted") throw error;
      if (error instanceof MissingPermissionError) throw error;
      if (error instanceof UnmountError) this.#note(layout, error);
      const { code, message: reason, hint } = error;
      this.failed.push({ pod: layout.pod, code, reason, hint });
    }
  }
}
