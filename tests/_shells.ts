/**
 * Real shells, interactive, on a terminal that script(1) makes.
 *
 * @module
 */

/** The mark that a shell writes when it waits for a line. */
const PROMPT = "%READY%";

/** How an interactive shell is started, and how it gets the mark. */
const STARTS = {
  bash: { command: "bash --norc --noprofile -i", mark: `PS1='%REA''DY%'` },
  zsh: { command: "zsh -f -i", mark: `PS1='%%REA''DY%%'; unset zle_bracketed_paste` },
} as const;

/** Tells whether a program is there. */
export async function hasProgram(name: string): Promise<boolean> {
  const found = await new Deno.Command("sh", { args: ["-c", 'command -v "$0"', name] }).output();
  return found.success;
}

/**
 * Types lines into an interactive shell, each when the shell waits for one, and ends it.
 *
 * @param lines The lines, as they are typed: a tab completes.
 * @returns All that the terminal showed.
 */
export async function type(
  shell: keyof typeof STARTS,
  lines: readonly string[],
  cwd: string,
): Promise<string> {
  const { command, mark } = STARTS[shell];
  const env = { TERM: "dumb", PATH: Deno.env.get("PATH") ?? "", HOME: cwd, LC_ALL: "C.UTF-8" };
  await using child = new Deno.Command("timeout", {
    args: [
      "--kill-after=5",
      "60",
      "script",
      "--quiet",
      "--return",
      "--command",
      command,
      "/dev/null",
    ],
    ...{ cwd, env, clearEnv: true, stdin: "piped", stdout: "piped", stderr: "null" },
  }).spawn();
  const writer = child.stdin.getWriter();
  const write = (line: string) => writer.write(new TextEncoder().encode(`${line}\r`));
  const queue = [...lines, "exit"];
  let shown = "";
  let seen = 0;
  await write(mark);
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    shown += text;
    // A shell that draws its prompt twice must not get two lines.
    const ready = shown.lastIndexOf(PROMPT);
    if (ready < seen) continue;
    seen = shown.length;
    const next = queue.shift();
    if (next !== undefined) await write(next);
  }
  await writer.close().catch(() => {});
  return shown;
}
