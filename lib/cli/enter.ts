/**
 * The start of a command of a user who is not root: it may have to run again, in a user namespace.
 *
 * @module
 */
import type { Io } from "./io.ts";
import type { Command } from "./typed_command.ts";
import { NAMESPACE_VARIABLE } from "../runtime/namespace_variable.ts";
import { isGranted } from "../system/permissions.ts";

/** The commands that do the same for every user. */
const ALIKE: readonly Command["kind"][] = ["help", "version", "completion", "doctor", "unshare"];

/** Reads the variable. Without the permission, a terminal would be asked. */
function readVariable(): string | undefined {
  const variable = NAMESPACE_VARIABLE;
  return isGranted({ name: "env", variable }) ? Deno.env.get(variable) : undefined;
}

/**
 * Sets the default directories of a user who is not root, and runs the command again in a namespace of his, if
 * it needs one.
 *
 * @returns The exit status; `null` if this process is to carry the command out.
 * @throws {RefusedError} If what the command mounts would end with it.
 */
export async function enter(command: Command, io: Io): Promise<number | null> {
  if (ALIKE.includes(command.kind) || !isGranted({ name: "sys", kind: "uid" })) return null;
  const uid = Deno.uid() ?? 0;
  const mark = uid === 0 ? readVariable() : undefined;
  if (uid === 0 && mark === undefined) return null;
  const { enterAs, carryOnIn } = await import("./enter_namespace.ts");
  return mark === undefined ? await enterAs(uid, command, io) : await carryOnIn(mark, command);
}
