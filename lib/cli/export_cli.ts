/**
 * Carries out `export`: calls the library, and prints.
 *
 * @module
 */
import type { Command } from "./command.ts";
import type { Io } from "./io.ts";
import { formatJson } from "./output.ts";
import { flagsText } from "./plan_output.ts";
import { InvalidValueError } from "../core/errors.ts";
import { invalid } from "../core/invalid.ts";
import type { ArchiveRequest } from "../export/export_layer.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { isGranted } from "../system/permissions.ts";

type ExportCommand = Extract<Command, { kind: "export" }>;

/** The variable with the latest time of an entry (reproducible-builds.org). */
const EPOCH = "SOURCE_DATE_EPOCH";

/** Reads the latest time of an entry from the environment, if that is allowed. */
export function readEpoch(): Pick<ArchiveRequest, "sourceDateEpoch"> {
  const value = isGranted({ name: "env", variable: EPOCH }) ? Deno.env.get(EPOCH) : undefined;
  if (value === undefined) return {};
  if (/^\d{1,11}$/.test(value)) return { sourceDateEpoch: Number(value) };
  throw invalid(EPOCH, value, "it must be a number of seconds since 1970");
}

/** Opens stdout for bytes; a terminal would not show them. */
function openStdout(): WritableStream<Uint8Array> {
  if (!Deno.stdout.isTerminal()) return Deno.stdout.writable;
  throw new InvalidValueError("usage", "Cannot write an archive to a terminal", {
    hint: "name a file, or pipe it into a program",
  });
}

/** Carries out the command. */
export async function runExportCommand(
  { request: asked, what, file, output, dryRun }: ExportCommand,
  io: Io,
  options: ChangeOptions,
): Promise<void> {
  const { exportLayer } = await import("../export/export_layer.ts");
  const { exportRootfs } = await import("../export/export_rootfs.ts");
  const { exportPermissions } = await import("../export/permissions.ts");
  if (dryRun) {
    return io.out(flagsText(await exportPermissions(asked, { what, file }, options), output.json));
  }
  const request = { ...asked, ...readEpoch() };
  const act = what === "layer" ? exportLayer : exportRootfs;
  const exported = await act(request, file === "-" ? openStdout() : file, options);
  if (file !== "-") io.out(output.json ? formatJson(exported) : `${exported.digest}\n`);
}
