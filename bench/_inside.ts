/**
 * A benchmark in namespaces of its own, so that nothing that it mounts, starts or makes is left.
 *
 * @module
 */
import { beginFigures } from "./_figures.ts";
import { findNamespace } from "../tools/namespace.ts";
import { run, say } from "../tools/run.ts";
import { refusal } from "./_place.ts";

/** Removes the scratch directory. Processes that were ended by force take a moment to let go of it. */
async function removeScratch(scratch: string): Promise<void> {
  for (let tries = 20; tries > 0; tries--) {
    const { status } = await run(["rm", "-rf", "--one-file-system", scratch]);
    if (status === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  say(`Cannot remove ${scratch}\n`);
}

/**
 * Starts again where mounts are private, and as the first process of a process namespace: with it, and
 * with this one when it is interrupted, all that it started ends.
 */
async function startInside(argv: readonly string[], scratch: string): Promise<number> {
  const [program = "", ...args] = argv;
  const child = new Deno.Command(program, { args, stdin: "null", env: { TMPDIR: scratch } })
    .spawn();
  const end = () => child.kill("SIGKILL");
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) Deno.addSignalListener(signal, end);
  try {
    return (await child.status).code;
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, end);
  }
}

/**
 * Runs a benchmark inside.
 *
 * @param script The file that calls this.
 * @param act Measures, in a scratch directory that is there.
 * @returns The exit status.
 */
export async function benchInside(
  script: string,
  act: (scratch: string) => Promise<void>,
): Promise<number> {
  const [inner, inside] = Deno.args;
  if (inner === "--inner" && inside !== undefined) {
    await act(inside);
    return 0;
  }
  beginFigures(Deno.args);
  const scratch = await Deno.realPath(await Deno.makeTempDir({ prefix: "overlay-peers-" }));
  try {
    const reason = refusal(scratch);
    if (reason !== null) {
      say(reason);
      return 1;
    }
    const namespace = await findNamespace(scratch);
    if ("missing" in namespace || namespace.options.length > 0) {
      say("missing" in namespace ? namespace.missing : "This needs root with CAP_SYS_ADMIN.\n");
      return 1;
    }
    const own = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const self = [Deno.execPath(), "run", "-A", "-q", script];
    const argv = [...namespace.enter(scratch), ...own, ...self, "--inner", scratch];
    return await startInside(argv, scratch);
  } finally {
    await removeScratch(scratch);
  }
}
