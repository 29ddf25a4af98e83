/**
 * Starts a runtime in the foreground, hands on signals, and waits for its end.
 *
 * @module
 */
import type { Launch } from "./container.ts";
import { child } from "../core/path.ts";
import { ifAny } from "../system/disk.ts";
import { writeScratch } from "../system/own_file.ts";
import { STARTERS } from "../system/programs.ts";
import { programError, run, spawnForeground } from "../system/run.ts";
import type { Streams } from "../system/run.ts";

/** The shells, the first one that exists is used: bash can close every file descriptor by its number. */
export const SHELLS = ["/bin/bash", "/bin/sh"] as const;

/** The name of the file with the report of the runtime. */
const REPORT = "report";

/**
 * Closes all file descriptors but the first three: what this process inherited is not for the command
 * (CVE-2024-21626). Then opens the file in `$0`, if any, as file descriptor 3, and the one for the runtime's report
 * as 4.
 */
const BEGIN = `for fd in /proc/$$/fd/*; do
  fd=\${fd##*/}
  case $fd in
    [012]) continue ;;
    ?) ;;
    *) if [ -z "$BASH_VERSION" ] && [ -e /proc/$$/fd/$fd ]; then
      echo "overlay-render: cannot close file descriptor $fd without /bin/bash" >&2
      exit 125
    fi ;;
  esac
  eval "exec $fd>&-"
done
[ -z "$0" ] || exec 3<"$0" 4>"\${0%/*}/${REPORT}"
exec "$@"`;

/**
 * Sends the signal `$2` to the process that is `$1` generations below `$0`: each time the oldest child, which is
 * the first of a list without a newline. It waits for a command that has not begun; one that has ended gets none.
 */
const SIGNAL = `pid=$0
for generation in $(seq "$1"); do
  parent=$pid pid= tries=500
  while
    read -r pid others 2>/dev/null < "/proc/$parent/task/$parent/children"
    [ -z "$pid" ]
  do
    tries=$((tries - 1))
    [ -e "/proc/$0/exe" ] || exit 0
    [ "$tries" -gt 0 ] || { echo "the runtime has started no command" >&2; exit 1; }
    sleep 0.02
  done
done
kill -s "$2" "$pid"`;

/** A runtime that was started. */
export interface Launched {
  /** The process of the runtime. */
  readonly process: Deno.ChildProcess;
  /** Sends a signal to the command. */
  readonly kill: (signal: Deno.Signal) => Promise<void>;
  /** Tells whether a command was started whose runtime has ended with exit status 1. */
  readonly isStarted: () => boolean;
}

/** How a runtime is started. */
export interface LaunchOptions extends Streams {
  /** The directory for its files. */
  readonly directory: string;
  /** The shell. */
  readonly shell: string;
  /** Set if the command stays in the session of this process, and keeps its terminal. */
  readonly terminal: boolean;
}

/**
 * Starts a runtime. It ends when this process ends, however that happens.
 *
 * Unless it keeps the terminal, it is in a session of its own: a process in this one could put words into the
 * terminal (TIOCSTI, CVE-2017-5226), and a signal from the keyboard comes once, by way of this process.
 *
 * Requires `--allow-run` permission for setpriv, and `--allow-write` for the directory.
 *
 * @throws {OverlayError} If it cannot be started.
 */
export function launch(
  { argv, files = {}, input, hasBegun, depth }: Launch,
  { directory, shell, terminal, ...streams }: LaunchOptions,
): Launched {
  for (const [name, content] of Object.entries(files)) {
    writeScratch(child(directory, name), new TextEncoder().encode(content));
  }
  const file = input === undefined ? "" : child(directory, input);
  const session = terminal ? [] : ["/bin/setsid"];
  const args = ["--pdeathsig=KILL", "--", shell, "-c", BEGIN, file, ...session, ...argv];
  const process = spawnForeground(STARTERS.setpriv, args, streams);
  let hasEnded = false;
  process.status.then(() => hasEnded = true);
  return {
    process,
    isStarted: () => {
      if (hasBegun === undefined) return true;
      const report = ifAny(() => Deno.readTextFileSync(child(directory, REPORT)));
      return report === null || hasBegun(report);
    },
    kill: async (signal) => {
      // Its number may be that of another process by now.
      if (hasEnded) return;
      const words = [String(process.pid), String(depth), signal.slice("SIG".length)];
      const sent = await run(STARTERS.setpriv, ["--", shell, "-c", SIGNAL, ...words], { cwd: "/" });
      if (sent.status !== 0) throw programError(sent, `send ${signal} to the command`, null);
    },
  };
}
