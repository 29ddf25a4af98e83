/**
 * Asking Deno whether permissions are granted, before anything is touched.
 *
 * @module
 */
import { MissingPermissionError } from "../core/errors.ts";
import { permissionFlags } from "./permissions.ts";
import type { RequiredPermissions } from "./permissions.ts";
import { shellQuote } from "../core/quote.ts";

/** Whether a permission is granted. Never prompts. */
export function isGranted(descriptor: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(descriptor).state === "granted";
}

/**
 * Checks that permissions are granted. Never prompts.
 *
 * @param action What needs them, such as `render`.
 * @throws {MissingPermissionError} If one is missing; it names the flags to add.
 */
export function checkPermissions(action: string, required: RequiredPermissions): void {
  const missing: RequiredPermissions = {
    read: required.read.filter((path) => !isGranted({ name: "read", path })),
    write: required.write.filter((path) => !isGranted({ name: "write", path })),
    run: required.run.filter((command) => !isGranted({ name: "run", command })),
    sys: required.sys?.filter((kind) => !isGranted({ name: "sys", kind })) ?? [],
  };
  const flags = permissionFlags(missing);
  if (flags.length === 0) return;
  throw new MissingPermissionError(
    `Cannot ${action} without Deno permissions: missing ${flags.map(shellQuote).join(" ")}`,
    flags,
    { hint: `add that to the flags of deno run; ${whoTellsAll(action)}` },
  );
}

function whoTellsAll(action: string): string {
  const isRender = /^(render|prepare|look .* up)$/.test(action);
  return isRender
    ? "plan prints all that a render needs"
    : "--help says all that the command needs";
}
