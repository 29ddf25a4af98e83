/**
 * Runs the command again in a user namespace, with the default directories of the user.
 *
 * @module
 */
import { NAMESPACE_VARIABLE } from "../runtime/namespace_variable.ts";
import { OWN_FAILURE } from "./exit_status.ts";
import type { Io } from "./io.ts";
import type { Command } from "./typed_command.ts";
import { InvalidValueError, OverlayError, RefusedError } from "../core/errors.ts";
import { parent } from "../core/path.ts";
import { printable } from "../core/quote.ts";
import { DEFAULT_STORE, defaults, setDefaults } from "../request/layout.ts";
import { describeNamespace, findOwnNamespace, readProc } from "../runtime/own_namespace.ts";
import { describeOneId, findEntry, NAMESPACE_PERMISSIONS } from "../runtime/user_namespace.ts";
import { runInNamespace } from "../runtime/user_namespace.ts";
import { look } from "../system/disk.ts";
import { checkPermissions, isGranted } from "../system/permissions.ts";
import { STARTERS } from "../system/programs.ts";

/** The way in which a command treats the files of other ids. */
interface Need {
  /** The directory that it works on; `null` if it makes one. */
  readonly place: string | null;
  /** Set if it gives files to other ids. */
  readonly gives?: boolean;
  /** Set if only the plan or the flags are printed. */
  readonly dry?: boolean;
}

/** The commands of the tree store that read or write layers. */
const LAYERS = ["import", "pull", "check", "verify-all", "remove", "gc"];

async function findTreeNeed(
  { action, args, cwd }: Extract<Command, { kind: "tree" }>,
): Promise<Need | null> {
  if (!LAYERS.includes(action)) return null;
  const { parseTreeCommand } = await import("./tree_command.ts");
  const { request, dryRun } = parseTreeCommand(action, args, cwd);
  return {
    dry: dryRun === true,
    place: request.store ?? defaults().store,
    gives: action === "import" || action === "pull",
  };
}

async function findRunNeed({ args, cwd }: Extract<Command, { kind: "run" }>): Promise<Need | null> {
  const { parseRun } = await import("./run_command.ts");
  try {
    return { place: null, gives: true, dry: parseRun(args, cwd).dryRun === true };
  } catch (error) {
    // It reports the error itself, with an exit status of its own.
    if (error instanceof InvalidValueError) return null;
    throw error;
  }
}

/** Tells what the command needs a namespace for; `null` if it needs none. */
function findNeed(command: Command): Need | null | Promise<Need | null> {
  switch (command.kind) {
    case "prepare":
    case "render":
      return { place: command.request.pod };
    case "spec":
      return command.action === "prepare" ? { place: null } : null;
    case "reset":
    case "changes":
      return { place: command.request.pod };
    case "gc":
      if ("undo" in command) return { place: command.undo };
      return { place: "pod" in command.request ? command.request.pod : command.request.pods };
    case "export":
    case "commit":
      return { place: String(command.fields.pod) };
    case "tree":
      return findTreeNeed(command);
    case "run":
      return findRunNeed(command);
    default:
      return null;
  }
}

/** Tells whether the command mounts what must outlive it. */
function leavesMounts(command: Command): boolean {
  if ("dryRun" in command) return false;
  if (command.kind === "render") return !["never", "auto"].includes(command.request.overlay ?? "");
  return command.kind === "restore" || (command.kind === "spec" && command.action === "render");
}

function refuseMounts({ kind }: Command): never {
  const name = kind === "spec" ? "render" : kind;
  throw new RefusedError(
    "not-permitted",
    `Cannot ${name} as a user who is not root: the mount would end with this command`,
    {
      hint: `mount it where it is used: overlay-render unshare -- sh -c 'overlay-render ${name} …'`,
    },
  );
}

/** Returns an absolute path of the environment, if it may be read. */
function readDirectory(variable: string): string | undefined {
  const value = isGranted({ name: "env", variable }) ? Deno.env.get(variable) : undefined;
  return value?.startsWith("/") ? value : undefined;
}

/** The variables with the directories of a user. */
const DIRECTORIES = ["HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] as const;

/** Sets the directories of the user (XDG Base Directory Specification). */
function useDirectories(): void {
  const home = readDirectory("HOME");
  const find = (variable: string, inHome: string) => {
    const directory = readDirectory(variable) ?? (home === undefined ? home : `${home}/${inHome}`);
    return directory === undefined ? directory : `${directory}/overlay-render`;
  };
  setDefaults({
    store: find("XDG_DATA_HOME", ".local/share"),
    pods: find("XDG_STATE_HOME", ".local/state"),
  });
}

/** Makes the directories above those of the user, which a new home does not have (XDG: mode 0700). */
function makeDirectories(): void {
  for (const directory of [defaults().store, defaults().pods]) {
    const above = parent(directory);
    if (above === parent(DEFAULT_STORE) || !isGranted({ name: "write", path: above })) continue;
    Deno.mkdirSync(above, { recursive: true, mode: 0o700 });
  }
}

/** Tells whether a place belongs to the user, or will: the namespace gives no right to that of another one. */
function isOwn(uid: number, place: string): boolean {
  for (let at = place;; at = parent(at)) {
    if (!isGranted({ name: "read", path: at })) return true;
    const info = look(at);
    if (info !== null) return info.uid === uid;
    if (at === "/") return false;
  }
}

/** Runs this command again in a namespace, and returns its exit status. */
async function runAgain(uid: number, { gives }: Need, io: Io): Promise<number> {
  checkPermissions("enter a user namespace", NAMESPACE_PERMISSIONS);
  const entry = await findEntry(uid);
  if (gives) makeDirectories();
  if (entry.oneId !== null && gives) {
    io.err(`warning: ${printable(describeOneId(entry.oneId))}\n`);
  }
  const [, ...args] = (await readProc("cmdline")).split("\0").slice(0, -1);
  const env = { [NAMESPACE_VARIABLE]: describeNamespace(uid) };
  return (await runInNamespace(entry, [Deno.execPath(), ...args], { env })).code;
}

/**
 * Runs the command of a user who is not root again in a namespace, if it needs one.
 *
 * @returns The exit status; `null` if this process is to carry the command out.
 * @throws {RefusedError} If what the command mounts would end with it.
 */
export async function enterAs(uid: number, command: Command, io: Io): Promise<number | null> {
  useDirectories();
  if (leavesMounts(command)) refuseMounts(command);
  const need = await findNeed(command);
  if (need === null) return null;
  const isDry = "dryRun" in command || ("output" in command && command.output.flags === true);
  if (need.dry || isDry) {
    const { alsoNeed } = await import("./plan_output.ts");
    alsoNeed({ ...NAMESPACE_PERMISSIONS, env: [NAMESPACE_VARIABLE, ...DIRECTORIES] });
    return null;
  }
  if (!isGranted({ name: "run", command: STARTERS.unshare })) return null;
  if (need.place !== null && !isOwn(uid, need.place)) return null;
  try {
    return await runAgain(uid, need, io);
  } catch (error) {
    // What needs no other ids than those of the user can be copied without a namespace.
    const isCopy = command.kind === "render" || command.kind === "prepare";
    if (isCopy && error instanceof OverlayError && error.code === "no-namespace") return null;
    if (command.kind !== "run") throw error;
    const { report } = await import("./report.ts");
    report(error, false, io);
    return OWN_FAILURE;
  }
}

/**
 * Sets the defaults of a command that runs in a namespace of the user.
 *
 * @throws {RefusedError} If the namespace ends with the command, and what it mounts with it.
 */
export async function carryOnIn(description: string, command: Command): Promise<null> {
  const own = await findOwnNamespace(description);
  if (own === null) return null;
  useDirectories();
  setDefaults({ userxattr: true });
  if (own.isMine && leavesMounts(command)) refuseMounts(command);
  if (own.isMine && command.kind === "render") setDefaults({ copies: true });
  return null;
}
