/**
 * Finds the remains of tests: mounts, files, processes.
 *
 * @module
 */

async function linesOf(path: string): Promise<string[]> {
  const text = await Deno.readTextFile(path).catch((error: unknown) => {
    // A run that was killed wrote no notes. It has failed, and its namespace is gone.
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  });
  return text.split("\n").filter((line) => line !== "");
}

/** The mounts and files that a run left, from the notes made inside its namespace; one sentence each. */
export async function leftThings(name: string, notes: string): Promise<string[]> {
  const [before, after, files] = await Promise.all(
    ["before", "after", "files"].map((note) => linesOf(`${notes}/${note}`)),
  );
  const mounts = (after ?? []).filter((target) => !before?.includes(target));
  return [
    ...mounts.map((target) => `${name} left a mount: ${target}`),
    ...(files ?? []).map((file) => `${name} left a file: ${file}`),
  ];
}

async function readOrEmpty(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    // The process has ended, or belongs to another user.
    return "";
  }
}

interface Process {
  readonly pid: number;
  readonly commandLine: string;
}

async function processesOf(mark: string): Promise<Process[]> {
  const found: Process[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const environment = await readOrEmpty(`/proc/${name}/environ`);
    if (!environment.split("\0").includes(`OVERLAY_RENDER_TESTS=${mark}`)) continue;
    const commandLine = (await readOrEmpty(`/proc/${name}/cmdline`)).replaceAll("\0", " ").trim();
    found.push({ pid: Number(name), commandLine });
  }
  return found;
}

function end({ pid, commandLine }: Process): string {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch (error) {
    // The process has ended by itself meanwhile, but too late.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return `a test left process ${pid}: ${commandLine}`;
}

/**
 * Ends the processes that outlived their test and names them, one sentence each. They get a moment: who
 * waits for a program does not wait for the programs that it started.
 *
 * @param mark The value of OVERLAY_RENDER_TESTS in their environment.
 */
export async function endLeftProcesses(mark: string): Promise<string[]> {
  const deadline = performance.now() + 5000;
  for (;;) {
    const found = await processesOf(mark);
    if (found.length === 0 || performance.now() > deadline) return found.map(end);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
