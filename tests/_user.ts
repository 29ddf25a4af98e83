/**
 * A user who is not root, whom nobody else sees: the users and their ranges of ids are files of the mount
 * namespace that his commands run in.
 *
 * @module
 */
import { BAKED } from "../tools/flags.ts";
import type { CliResult } from "./_cli.ts";
import { freshDenoDir } from "./_deno_dir.ts";
import { isRealRoot } from "./_privilege.ts";
import type { TempDir } from "./_temp.ts";
import { sh } from "./_temp.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const SCRIPT = Deno.env.get("OVERLAY_RENDER_SCRIPT");
const DENO = Deno.env.get("OVERLAY_RENDER_DENO") ?? Deno.execPath();

/**
 * The id of the user, and his range of ids. Each test file has others, since files run side by side, and tests look
 * for processes that are left by their users.
 */
export const USER = {
  name: "somebody",
  uid: 50_000 + Deno.pid % 10_000,
  start: 3_000_000 + (Deno.pid % 10_000) * 65_536,
  count: 65_536,
} as const;

/** Tells whether an id is the user's, or one of his range. */
export function isUsers(id: number): boolean {
  return id === USER.uid || (id >= USER.start && id < USER.start + USER.count);
}

/** Set if such a user can be made here, with a range; the suffix is for the names of tests. */
export const plainUser: { readonly ignore: boolean; readonly suffix: string } = await findOut();

async function findOut(): Promise<{ ignore: boolean; suffix: string }> {
  const info = await Deno.stat("/bin/newuidmap").catch(() => null);
  const ignore = !isRealRoot || info === null;
  return { ignore, suffix: ignore ? " [skipped: needs root and newuidmap]" : "" };
}

/** How a user and his machine are. */
export interface UserOptions {
  /** His range of ids; `null` for none. @default {one of 65,536} */
  readonly range?: string | null;
  /** A script of root that runs before his command, in a mount namespace of its own. @default {none} */
  readonly before?: string;
}

/** Prepares the mount namespace, and becomes the user. */
const BECOME = `set -e
for name in passwd group subuid subgid; do mount --bind "$1/etc/$name" "/etc/$name"; done
mount --bind "$2" "$1/repository"
mount --bind "$3" "$1/deno"
cd "$1/home"
eval "$4"
ids="--reuid=$5 --regid=$5"
shift 5
exec setpriv $ids --clear-groups "$@"`;

/** A user, his home directory, and what he runs. */
export interface PlainUser {
  /** His home directory. */
  readonly home: string;
  /** The command line of a program that he runs. */
  readonly argv: (...command: string[]) => string[];
  /** The command line of `overlay-render`. */
  readonly commandLine: (...args: string[]) => string[];
  /** Runs `overlay-render`. */
  readonly cli: (...args: string[]) => Promise<CliResult>;
  /** Runs `overlay-render` with no more than these flags of `deno run`. */
  readonly cliWith: (flags: readonly string[], ...args: string[]) => Promise<CliResult>;
  /** Runs a program. */
  readonly run: (...command: string[]) => Promise<CliResult>;
}

async function makeFiles(dir: TempDir, range: string | null): Promise<void> {
  const { name, uid } = USER;
  for (const part of ["etc", "home", "repository"]) await Deno.mkdir(dir.join(part));
  await Deno.writeTextFile(dir.join("deno"), "");
  const line = range === null ? "" : `${name}:${range}\n`;
  const files = {
    passwd: `root:x:0:0::/root:/bin/sh\n${name}:x:${uid}:${uid}::${dir.join("home")}:/bin/sh\n`,
    group: `root:x:0:\n${name}:x:${uid}:\n`,
    subuid: line,
    subgid: line,
  };
  for (const [file, text] of Object.entries(files)) {
    await Deno.writeTextFile(dir.join("etc", file), text);
  }
  await freshDenoDir(dir.join("home", ".cache", "deno"));
  await sh("chown", "-R", `${uid}:${uid}`, dir.join("home"));
  await Deno.chmod(dir.path, 0o755);
}

/** Makes a user with a home directory in the directory, which must be empty. */
export async function makeUser(
  dir: TempDir,
  { range = `${USER.start}:${USER.count}`, before = "" }: UserOptions = {},
): Promise<PlainUser> {
  await makeFiles(dir, range);
  const become = ["unshare", "--mount", "--", "sh", "-c", BECOME, "sh", dir.path, ROOT];
  const argv = (...command: string[]) => {
    return [...become, DENO, before, String(USER.uid), ...command];
  };
  const repository = dir.join("repository");
  const deno = [dir.join("deno"), "run", "--quiet", "--no-prompt"];
  const script = SCRIPT === undefined
    ? `${repository}/cli.ts`
    : SCRIPT.replace(ROOT, `${repository}/`);
  const base = [...deno, `--config=${repository}/deno.json`];
  const command = [...base, ...BAKED, script];
  const commandLine = (...args: string[]) => argv(...command, ...args);
  // For scripts of the user.
  await Deno.mkdir(dir.join("bin"));
  const text = `#!/bin/sh\nexec ${command.join(" ")} "$@"\n`;
  await Deno.writeTextFile(dir.join("bin", "overlay-render"), text, { mode: 0o755 });
  const run = async ([program = "", ...args]: string[]): Promise<CliResult> => {
    const { code, stdout, stderr } = await new Deno.Command(program, {
      args,
      stdin: "null",
      clearEnv: true,
      env: { HOME: dir.join("home"), PATH: `${dir.join("bin")}:/usr/bin:/bin`, NO_COLOR: "1" },
    }).output();
    const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { status: code, stdout: decode(stdout), stderr: decode(stderr) };
  };
  return {
    home: dir.join("home"),
    argv,
    commandLine,
    cli: (...args) => run(commandLine(...args)),
    cliWith: (flags, ...args) => run(argv(...base, ...flags, script, ...args)),
    run: (...command) => run(argv(...command)),
  };
}
