/**
 * `deno task bundle`: makes `dist/overlay-render.js`, the command as one script. It starts faster than
 * the modules it is made of, and needs nothing beside Deno.
 *
 * @module
 */

const ROOT = `${import.meta.dirname}/..`;

/**
 * Puts the functions of a bundle in parentheses, which V8 takes as a sign to compile them with the
 * file. Only so do they come into Deno's code cache; functions compiled when they are first called are
 * compiled anew by every process, which costs a render about three milliseconds.
 *
 * @param code A bundle as esbuild writes it: functions start and end in the first column.
 */
export function compileAhead(code: string): string {
  let open = false;
  const lines = code.split("\n").map((line) => {
    const [, name] = /^(?:async )?function (\w+)\([^]*\{$/.exec(line) ?? [];
    if (name !== undefined) {
      open = true;
      return `var ${name} = (${line}`;
    }
    if (!open || line !== "}") return line;
    open = false;
    return "});";
  });
  return lines.join("\n");
}

/**
 * Bundles the command.
 *
 * @param output The file to write.
 * @throws {Error} If it cannot be bundled.
 */
export async function bundle(output: string): Promise<void> {
  const args = ["bundle", "--quiet", "--output", output, "cli.ts"];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).output();
  if (!success) throw new Error(`Cannot bundle "cli.ts": ${new TextDecoder().decode(stderr)}`);
  await Deno.writeTextFile(output, compileAhead(await Deno.readTextFile(output)));
  await Deno.chmod(output, 0o755);
}

if (import.meta.main) await bundle(`${ROOT}/dist/overlay-render.js`);
