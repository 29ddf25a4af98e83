/**
 * Composes a container: the process from the image's config and the request, and what it sees of the host.
 *
 * @module
 */
import { InvalidValueError, OverlayError } from "../core/errors.ts";
import { invalid } from "../core/invalid.ts";
import { child, isWithin } from "../core/path.ts";
import { quote } from "../core/quote.ts";
import type { ImageProcess } from "../image/image_process.ts";
import { parseChoice, parsePath } from "../request/names.ts";
import { look } from "../system/disk.ts";
import { NETWORKS } from "./container.ts";
import type { Bind, Container, NetworkName } from "./container.ts";
import { resolveInRoot } from "./root_path.ts";
import { findUser } from "./user.ts";
import type { ProcessUser } from "./user.ts";

/** The process that is asked for. A part that is not given is that of the image. */
export interface ProcessRequest {
  /** The command, or the arguments of the entry point. @default {that of the image} */
  readonly cmd?: readonly string[];
  /** The words before the command; none if the list is empty. @default {that of the image} */
  readonly entrypoint?: readonly string[];
  /** Further variables. @default {none} */
  readonly env?: Readonly<Record<string, string>>;
  /** The working directory, a path in the rootfs. @default {that of the image, or `/`} */
  readonly workdir?: string;
  /** The user, as `USER[:GROUP]`, each a name or an id. @default {that of the image, or root} */
  readonly user?: string;
  /** The network: that of the host, or none. @default {"host"} */
  readonly network?: NetworkName;
  /** Directories and files of the host that it sees, each as `SOURCE:TARGET[:ro]`. @default {none} */
  readonly bind?: readonly string[];
  /** Set if the process keeps the terminal of this process, and with it job control. @default {false} */
  readonly tty?: boolean;
}

/** The rootfs that a process runs in. */
export interface Root {
  /** The rootfs, a path on the host without symlinks. */
  readonly rootfs: string;
  /** Set if it is a view. */
  readonly readOnly: boolean;
}

/** Receives a warning. */
type Warn = ((text: string) => void) | undefined;

/** The variables of a process where neither the image nor the request sets them. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const RESOLVER = "/etc/resolv.conf";

function composeEnv(
  image: ImageProcess,
  { env = {} }: ProcessRequest,
  { home }: ProcessUser,
): ReadonlyMap<string, string> {
  const all = new Map([["PATH", PATH], ["HOME", home]]);
  for (const pair of image.env) {
    const at = pair.indexOf("=");
    if (at > 0) all.set(pair.slice(0, at), pair.slice(at + 1));
  }
  for (const [name, value] of Object.entries(env)) {
    if (name === "" || /[=\0]/.test(name) || value.includes("\0")) {
      throw invalid("env", `${name}=${value}`, "it must be NAME=VALUE without a NUL");
    }
    all.set(name, value);
  }
  return all;
}

function composeCommand(
  image: ImageProcess,
  { cmd, entrypoint }: ProcessRequest,
): readonly string[] {
  // As for docker: an entry point that is given takes the command of the image away, too.
  const before = entrypoint ?? image.entrypoint;
  const argv = [...before, ...cmd ?? (entrypoint === undefined ? image.cmd : [])];
  if (argv.some((word) => word.includes("\0"))) {
    throw invalid("command", argv.join(" "), "it has a NUL");
  }
  if (argv[0] !== undefined && argv[0] !== "") return argv;
  throw new InvalidValueError(
    "usage",
    "Cannot run a command: none is given, and the image has none",
    {
      hint: "write -- and the command",
    },
  );
}

/** The error of a command that cannot be started. */
export class CommandError extends OverlayError {
  static {
    this.prototype.name = "CommandError";
  }

  /** The exit status, as that of a shell: 127 if there is no such command, 126 if it cannot be executed. */
  override get exitStatus(): number {
    return this.code === "missing" ? 127 : 126;
  }
}

/** The place where a command is looked for. */
interface Lookup {
  readonly rootfs: string;
  /** The directories, as in the variable PATH. */
  readonly path: string;
  readonly cwd: string;
  readonly binds: readonly Bind[];
}

/**
 * Checks that the rootfs has the command: a runtime would say with its own exit status that it does not exist.
 * Of a command in a directory of the host, the runtime must say it.
 */
function checkCommand(command: string, { rootfs, path, cwd, binds }: Lookup): void {
  const candidates = command.includes("/")
    ? [command.startsWith("/") ? command : child(cwd, command)]
    : path.split(":").map((directory) => child(directory === "" ? cwd : directory, command));
  const all = candidates.map((candidate) => resolveInRoot(rootfs, candidate));
  if (all.some(({ inside }) => binds.some(({ target }) => isWithin(inside, target)))) return;
  const [first, ...others] = all.filter(({ info }) => info !== null);
  if (first === undefined) {
    throw new CommandError("missing", `Cannot run ${quote(command)}: the rootfs does not have it`, {
      path: command,
      hint: command.includes("/") ? "check the path" : `it is looked for in ${path}`,
    });
  }
  if ([first, ...others].some(({ info }) => info?.isFile && ((info.mode ?? 0) & 0o111) !== 0)) {
    return;
  }
  throw new CommandError("failed", `Cannot run ${quote(command)}: it is no executable file`, {
    path: first.inside,
    hint: "check its type and its mode",
  });
}

/** Composes the working directory. In a directory of the host, the runtime must say that it does not exist. */
function composeWorkdir(
  rootfs: string,
  image: ImageProcess,
  { workdir, binds }: { readonly workdir?: string | undefined; readonly binds: readonly Bind[] },
): string {
  const wanted = workdir ?? (image.workdir || "/");
  if (!wanted.startsWith("/")) throw invalid("workdir", wanted, "it must begin with a slash");
  const { inside, info } = resolveInRoot(rootfs, wanted);
  if (binds.some(({ target }) => isWithin(inside, target))) return inside;
  if (info?.isDirectory) return inside;
  throw invalid("workdir", wanted, "the rootfs has no such directory", { path: wanted });
}

/** Parses `SOURCE:TARGET[:ro]`, and resolves the target: a symlink of the rootfs must not lead out of it. */
function parseBind(rootfs: string, text: string): Bind {
  const [source = "", target = "", mode = "rw", more] = text.split(":");
  if (more !== undefined || !/^r[ow]$/.test(mode) || !target.startsWith("/")) {
    const hint = "write SOURCE:TARGET or SOURCE:TARGET:ro, both absolute paths";
    throw invalid("bind", text, "it must be SOURCE:TARGET[:ro]", { hint });
  }
  const path = parsePath("bind", source);
  if (look(path) === null) throw invalid("bind", text, `${quote(path)} does not exist`, { path });
  const { inside } = resolveInRoot(rootfs, target);
  if (inside === "/") throw invalid("bind", text, "it would hide all of the rootfs");
  return { source: path, target: inside, readOnly: mode === "ro" };
}

/**
 * Shows the host's resolver to a process in the host's network. It is only mounted on a file that is there: the
 * runtime would make one in the upper, and the next commit would hold it.
 */
function bindResolver(rootfs: string, warn: Warn): readonly Bind[] {
  if (look(RESOLVER) === null) return [];
  const { inside, info } = resolveInRoot(rootfs, RESOLVER);
  if (info?.isFile) return [{ source: RESOLVER, target: inside, readOnly: true }];
  warn?.(
    `the rootfs has no file ${RESOLVER}, so that of the host is not shown: names are not resolved`,
  );
  return [];
}

/**
 * Composes a container.
 *
 * Requires `--allow-read` permission for the rootfs, for `/etc/resolv.conf` and for the sources of binds.
 *
 * @param how Set `binds` if the runtime can show parts of the host.
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {CommandError} If the command does not exist, or is not executable.
 * @throws {OverlayError} If a file of the rootfs that is needed cannot be read.
 */
export async function composeContainer(
  { rootfs, readOnly }: Root,
  image: ImageProcess,
  request: ProcessRequest,
  { binds: canBind, warn }: { readonly binds: boolean; readonly warn?: Warn },
): Promise<Container> {
  const network = parseChoice("network", request.network ?? "host", NETWORKS);
  const argv = composeCommand(image, request);
  const user = await findUser(rootfs, request.user ?? image.user);
  const env = composeEnv(image, request, user);
  const binds = (request.bind ?? []).map((text) => parseBind(rootfs, text));
  const cwd = composeWorkdir(rootfs, image, { workdir: request.workdir, binds });
  const points = (["/proc", "/dev"] as const).filter((name) => {
    if (look(child(rootfs, name.slice(1)))?.isDirectory) return true;
    warn?.(`the rootfs has no directory ${name}, so the command has none`);
    return false;
  });
  checkCommand(argv[0] ?? "", { rootfs, path: env.get("PATH") ?? PATH, cwd, binds });
  const taken = binds.some(({ target }) => target === RESOLVER);
  const resolver = canBind && network === "host" && !taken ? bindResolver(rootfs, warn) : [];
  return {
    rootfs,
    readOnly,
    argv,
    env,
    cwd,
    user,
    network,
    binds: [...resolver, ...binds],
    points,
    terminal: request.tty ?? false,
  };
}
