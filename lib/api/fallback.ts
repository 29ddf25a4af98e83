/**
 * A copy of the tree where an overlay was asked for if possible.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { look } from "../system/disk.ts";
import { MountError, RefusedError } from "../core/errors.ts";
import type { ErrorCode, OverlayError } from "../core/errors.ts";
import { podLayout } from "../request/layout.ts";
import { planRender } from "../plan/plan.ts";
import type { RenderPlan } from "../plan/plan.ts";
import { readRecord } from "../pod/record.ts";
import type { RenderRequest } from "../request/options.ts";

/**
 * What mount(8) says where the kernel has no overlayfs, or the file system of the pod cannot hold an
 * upper. It says the same of options that do not fit together, of which a copy would have none.
 */
const NOT_SUPPORTED = /unknown filesystem type|wrong fs type/;

/** What is known of the pod's file system before the mount. */
const NO_UPPER: readonly ErrorCode[] = [
  "upper-on-overlay",
  "upper-on-network",
  "upper-on-fuse",
  "upper-without-xattr",
];

function isUnsupported(error: OverlayError): boolean {
  if (error instanceof RefusedError) return NO_UPPER.includes(error.code);
  return error instanceof MountError && NOT_SUPPORTED.test(error.failure.stderr);
}

/** An option that says how overlayfs marks what is gone; a copy has no marks. */
const OF_MARKS = "userxattr";

/** Whether a copy would be all that was asked for. */
function isPlain({ mounts: [mount] }: RenderPlan): boolean {
  const options = mount.options.filter((option) => option !== OF_MARKS);
  return options.length === 0 && mount.label === null && mount.lower.length === 1 &&
    mount.upper !== null;
}

function copyOf(request: RenderRequest): RenderPlan {
  const options = request.options?.filter((option) => option !== OF_MARKS) ?? [];
  return planRender({ ...request, options, overlay: "never" });
}

/**
 * The plan that fits what is there: of an app that was copied because overlayfs was not supported, the
 * copy again.
 *
 * Requires `--allow-read` permission for the pod.
 */
export function copyAgain(request: RenderRequest, plan: RenderPlan): RenderPlan {
  const { app, pod } = plan.mounts[0];
  if (!isPlain(plan) || look(pod) === null) return plan;
  const { lines } = readRecord(podLayout(pod).fstab);
  const copied = lines.some((line) => line.app === app && line.copy);
  return copied ? copyOf(request) : plan;
}

/**
 * Plans a copy instead of a mount that failed because overlayfs is not supported.
 *
 * @throws {OverlayError} The failure itself, if it can have another reason, or a copy would leave out
 * what was asked for: further options, a label, several lowers, that nothing can be written.
 */
export function copyInstead(
  request: RenderRequest,
  plan: RenderPlan,
  failed: { readonly error: OverlayError; readonly options: ChangeOptions },
): RenderPlan {
  const { error, options } = failed;
  if (!isPlain(plan) || !isUnsupported(error)) throw error;
  options.warn?.(`a copy is made instead of an overlay: ${error.message}`);
  return copyOf(request);
}
