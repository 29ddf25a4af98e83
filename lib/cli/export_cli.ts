/**
 * Carries out `export` and `commit`: calls the library, and prints.
 *
 * @module
 */
import type { Command } from "./typed_command.ts";
import type { Io } from "./io.ts";
import { formatJson } from "./output.ts";
import { flagsText } from "./plan_output.ts";
import { InvalidValueError } from "../core/errors.ts";
import { invalid } from "../core/invalid.ts";
import type { CommitRequest, CommittedImage, ImageRequest } from "../export/commit_image.ts";
import type { PushProgress } from "../store/push_tree.ts";
import type { LayoutTarget } from "../export/oci_layout.ts";
import { storeLayout } from "../store/layout.ts";
import type { ArchiveRequest } from "../export/export_layer.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { isGranted } from "../system/permissions.ts";
import type { ExportTarget } from "../export/permissions.ts";
import type { Flags } from "./args.ts";
import { absolute, usage } from "./command.ts";
import { quote } from "../core/quote.ts";

type ExportCommand = Extract<Command, { kind: "export" | "commit" }>;

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

const REGISTRY = "docker://";

/** Reads the layout that an image is written into. */
function parseLayout(to: string, cwd: string): LayoutTarget {
  const [, directory, ref = null] = /^oci:([^:]+)(?::(.+))?$/s.exec(to) ?? [];
  if (directory !== undefined) return { directory: absolute(directory, cwd), ref };
  const hint = to.startsWith(REGISTRY)
    ? "an image for a registry is put into the store: overlay-render commit --name NAME --to REF"
    : "write oci:DIR";
  throw usage(`Cannot use --to ${quote(to)}: it must be oci:DIR or oci:DIR:REF`, hint);
}

/** The flags for a registry; `username` is no user of the image. */
const ACCESS = ["authFile", "username", "certDir", "plainHttp"] as const;

/** Reads the place that the image of a commit is written to. */
function parsePlace(
  { fields, flags, cwd }: ExportCommand,
): NonNullable<CommitRequest["to"]> | null {
  const [to] = flags.values.to ?? [];
  if (to?.startsWith(REGISTRY)) {
    const access = ACCESS.filter((name) => fields[name] !== undefined);
    const given = Object.fromEntries(access.map((name) => [name, fields[name]]));
    return { ...given, reference: to.slice(REGISTRY.length) };
  }
  if (to === undefined) return null;
  if (/^oci:/.test(to)) return parseLayout(to, cwd);
  const message = `Cannot use --to ${quote(to)}: it must be oci:DIR, oci:DIR:REF or docker://REF`;
  throw usage(message, "write oci:DIR or docker://HOST/NAME:TAG");
}

/** Reads which of the exports is asked for, and where it goes. */
function parseTarget({ values, set }: Flags, cwd: string): ExportTarget | LayoutTarget {
  const given = (["layer", "rootfs", "to"] as const).filter((name) => {
    return (values[name] ?? []).length > 0;
  });
  const [what, other] = given;
  if (what === undefined) {
    const hint = "--layer FILE for what the app wrote, --rootfs FILE for all of its root, " +
      "--to oci:DIR for an image";
    throw usage("Cannot run export: --layer, --rootfs or --to is required", hint);
  }
  if (other !== undefined) {
    throw usage(`Cannot use --${what} and --${other} together`, "run export once for each");
  }
  const [file = ""] = values[what] ?? [];
  if (what === "to") return parseLayout(file, cwd);
  if (file !== "-") return { what, file: absolute(file, cwd) };
  if (set.has("json")) {
    throw usage("Cannot use --json with -: stdout is the archive", "name a file");
  }
  return { what, file };
}

/** Carries out `export`. */
async function runExport(
  { fields, flags, cwd, output, dryRun }: ExportCommand,
  io: Io,
  options: ChangeOptions,
): Promise<void> {
  const target = parseTarget(flags, cwd);
  const request = { ...fields, ...readEpoch() } as unknown as ImageRequest;
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
    const { exportPermissions } = await import("../export/permissions.ts");
    const place = { store: storeLayout(request.store), commit: false, to: target };
    return io.out(flagsText(await exportPermissions(request, place, options), output.json));
  }
  const { exportImage } = await import("../export/export_image.ts");
  const image = await exportImage(request, target, options);
  io.out(output.json ? formatJson(image) : `${image.digest}\n`);
}

/** Carries out `commit`. */
async function runCommit(
  command: ExportCommand,
  io: Io,
  options: ChangeOptions,
): Promise<void> {
  const { fields, output, dryRun } = command;
  if (fields.name === undefined) {
    throw usage("Cannot run commit: --name is required", "give the new image a name: --name NAME");
  }
  const to = parsePlace(command);
  const request = { ...fields, ...readEpoch(), to } as unknown as CommitRequest;
  if (dryRun) {
    const { exportPermissions } = await import("../export/permissions.ts");
    const place = { store: storeLayout(request.store), commit: true, to };
    return io.out(flagsText(await exportPermissions(request, place, options), output.json));
  }
  const tree = await commitTo(request, command, { io, options });
  io.out(output.json ? formatJson(tree) : `${tree.id}\n`);
}

/** Commits an image, and reports the progress of a push. */
async function commitTo(
  request: CommitRequest,
  { flags, output: { quiet } }: ExportCommand,
  { io, options }: Pick<How, "io" | "options">,
): Promise<CommittedImage> {
  const { commitImage } = await import("../export/commit_image.ts");
  const { to = null } = request;
  if (to === null || "directory" in to) return await commitImage(request, options);
  const { withProgress } = await import("./progress.ts");
  const { readPassword } = await import("./tree_cli.ts");
  const password = readPassword(flags.set.has("password-stdin"), { stdin: io.input });
  return await withProgress({ ...io, quiet }, ({ onPresent, onMounted, onSent, onPushed }) => {
    const progress = { onPresent, onMounted, onSent, onPushed } as PushProgress;
    return commitImage({ ...request, to: { ...to, ...password } }, { ...options, ...progress });
  });
}

/** Carries out `export` or `commit`. */
export function runExportCommand(
  command: ExportCommand,
  io: Io,
  options: ChangeOptions,
): Promise<void> {
  return (command.kind === "export" ? runExport : runCommit)(command, io, options);
}
