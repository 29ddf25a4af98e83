/**
 * Chooses the runtime that starts a container.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { invalid } from "../core/invalid.ts";
import { look } from "../system/disk.ts";
import { STARTERS } from "../system/programs.ts";
import { launchBwrap } from "./bwrap.ts";
import { launchChroot, listLeftOut } from "./chroot.ts";
import type { Container, Launch, RuntimeName } from "./container.ts";
import { launchOci } from "./oci_runtime.ts";

/** The places of the runtimes, the first one that exists is used. */
export const RUNTIME_PROGRAMS = {
  bwrap: ["/bin/bwrap"],
  runc: ["/sbin/runc", "/bin/runc"],
  crun: ["/bin/crun"],
} as const;

const ENV = "/bin/env";

type Installed = keyof typeof RUNTIME_PROGRAMS;

function findProgram(name: Installed): string | undefined {
  return RUNTIME_PROGRAMS[name].find((path) => look(path) !== null);
}

function missingError(names: readonly string[], why: string): OverlayError {
  return new OverlayError(
    "no-runtime",
    `Cannot run a command: ${names.join(" or ")} is not there`,
    {
      hint: `install it: apt install ${names[0] === "bwrap" ? "bubblewrap" : names[0]}${why}`,
    },
  );
}

/** Tells whether bubblewrap takes so many words: of 9000 arguments, those of a variable and of a bind are three. */
function hasFewWords({ argv, env, binds }: Container): boolean {
  return argv.length + 3 * (env.size + binds.length) < 8800;
}

/** Chooses a runtime that is installed and can start the container. */
function choose(container: Container): readonly [Installed, string] {
  const { user: { uid, gid } } = container;
  // In its user namespace bubblewrap maps one id only.
  const isRoot = uid === 0 && gid === 0 && hasFewWords(container);
  const names: readonly Installed[] = isRoot ? ["bwrap", "runc", "crun"] : ["runc", "crun"];
  for (const name of names) {
    const program = findProgram(name);
    if (program !== undefined) return [name, program];
  }
  throw missingError(names, isRoot ? "" : "; bwrap can only run root, with less than 9000 words");
}

function checkUser(name: Installed, container: Container): void {
  const { user: { uid, gid } } = container;
  if (name === "bwrap" && !hasFewWords(container)) {
    throw invalid("runtime", name, "the command and its environment have too many words for it", {
      hint: "use --runtime runc",
    });
  }
  if (name !== "bwrap" || (uid === 0 && gid === 0)) return;
  throw invalid("runtime", name, `it can only run root, and the user is ${uid}:${gid}`, {
    hint: "use --runtime runc",
  });
}

/**
 * Describes the start of a container.
 *
 * Requires `--allow-read` permission for the runtimes.
 *
 * @param directory The directory for its files; the container is named after it.
 * @throws {InvalidValueError} If the runtime cannot start it.
 * @throws {OverlayError} If no runtime is installed that can.
 */
export function describeLaunch(
  container: Container,
  { runtime, directory, warn }: {
    readonly runtime: RuntimeName;
    readonly directory: string;
    readonly warn?: ((text: string) => void) | undefined;
  },
): Launch {
  const { unshare } = STARTERS;
  if (runtime === "chroot") {
    for (const name of listLeftOut(container)) {
      warn?.(`${name} is left out: a program of the host would use it before the command starts`);
    }
    warn?.("the runtime chroot protects the host from nothing: root in it is root of the host");
    return launchChroot(container, { unshare, env: ENV });
  }
  const [name, program] = runtime === "auto"
    ? choose(container)
    : [runtime, findProgram(runtime)] as const;
  if (program === undefined) throw missingError([name], "");
  checkUser(name, container);
  if (name === "bwrap") return launchBwrap(program, container);
  const id = `overlay-render-${Deno.pid}-${crypto.randomUUID()}`;
  return launchOci(program, container, { unshare, directory, id });
}
