/**
 * Carries out `export` and `commit`: calls the library, and prints.
 *
 * @module
 */
import type { Command } from "./command.ts";
import type { Io } from "./io.ts";
import { formatJson } from "./output.ts";
import { flagsText } from "./plan_output.ts";
import { InvalidValueError } from "../core/errors.ts";
import { invalid } from "../core/invalid.ts";
import type { ImageRequest } from "../export/commit_image.ts";
import type { LayoutTarget } from "../export/oci_layout.ts";
import { storeLayout } from "../store/layout.ts";
import type { ArchiveRequest } from "../export/export_layer.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { isGranted } from "../system/permissions.ts";

type ExportCommand = Extract<Command, { kind: "export" }>;
type CommitCommand = Extract<Command, { kind: "commit" }>;

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

/** Carries out `export`. */
export async function runExportCommand(
  { request: asked, target, output, dryRun }: ExportCommand,
  io: Io,
  options: ChangeOptions,
): Promise<void> {
  const request = { ...asked, ...readEpoch() };
  if ("directory" in target) {
    return await exportToLayout(request, target, { io, output, dryRun, options });
  }
  if (dryRun) {
    const { exportPermissions } = await import("../export/permissions.ts");
    return io.out(flagsText(await exportPermissions(request, target, options), output.json));
  }
  const { exportLayer } = await import("../export/export_layer.ts");
  const { exportRootfs } = await import("../export/export_rootfs.ts");
  const { what, file } = target;
  const act = what === "layer" ? exportLayer : exportRootfs;
  const exported = await act(request, file === "-" ? openStdout() : file, options);
  if (file !== "-") io.out(output.json ? formatJson(exported) : `${exported.digest}\n`);
}

/** The output of a command, and its options. */
interface How extends Pick<ExportCommand, "output"> {
  readonly io: Io;
  readonly dryRun: true | undefined;
  readonly options: ChangeOptions;
}

async function exportToLayout(
  request: ImageRequest,
  target: LayoutTarget,
  { io, output, dryRun, options }: How,
): Promise<void> {
  if (dryRun) {
    const { imageExportPermissions } = await import("../export/permissions.ts");
    const place = { store: storeLayout(request.store), directory: target.directory };
    return io.out(flagsText(await imageExportPermissions(request, place, options), output.json));
  }
  const { exportImage } = await import("../export/export_image.ts");
  const image = await exportImage(request, target, options);
  io.out(output.json ? formatJson(image) : `${image.digest}\n`);
}

/** Carries out `commit`. */
export async function runCommitCommand(
  { request: asked, to, output, dryRun }: CommitCommand,
  io: Io,
  options: ChangeOptions,
): Promise<void> {
  const request = { ...asked, ...readEpoch(), to };
  if (dryRun) {
    const { commitPermissions } = await import("../export/permissions.ts");
    const permissions = await commitPermissions(request, storeLayout(request.store), options);
    return io.out(flagsText(permissions, output.json));
  }
  const { commitImage } = await import("../export/commit_image.ts");
  const tree = await commitImage(request, options);
  io.out(output.json ? formatJson(tree) : `${tree.id}\n`);
}
