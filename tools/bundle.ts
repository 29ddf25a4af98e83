/**
 * `deno task bundle`: makes `dist/overlay-render.js`, the command as one script. It starts faster than
 * the modules it is made of, and needs nothing beside Deno.
 *
 * @module
 */
import { dirname } from "@std/path/posix/dirname";
import { filesBelow } from "./files.ts";
import { run } from "./run.ts";
import { finish, importAhead, lateIndex, layOut } from "./script.ts";

const ROOT = new URL("../", import.meta.url).pathname.replace(/\/$/, "");

/** What the bundle is made from. */
const SOURCES = ["cli.ts", "lib", "std", "deno.json", "deno.lock"];

/** What each render loads. */
const OF_RENDER = ["cli.ts", "lib/api/render.ts"];

/**
 * The doors of what most processes do without: the tree store, which is a third of the command, and what
 * is run now and then.
 */
const DOORS = [
  "lib/cli/tree_cli.ts",
  "lib/store/resolve_tree.ts",
  "lib/apply/apply_store.ts",
  "lib/api/doctor.ts",
  "lib/api/gc.ts",
  "lib/api/garbage.ts",
  "lib/api/keep.ts",
  "lib/api/restore.ts",
  "lib/preflight/diagnose_mount.ts",
  "lib/preflight/kernel_probe.ts",
  "lib/pod/mount_error.ts",
  "lib/cli/help.ts",
  "deno.json",
];

/** Of what a render loads, the modules that have nothing to do where nothing is wrong. */
const IDLE = [
  "lib/core/duration.ts",
  "lib/core/errors.ts",
  "lib/request/mount_option.ts",
  "lib/core/quote.ts",
];

const LATE_INDEX = "late.ts";

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

/** The modules of the command, and what they import. */
class Modules {
  readonly #imports: ReadonlyMap<string, readonly { to: string; later: boolean }[]>;

  constructor(info: string) {
    const { modules } = JSON.parse(info) as {
      modules: readonly {
        specifier: string;
        dependencies?: readonly { isDynamic?: boolean; code?: { specifier?: string } }[];
      }[];
    };
    this.#imports = new Map(modules.map(({ specifier, dependencies = [] }) => {
      const imports = dependencies.flatMap(({ isDynamic, code }) => {
        if (code?.specifier === undefined) return [];
        return [{ to: pathOf(code.specifier), later: isDynamic === true }];
      });
      return [pathOf(specifier), imports];
    }));
  }

  /**
   * All that these import: at once, or later too. What is imported later is not looked for behind `closed`
   * ones; but what is imported at once must be there.
   */
  reachedFrom(
    paths: readonly string[],
    { later, closed = [] }: { readonly later: boolean; readonly closed?: readonly string[] },
  ): ReadonlySet<string> {
    const found = new Set(paths);
    for (const path of found) {
      for (const { to, later: isLater } of this.#imports.get(path) ?? []) {
        if (!isLater || (later && !closed.includes(to))) found.add(to);
      }
    }
    return found;
  }

  /** Those that are reached through the doors alone. */
  late(): ReadonlySet<string> {
    const others = this.reachedFrom(["cli.ts"], { later: true, closed: DOORS });
    return this.reachedFrom(DOORS, { later: true }).difference(others);
  }
}

/** The path of a module in the repository. */
function pathOf(specifier: string): string {
  return specifier.replace(`file://${ROOT}/`, "");
}

async function must(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await run([Deno.execPath(), ...args], {
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  });
  if (status !== 0) throw new Error(`Cannot bundle "cli.ts": ${stderr}`);
  return stdout;
}

/** Writes the sources into a directory, with every import where the script has it. */
async function copySources(directory: string, late: ReadonlySet<string>): Promise<void> {
  const sources = SOURCES.map((name) => `${ROOT}/${name}`);
  const { status, stderr } = await run(["cp", "-R", ...sources, directory]);
  if (status !== 0) throw new Error(`Cannot bundle "cli.ts": ${stderr}`);
  const paths = ["cli.ts", ...await filesBelow(directory, "lib", ".ts")];
  const asked = new Map<string, string | undefined>();
  for (const path of paths) {
    const file = `${directory}/${path}`;
    const made = importAhead(await Deno.readTextFile(file), (specifier) => {
      const to = pathOf(new URL(specifier, `file://${ROOT}/${path}`).href);
      return late.has(to) && !late.has(path) ? { late: to } : "ahead";
    });
    if (/\bimport\((?!\s*"node:)/.test(made.source)) {
      throw new Error(`Cannot bundle "${path}": it has an import that cannot be laid out`);
    }
    made.late.forEach((attributes, to) => asked.set(to, attributes));
    const index = path === "cli.ts" ? `import "./${LATE_INDEX}";\n` : "";
    await Deno.writeTextFile(file, made.source + index);
  }
  await Deno.writeTextFile(`${directory}/${LATE_INDEX}`, lateIndex(asked));
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
    const modules = new Modules(await must("info", "--json", "cli.ts"));
    const late = modules.late();
    await copySources(directory, late);
    const script = `${directory}/script.js`;
    await must("bundle", "--quiet", "--output", script, `${directory}/cli.ts`);
    // The bundler names modules from where it runs; theirs are those of the copy.
    const code = (await Deno.readTextFile(script))
      .replaceAll(/^\/\/ \S*?overlay-render-bundle-[^/]+\//gm, "// ");
    const [loaded, idle] = [modules.reachedFrom(OF_RENDER, { later: false }), new Set(IDLE)];
    if (!idle.isSubsetOf(loaded)) throw new Error(`No render loads all of ${IDLE.join(", ")}`);
    const ofRender = loaded.difference(idle);
    const laidOut = layOut(code, {
      isAhead: (module) => !module.startsWith("lib/") || ofRender.has(module),
      isLate: (module) => module === LATE_INDEX || late.has(module),
    });
    await Deno.writeTextFile(script, laidOut);
    const minified = `${directory}/minified.js`;
    await must("run", "-A", "-q", "--no-lock", ...MINIFY, `--outfile=${minified}`, script);
    await Deno.mkdir(dirname(output), { recursive: true });
    await Deno.writeTextFile(output, finish(await Deno.readTextFile(minified)));
    await Deno.chmod(output, 0o755);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

if (import.meta.main) await bundle(`${ROOT}/dist/overlay-render.js`);
