/**
 * `deno task bundle`: makes `dist/overlay-render.js`, the command as one script, and the library as two
 * modules with their types: `dist/mod.js`, and `dist/tree.js` for the tree store. They start faster than the separate modules, and need only Deno.
 *
 * The script is made in five steps:
 *
 * 1. Modules that no everyday command loads are late.
 * 2. In a copy of the sources, the others ask for a late module by name: `import("./x.ts")` becomes
 *    `lateModules("lib/x.ts")`. All other imports move to the top.
 * 3. `deno bundle` makes one file of the copy.
 * 4. Late modules move into one function, which V8 does not look into before it is called. The functions of
 *    the modules that each render loads are put in parentheses, which V8 takes as a sign to compile them
 *    with the file: only so do they come into Deno's code cache, and what does not is compiled by every
 *    process that calls it.
 * 5. esbuild shortens names and removes white space.
 *
 * @module
 */
import { dirname } from "@std/path/posix/dirname";
import { filesBelow } from "./files.ts";
import { run } from "./run.ts";

const ROOT = new URL("../", import.meta.url).pathname.replace(/\/$/, "");

const SOURCES = ["cli.ts", "lib", "std", "deno.json", "deno.lock"];

/** The modules that each render loads, together with their static imports. */
const RENDER = ["cli.ts", "lib/api/render.ts"];

/** The modules that other everyday commands load, together with their static imports. */
const EVERYDAY = [
  "lib/api/render_pod.ts",
  "lib/api/mount_again.ts",
  "lib/api/status.ts",
  "lib/api/unmount.ts",
  "lib/apply/apply_rootfs.ts",
  "lib/apply/inspect.ts",
  "lib/cli/output.ts",
  "lib/cli/run_cli.ts",
  "lib/pod/verify.ts",
  "lib/preflight/run_preflight.ts",
  "lib/request/spec.ts",
];

/** The module that makes the late modules known by name. */
const INDEX = "late.ts";

/**
 * The version that `deno bundle` uses. Not its `--minify`, which also rewrites expressions: a `using` whose
 * name is read once is then put in the place of the name, and nothing is disposed of.
 */
const MINIFY = [
  "npm:esbuild@0.25.5",
  "--minify-whitespace",
  "--minify-identifiers",
  "--log-level=warning",
];

/** Stands where a parenthesis must survive the minifier. */
const EAGERLY = "compiledEagerly";

/** The path in the repository that a specifier leads to from a module there. */
function pathOf(specifier: string, from: string): string {
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}

/** Finds the modules that are loaded at once with others, and those others. */
async function loadedWith(paths: readonly string[]): Promise<ReadonlySet<string>> {
  const found = new Set(paths);
  for (const path of found) {
    const source = await Deno.readTextFile(`${ROOT}/${path}`);
    const imports = source.matchAll(/^(?:import|export) (?!type )[^;]*?from "(\.[^"]+)";$/gm);
    for (const [, specifier = ""] of imports) found.add(pathOf(specifier, path));
  }
  return found;
}

/** A module without imports that are made when they are needed. */
export interface Rewritten {
  readonly source: string;
  /** The late modules that it asks for. */
  readonly late: ReadonlySet<string>;
}

/**
 * Replaces the imports of a module that are made when they are needed. What Deno has built in takes its time
 * to load, and stays as it is.
 *
 * @param source The text of a module.
 * @param lateFor The name of the late module behind a specifier; `null` if it is to be imported at the top.
 */
export function rewriteImports(
  source: string,
  lateFor: (specifier: string) => string | null,
): Rewritten {
  const [late, imports] = [new Set<string>(), new Set<string>()];
  const text = source.replaceAll(
    // By its names: a module that is imported as a whole is made into an object by every process.
    /^ *const \{([^}]*)\} = await import\(\s*"(\.[^"]+)"\s*\);\n/gm,
    (statement, names: string, specifier: string) => {
      if (lateFor(specifier) !== null) return statement;
      for (const name of names.split(",").map((name) => name.trim()).filter(Boolean)) {
        imports.add(`import { ${name.replace(":", " as")} } from "${specifier}";\n`);
      }
      return "";
    },
  ).replaceAll(
    /await import\(\s*"(\.[^"]+)"(?:,\s*\{\s*with: \{[^}]*\},?\s*\})?,?\s*\)/g,
    (_, specifier: string) => {
      const name = lateFor(specifier);
      if (name !== null) late.add(name);
      const module = `module${imports.size}`;
      if (name === null) imports.add(formatImport(module, specifier));
      return name === null ? module : `lateModules("${name}")`;
    },
  );
  if (/\bimport\((?!"node:)/.test(text)) {
    throw new Error("Cannot bundle: an import has another form");
  }
  // At the end: the first line may say how the script is run, and imports are hoisted anyway.
  return { source: text + [...imports].join(""), late };
}

function formatImport(name: string, specifier: string): string {
  const attributes = specifier.endsWith(".json") ? ' with { type: "json" }' : "";
  return `import * as ${name} from "${specifier}"${attributes};\n`;
}

/** Writes the sources into a directory, rewritten, and the index of the late modules. */
async function copySources(directory: string, everyday: ReadonlySet<string>): Promise<void> {
  await must(["cp", "-R", ...SOURCES.map((name) => `${ROOT}/${name}`), directory]);
  const late = new Set<string>();
  for (const path of ["cli.ts", ...await filesBelow(ROOT, "lib", ".ts")]) {
    const file = `${directory}/${path}`;
    const rewritten = rewriteImports(await Deno.readTextFile(file), (specifier) => {
      const to = pathOf(specifier, path);
      return everyday.has(path) && !everyday.has(to) ? to : null;
    });
    rewritten.late.forEach((name) => late.add(name));
    const index = path === "cli.ts" ? `import "./${INDEX}";\n` : "";
    await Deno.writeTextFile(file, rewritten.source + index);
  }
  await Deno.writeTextFile(`${directory}/${INDEX}`, formatIndex(late));
}

/** The module that makes late modules known by name. */
export function formatIndex(late: ReadonlySet<string>): string {
  const imports = [...late].map((path, at) => formatImport(`module${at}`, `./${path}`));
  const entries = [...late].map((path, at) => `"${path}": module${at}`);
  return `${imports.join("")}lateModules.all = { ${entries.join(", ")} };\n`;
}

/** How the modules of the script are laid out: compiled with the file, when they are called, or not seen. */
export type Place = "eager" | "lazy" | "late";

/**
 * Puts the functions of eager modules in parentheses, and before all else, where they were hoisted to without
 * these; and late modules into a function.
 *
 * @param code A bundle as esbuild writes it: functions start and end in the first column, and a comment
 * above each module says its path.
 * @param placeOf The place of a module, by its path.
 * @returns The bundle, to be minified, and then {@linkcode finish finished}.
 */
export function layOut(code: string, placeOf: (module: string) => Place): string {
  const [functions, others, late]: [string[], string[], string[]] = [[], [], []];
  const [first = "", ...rest] = code.split("\n");
  let [place, isOpen]: [Place, boolean] = ["eager", false];
  for (const line of rest) {
    const [, module] = /^\/\/ (\S+)$/.exec(line) ?? [];
    if (module !== undefined) place = placeOf(module);
    const [, name] = /^(?:async )?function (\w+)\([^]*\{$/.exec(line) ?? [];
    if (place === "eager" && name !== undefined) isOpen = true;
    const begin = isOpen && name !== undefined ? `var ${name} = ${EAGERLY}(` : "";
    const end = isOpen && line === "}" ? ");" : "";
    const lines = place === "late" ? late : isOpen ? functions : others;
    lines.push(begin + line + end);
    if (end !== "") isOpen = false;
  }
  return [
    first,
    ...functions,
    ...others,
    "function lateModules(path) {",
    "  if (lateModules.all === undefined) loadLateModules();",
    "  return lateModules.all[path];",
    "}",
    "function loadLateModules() {",
    ...late,
    "}",
    "",
  ].join("\n");
}

/** Puts the parentheses into a script that is minified. */
export function finish(script: string): string {
  return script.replaceAll(`${EAGERLY}(`, "(");
}

/** Runs a program that has to succeed. */
async function must(argv: readonly string[], cwd = ROOT): Promise<void> {
  const { status, stderr } = await run(argv, { cwd, env: { NO_COLOR: "1" } });
  if (status !== 0) throw new Error(`Cannot bundle: ${stderr}`);
}

/**
 * Bundles the command.
 *
 * @param output The file to write.
 * @throws {Error} If it cannot be bundled.
 */
export async function bundle(output: string): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "overlay-render-bundle-" });
  const [script, minified] = [`${directory}/script.js`, `${directory}/minified.js`];
  const deno = (...args: string[]) => must([Deno.execPath(), ...args], directory);
  try {
    const eager = await loadedWith(RENDER);
    const everyday = await loadedWith([...RENDER, ...EVERYDAY]);
    await copySources(directory, everyday);
    await deno("bundle", "--quiet", "--output", script, "cli.ts");
    const placeOf = (module: string): Place => {
      if (eager.has(module) || !/^(?:lib\/|deno\.json$|late\.ts$)/.test(module)) return "eager";
      return everyday.has(module) ? "lazy" : "late";
    };
    await Deno.writeTextFile(script, layOut(await Deno.readTextFile(script), placeOf));
    await deno("run", "-A", "-q", "--no-lock", ...MINIFY, `--outfile=${minified}`, script);
    await Deno.mkdir(dirname(output), { recursive: true });
    await Deno.writeTextFile(output, finish(await Deno.readTextFile(minified)));
    await Deno.chmod(output, 0o755);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/**
 * Leaves out of the types of a library what its module does not export. `deno bundle` writes all that the
 * modules behind the exports declare, and imports that lead out of the file where only the rest needs them.
 *
 * @param types Declarations as TypeScript writes them: each begins in the first column.
 * @param module The text of the module, of which the exports are read.
 */
export function shakeTypes(types: string, module: string): string {
  const blocks = types.split(/^(?=\/\*\*)|(?<!\*\/\n)^(?=[a-z])/m);
  const codes = blocks.map((block) => block.replaceAll(/\/\*[^]*?\*\//g, ""));
  const names = codes.map((code) => /^export (?:declare )?[a-z]+ (\w+)/m.exec(code)?.[1] ?? "");
  const exports = [...module.matchAll(/^export (?:type )?\{([^}]*)\}/gm)].map(([, list]) => list);
  const wanted = new Set(exports.join().match(/\w+/g));
  for (const name of wanted) {
    const used = codes.filter((_, at) => names[at] === name).join().match(/\w+\b(?!\??:)/g) ?? [];
    used.filter((word) => names.includes(word)).forEach((word) => wanted.add(word));
  }
  return blocks.filter((_, at) => at === 0 || wanted.has(names[at] ?? "")).join("");
}

/**
 * Imports types of the tree store that only renders export from `mod.js`, in the place of the modules that
 * they are declared in.
 *
 * @param types The declarations that are left.
 * @param all Those before, with the imports of each module.
 */
function importShared(types: string, all: string): string {
  const imports = /^import type \{([^}]*)\} from "\.[^"]*";\n/gm;
  const imported = [...all.matchAll(imports)].flatMap(([, names = ""]) =>
    names.match(/\w+/g) ?? []
  );
  const rest = types.replaceAll(imports, "");
  const code = rest.replaceAll(/\/\*[^]*?\*\//g, "");
  const shared = [...new Set(imported)].filter((name) => {
    return new RegExp(`\\b${name}\\b`).test(code) &&
      !new RegExp(`^export (?:declare )?[a-z]+ ${name}\\b`, "m").test(code);
  });
  if (shared.length === 0) return rest;
  return `import type { ${shared.sort().join(", ")} } from "./mod.js";\n${rest}`;
}

/** The entry points of the library, and the names of what is made of them. */
const ENTRIES = { "mod.ts": "mod", "lib/store/tree.ts": "tree" };

/**
 * Bundles the library: `mod.js` and `tree.js`, each with its types in a file beside it, which its first line
 * names.
 *
 * @param directory The directory to write into.
 * @throws {Error} If it cannot be bundled.
 */
export async function bundleLibrary(directory: string): Promise<void> {
  for (const [entry, name] of Object.entries(ENTRIES)) await bundleEntry(directory, entry, name);
}

async function bundleEntry(directory: string, entry: string, name: string): Promise<void> {
  const argv = ["bundle", "--quiet", "--declaration", "--outdir", directory, entry];
  await must([Deno.execPath(), ...argv]);
  const [script, types] = [`${directory}/${name}.js`, `${directory}/${name}.d.ts`];
  // Comments with the paths of packages on this machine are of no use to others.
  const code = (await Deno.readTextFile(script)).replaceAll(/^\/\/ \.\.\/\S*\/npm\//gm, "// npm/");
  await Deno.writeTextFile(script, `// @ts-self-types="./${name}.d.ts"\n\n${code}`);
  const module = await Deno.readTextFile(`${ROOT}/${entry}`);
  const all = await Deno.readTextFile(types);
  await Deno.writeTextFile(types, importShared(shakeTypes(all, module), all));
}

if (import.meta.main) {
  await bundle(`${ROOT}/dist/overlay-render.js`);
  await bundleLibrary(`${ROOT}/dist`);
}
