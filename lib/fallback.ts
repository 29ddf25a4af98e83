/**
 * A copy of the tree where an overlay was asked for if possible.
 *
 * @module
 */
import type { ChangeOptions } from "./change_options.ts";
import type { MountError } from "./errors.ts";
import { planRender } from "./plan.ts";
import type { Plan } from "./plan.ts";
import type { RenderRequest } from "./request.ts";

/**
 * What mount(8) says where the kernel has no overlayfs, or the file system of the pod cannot hold an
 * upper. It says the same of options that do not fit together.
 */
const NOT_SUPPORTED = /unknown filesystem type|wrong fs type/;

/**
 * Plans a copy instead of a mount that failed because overlayfs is not supported.
 *
 * @throws {MountError} The failure itself, if it can have another reason, or a copy would leave out
 * what was asked for: further options, a label, several lowers, that nothing can be written.
 */
export function copyInstead(
  request: RenderRequest,
  plan: Plan,
  failed: { readonly error: MountError; readonly options: ChangeOptions },
): Plan {
  const { error, options } = failed;
  const { mount } = plan;
  const isPlain = mount.options.length === 0 && mount.label === null && mount.lower.length === 1 &&
    mount.upper !== null;
  if (!isPlain || !NOT_SUPPORTED.test(error.failure.stderr)) throw error;
  options.warn?.(`a copy is made instead of an overlay: ${error.message}`);
  return planRender({ ...request, overlay: "never" });
}
