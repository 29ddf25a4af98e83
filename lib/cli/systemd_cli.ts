/**
 * Carries out `systemd`: prints units, or writes them into a directory.
 *
 * @module
 */
import { print } from "./carry_out.ts";
import type { Io } from "./io.ts";
import { flagsText } from "./plan_output.ts";
import { SYSTEMD_PATH, systemdUnits } from "./systemd.ts";
import type { Unit } from "./systemd.ts";
import type { Command } from "./typed_command.ts";
import { OverlayError } from "../core/errors.ts";
import { child, parent } from "../core/path.ts";
import { quote, shellQuote, showName } from "../core/quote.ts";
import { checkAbove } from "../system/trust.ts";
import { ifAny, isSame, look, lookForDirectory } from "../system/disk.ts";
import { replaceFile } from "../system/own_file.ts";
import { checkPermissions, isGranted, TRUST } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";

type SystemdCommand = Extract<Command, { kind: "systemd" }>;

/** The place where a package installs the command. */
const INSTALLED = "/usr/bin/overlay-render";

const UNIT_MODE = 0o644;

/** Tells whether systemd can start a file. */
function isProgram(path: string): boolean {
  const info = look(path);
  return info?.isFile === true && ((info.mode ?? 0) & 0o111) !== 0;
}

function statIfAny(path: string): Deno.FileInfo | null {
  return ifAny(() => Deno.statSync(path));
}

/** Finds the command that runs now, and the directory of Deno where systemd would not find it. */
function findCommand(io: Io, quiet: boolean): { command: string; deno?: string } {
  // Deno tells its own path only to those that may read it.
  if (!isGranted({ name: "read" })) return { command: INSTALLED };
  const deno = Deno.execPath();
  if (Deno.build.standalone) return { command: deno };
  const directory = parent(deno);
  const isFound = SYSTEMD_PATH.some((path) => isSame(statIfAny(`${path}/deno`), statIfAny(deno)));
  const { protocol, pathname } = new URL(Deno.mainModule);
  const script = decodeURIComponent(pathname);
  if (protocol === "file:" && isProgram(script)) {
    return { command: script, ...(isFound ? {} : { deno: directory }) };
  }
  if (!quiet) io.err(`warning: the units name ${INSTALLED}; name another with --command\n`);
  return { command: INSTALLED, ...(isFound ? {} : { deno: directory }) };
}

/** Writes the units as text, each after its name, as systemctl-cat(1) does. */
function unitsText(units: readonly Unit[]): string {
  return units.map(({ name, text }) => `# /etc/systemd/system/${name}\n${text}`).join("\n");
}

function permissionsFor(out: string | undefined): RequiredPermissions {
  if (out === undefined) return { read: [], write: [], run: [] };
  return { read: [out], write: [out], run: TRUST.run, sys: TRUST.sys };
}

/** Writes the units into a directory that no other user can change, since root will run them. */
async function writeUnits(units: readonly Unit[], out: string): Promise<readonly string[]> {
  checkPermissions("write units", permissionsFor(out));
  if (lookForDirectory(out) === null) {
    const message = `Cannot write units into ${quote(out)}: it does not exist`;
    throw new OverlayError("missing", message, { path: out, hint: "make it, or check --out" });
  }
  const paths = units.map(({ name }) => child(out, name));
  await checkAbove(paths.slice(0, 1), {});
  for (const [at, { text }] of units.entries()) {
    replaceFile(paths[at] ?? "", new TextEncoder().encode(text), UNIT_MODE);
  }
  return paths;
}

function startHint(units: readonly Unit[]): string {
  const names = units.map(({ name }) => name)
    .filter((name) => name.startsWith("overlay-render-restore@") || name.endsWith(".timer"));
  return `systemctl daemon-reload && systemctl enable --now ${names.map(shellQuote).join(" ")}`;
}

/** Carries out the command. */
export async function runSystemdCommand(command: SystemdCommand, io: Io): Promise<void> {
  const { pods, store, out, output, dryRun } = command;
  if (output.flags) return io.out(flagsText(permissionsFor(out), output.json));
  const found = command.command === undefined
    ? findCommand(io, output.quiet)
    : { command: command.command };
  const units = systemdUnits({ pods, ...found, ...(store === undefined ? {} : { store }) });
  if (out === undefined || dryRun) {
    return await print(io, output, { units }, () => unitsText(units));
  }
  const written = await writeUnits(units, out);
  await print(io, output, { written }, ({ written }) => {
    return written.map((path) => `${showName(path)}\n`).join("");
  });
  if (!output.json && !output.quiet) io.err(`to start them: ${startHint(units)}\n`);
}
