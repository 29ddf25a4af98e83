/**
 * `deno task bundle`: makes `dist/overlay-render.js`, the command as one script. It starts faster than
 * the modules it is made of, and needs nothing beside Deno.
 *
 * @module
 */
import { run } from "./run.ts";

const ROOT = new URL("../", import.meta.url).pathname.replace(/\/$/, "");

/** What the bundle is made from. */
const SOURCES = ["cli.ts", "lib", "std", "deno.json", "deno.lock"];

/**
 * Turns imports that are made when they are needed into imports at the top. In one file there is nothing
 * left to load later, and what a bundler makes of them costs each process half a millisecond.
 *
 * What Deno has built in is not in the script, and takes its time to load; that stays where it is.
 */
export function importAhead(source: string): string {
  const imports: string[] = [];
  const text = source.replace(
    /await import\(\s*("(?!node:)[^"]+")\s*(?:,\s*\{\s*with:\s*(\{[^}]*\})\s*\})?,?\s*\)/g,
    (_, specifier: string, attributes: string | undefined) => {
      const name = `ahead${imports.length}`;
      // A module of JSON has its value as its default export.
      const binding = attributes === undefined ? `* as ${name}` : `${name}`;
      const suffix = attributes === undefined ? "" : ` with ${attributes}`;
      imports.push(`import ${binding} from ${specifier}${suffix};\n`);
      return attributes === undefined ? name : `{ default: ${name} }`;
    },
  );
  // At the end: the first line may say how the script is run, and imports are hoisted anyway.
  return `${text}\n${imports.join("")}`;
}

/**
 * Puts functions of a bundle in parentheses, which V8 takes as a sign to compile them with the file.
 * Only so do they come into Deno's code cache; functions compiled when they are first called are
 * compiled anew by every process. But each one that is not called costs its way out of the cache.
 *
 * @param code A bundle as esbuild writes it: functions start and end in the first column, and a comment
 * above each module says its path.
 * @param isWanted Whether the functions of the module at this path are compiled ahead.
 */
export function compileAhead(code: string, isWanted: (module: string) => boolean): string {
  let wanted = false;
  let open = false;
  const lines = code.split("\n").map((line) => {
    const [, module] = /^\/\/ (\S+\.[jt]s)$/.exec(line) ?? [];
    if (module !== undefined) wanted = isWanted(module);
    const [, name] = /^(?:async )?function (\w+)\([^]*\{$/.exec(line) ?? [];
    if (wanted && name !== undefined) {
      open = true;
      return `var ${name} = (${line}`;
    }
    if (!open || line !== "}") return line;
    open = false;
    return "});";
  });
  return lines.join("\n");
}

interface ModuleInfo {
  readonly specifier: string;
  readonly dependencies?: readonly {
    readonly isDynamic?: boolean;
    readonly code?: { readonly specifier?: string };
  }[];
}

/** The modules that a render loads: all that the command and `lib/render.ts` import at once. */
async function modulesOfRender(): Promise<ReadonlySet<string>> {
  const { modules } = JSON.parse(await must("info", "--json", "cli.ts")) as {
    modules: readonly ModuleInfo[];
  };
  const bySpecifier = new Map(modules.map((module) => [module.specifier, module]));
  const queue = ["cli.ts", "lib/render.ts"].map((name) => `file://${ROOT}/${name}`);
  const found = new Set(queue);
  for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
    for (const { isDynamic, code } of bySpecifier.get(at)?.dependencies ?? []) {
      if (isDynamic || code?.specifier === undefined || found.has(code.specifier)) continue;
      found.add(code.specifier);
      queue.push(code.specifier);
    }
  }
  return found;
}

async function must(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await run([Deno.execPath(), ...args], {
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  });
  if (status !== 0) throw new Error(`Cannot bundle "cli.ts": ${stderr}`);
  return stdout;
}

/** Writes the sources into a directory, with every import at the top. */
async function copySources(directory: string): Promise<void> {
  const sources = SOURCES.map((name) => `${ROOT}/${name}`);
  const { status, stderr } = await run(["cp", "-R", ...sources, directory]);
  if (status !== 0) throw new Error(`Cannot bundle "cli.ts": ${stderr}`);
  const files = [`${directory}/cli.ts`];
  for await (const { name } of Deno.readDir(`${directory}/lib`)) {
    files.push(`${directory}/lib/${name}`);
  }
  for (const file of files) {
    await Deno.writeTextFile(file, importAhead(await Deno.readTextFile(file)));
  }
}

/**
 * Bundles the command.
 *
 * @param output The file to write.
 * @throws {Error} If it cannot be bundled.
 */
export async function bundle(output: string): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "overlay-render-bundle-" });
  try {
    await copySources(directory);
    await must("bundle", "--quiet", "--output", output, `${directory}/cli.ts`);
    const ofRender = await modulesOfRender();
    const isWanted = (module: string) => {
      return !module.startsWith("lib/") || ofRender.has(`file://${ROOT}/${module}`);
    };
    const code = await Deno.readTextFile(output);
    // The bundler names modules from where it runs; theirs are those of the copy.
    const named = code.replaceAll(/^\/\/ \S*?overlay-render-bundle-[^/]+\//gm, "// ");
    await Deno.writeTextFile(output, compileAhead(named, isWanted));
    await Deno.chmod(output, 0o755);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

if (import.meta.main) await bundle(`${ROOT}/dist/overlay-render.js`);
