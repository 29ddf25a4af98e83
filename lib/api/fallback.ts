/**
 * A copy of the tree in place of an overlay, if the request allows it.
 *
 * @module
 */
import { look } from "../system/disk.ts";
import { MountError, OverlayError, RefusedError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { defaults, podLayout } from "../request/layout.ts";
import { planRender } from "../plan/plan.ts";
import type { RenderPlan } from "../plan/plan.ts";
import { readRecord } from "../pod/record.ts";
import type { RenderRequest } from "../request/options.ts";
import type { Applied } from "../apply/apply.ts";
import type { ApplyOptions } from "../apply/apply_run.ts";
import { applyPlan } from "../apply/apply.ts";

/**
 * The messages of mount(8) if the kernel has no overlayfs, or the file system of the pod cannot hold an
 * upper. Options that exclude each other give the same message.
 */
const NOT_SUPPORTED = /unknown filesystem type|wrong fs type/;

/** The messages of mount(8) if the user may not mount, as root of most containers of CI may not. */
const NOT_PERMITTED = /must be superuser|permission denied|not permitted/i;

/** The errors about the pod's file system that are found before the mount. */
const NO_UPPER: readonly ErrorCode[] = [
  "upper-on-overlay",
  "upper-on-network",
  "upper-on-fuse",
  "upper-without-xattr",
];

function isUnsupported(error: OverlayError): boolean {
  if (error instanceof RefusedError) return NO_UPPER.includes(error.code);
  return error instanceof MountError &&
    [NOT_SUPPORTED, NOT_PERMITTED].some((words) => words.test(error.failure.stderr));
}

/** An option that chooses the attributes for whiteouts and opaque directories; a copy has none. */
const OF_MARKS = "userxattr";

/** Tells whether a copy would do everything that the request asks for. */
function isPlain({ mounts: [mount] }: RenderPlan): boolean {
  const options = mount.options.filter((option) => option !== OF_MARKS);
  return options.length === 0 && mount.label === null && mount.lower.length === 1 &&
    mount.upper !== null;
}

function noCopyError({ mounts: [{ lower }] }: RenderPlan): RefusedError {
  const why = lower.length > 1 ? "its tree has several layers" : "its options need a mount";
  const message =
    "Cannot render as a user who is not root: the mount would end with this command, " +
    `and no copy can be made, because ${why}`;
  return new RefusedError("not-permitted", message, {
    hint:
      "use overlay-render run, or render it where it is used: overlay-render unshare -- COMMAND",
  });
}

/**
 * Applies a plan, or makes a copy if overlayfs is not supported. An app that was copied before stays a
 * copy.
 *
 * Requires the permissions that `requiredPermissions` computes of the plan.
 *
 * @throws {OverlayError} If the mount fails for another reason, or a copy cannot do what the request asks
 * for: further options, a label, several lowers, or a read-only view.
 */
export async function applyOrCopy(
  plan: RenderPlan,
  options: ApplyOptions,
  request: RenderRequest,
): Promise<Applied> {
  if (!isPlain(plan)) {
    if (defaults().copies) throw noCopyError(plan);
    return await applyPlan(plan, options);
  }
  const copy = () => applyPlan(planCopy(request, plan), options);
  if (defaults().copies || isCopied(plan)) return await copy();
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
