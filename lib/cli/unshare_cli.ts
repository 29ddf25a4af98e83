/**
 * The command `unshare`: runs a command in the user namespace of a user who is not root.
 *
 * @module
 */
import { OWN_FAILURE } from "./exit_status.ts";
import type { Io } from "./io.ts";
import { flagsText } from "./plan_output.ts";
import { report } from "./report.ts";
import type { Command } from "./typed_command.ts";
import { printable } from "../core/quote.ts";
import { describeOneId, findEntry, NAMESPACE_PERMISSIONS } from "../runtime/user_namespace.ts";
import { runInNamespace } from "../runtime/user_namespace.ts";
import type { Entry } from "../runtime/user_namespace.ts";
import { NAMESPACE_VARIABLE } from "../runtime/namespace_variable.ts";
import { describeNamespace } from "../runtime/own_namespace.ts";
import type { Ended } from "../runtime/run_process.ts";
import { checkPermissions } from "../system/permissions.ts";

/** Root has all ids; only the mounts of the command are its own. */
const AS_ROOT: Entry = { flags: ["--mount"], ids: Infinity, oneId: null };

async function enter(command: readonly string[], isQuiet: boolean, io: Io): Promise<Ended> {
  const uid = Deno.uid() ?? 0;
  const entry = uid === 0 ? AS_ROOT : await findEntry(uid);
  if (entry.oneId !== null && !isQuiet) {
    io.err(`warning: ${printable(describeOneId(entry.oneId))}\n`);
  }
  return await runInNamespace(
    entry,
    command,
    uid === 0 ? {} : { env: { [NAMESPACE_VARIABLE]: describeNamespace(uid) } },
  );
}

/**
 * Carries out `unshare`.
 *
 * @returns The exit status of the command; 125 if `unshare` itself fails, 126 if the command cannot be executed,
 * 127 if it does not exist.
 */
export async function runUnshare(
  { argv, output }: Extract<Command, { kind: "unshare" }>,
  io: Io,
): Promise<number> {
  try {
    if (output.flags) {
      io.out(flagsText(NAMESPACE_PERMISSIONS, false));
      return 0;
    }
    checkPermissions("run unshare", NAMESPACE_PERMISSIONS);
    return (await enter(argv, output.quiet, io)).code;
  } catch (error) {
    report(error, false, io);
    return OWN_FAILURE;
  }
}
