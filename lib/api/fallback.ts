/**
 * A copy of the tree where an overlay was asked for if possible.
 *
 * @module
 */
import { look } from "../system/disk.ts";
import { MountError, OverlayError, RefusedError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { podLayout } from "../request/layout.ts";
import { planRender } from "../plan/plan.ts";
import type { RenderPlan } from "../plan/plan.ts";
import { readRecord } from "../pod/record.ts";
import type { RenderRequest } from "../request/options.ts";
import type { Applied } from "../apply/apply.ts";
import type { ApplyOptions } from "../apply/apply_run.ts";
import { applyPlan } from "../apply/apply.ts";

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

/**
 * Applies a plan, or makes a copy where an overlay cannot be: of an app that was copied because overlayfs
 * was not supported, the copy again.
 *
 * Requires the permissions that `requiredPermissions` computes of the plan.
 *
 * @throws {OverlayError} The failure of the mount, if it can have another reason, or a copy would leave out
 * what was asked for: further options, a label, several lowers, that nothing can be written.
 */
export async function applyOrCopy(
  plan: RenderPlan,
  options: ApplyOptions,
  request: RenderRequest,
): Promise<Applied> {
  if (!isPlain(plan)) return await applyPlan(plan, options);
  const copy = () => applyPlan(planCopy(request, plan), options);
  if (isCopied(plan)) return await copy();
  try {
    return await applyPlan(plan, options);
  } catch (error) {
    if (!(error instanceof OverlayError && isUnsupported(error))) throw error;
    options.warn?.(`a copy is made instead of an overlay: ${error.message}`);
    return await copy();
  }
}

function planCopy(request: RenderRequest, { action }: RenderPlan): RenderPlan {
  const options = request.options?.filter((option) => option !== OF_MARKS) ?? [];
  return planRender({ ...request, options, overlay: "never" }, { mount: action === "render" });
}

function isCopied({ mounts: [{ app, pod }] }: RenderPlan): boolean {
  if (look(pod) === null) return false;
  const { lines } = readRecord(podLayout(pod).fstab);
  return lines.some((line) => line.app === app && line.copy);
}
