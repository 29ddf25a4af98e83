/**
 * How the one script is laid out: pure functions over the text of modules and of a bundle.
 *
 * @module
 */

/** Stands where a parenthesis must survive a minifier, which takes those away that change no meaning. */
const AHEAD = "compiledAhead";

/** What an import that is made when it is needed becomes. */
export type Becomes = "ahead" | { readonly late: string };

/** A module with other imports. */
export interface Rewritten {
  readonly source: string;
  /** How each late module is imported: its name, and its attributes if it has any. */
  readonly late: ReadonlyMap<string, string | undefined>;
}

/**
 * Turns imports that are made when they are needed into imports at the top. In one file there is nothing
 * left to load later, and what a bundler makes of them costs each process half a millisecond. Late modules
 * are asked for by name, see {@linkcode layOut}.
 *
 * What Deno has built in is not in the script, and takes its time to load; that stays where it is.
 *
 * @param source The text of a module.
 * @param becomes What the import of a specifier becomes.
 */
export function importAhead(source: string, becomes: (specifier: string) => Becomes): Rewritten {
  const imports: string[] = [];
  const late = new Map<string, string | undefined>();
  const text = source.replace(
    /(?:(?<=const \{([^{}]*)\} = )|)await import\(\s*"(?!node:)([^"]+)"\s*(?:,\s*\{\s*with:\s*(\{[^}]*\})\s*\})?,?\s*\)/g,
    (_, names: string | undefined, specifier: string, attributes: string | undefined) => {
      const made = becomes(specifier);
      if (made !== "ahead") {
        late.set(made.late, attributes);
        return `lateModules(${JSON.stringify(made.late)})`;
      }
      const name = `ahead${imports.length}`;
      const isWhole = names === undefined || attributes !== undefined;
      imports.push(
        isWhole ? importOf(name, specifier, attributes) : importOfNames(name, specifier, names),
      );
      if (isWhole) return attributes === undefined ? name : `{ default: ${name} }`;
      return `{ ${namesIn(names).map((wanted) => `${wanted}: ${name}_${wanted}`).join(", ")} }`;
    },
  );
  // At the end: the first line may say how the script is run, and imports are hoisted anyway.
  return { source: `${text}\n${imports.join("")}`, late };
}

/** The names that a pattern takes out of an object: `a, b: c` takes `a` and `b`. */
function namesIn(pattern: string): string[] {
  return pattern.split(",").map((part) => part.split(":")[0]?.trim() ?? "").filter((name) => name);
}

/** By their names: a module that is taken as a whole is made into an object by every process. */
function importOfNames(name: string, specifier: string, names: string): string {
  const wanted = namesIn(names).map((one) => `${one} as ${name}_${one}`).join(", ");
  return `import { ${wanted} } from ${JSON.stringify(specifier)};\n`;
}

function importOf(name: string, specifier: string, attributes: string | undefined): string {
  // A module of JSON has its value as its default export.
  return attributes === undefined
    ? `import * as ${name} from ${JSON.stringify(specifier)};\n`
    : `import ${name} from ${JSON.stringify(specifier)} with ${attributes};\n`;
}

/** The module that knows the late modules by name; it is itself late. */
export function lateIndex(late: ReadonlyMap<string, string | undefined>): string {
  const modules = [...late].map(([path, attributes], index) => {
    const name = `late${index}`;
    const value = attributes === undefined ? name : `{ default: ${name} }`;
    return {
      imported: importOf(name, `./${path}`, attributes),
      entry: `${JSON.stringify(path)}: ${value}`,
    };
  });
  const imports = modules.map(({ imported }) => imported).join("");
  const entries = modules.map(({ entry }) => entry).join(", ");
  return `${imports}lateModules.all = { ${entries} };\n`;
}

/** Which modules of a bundle go where, by their paths. */
export interface Places {
  /** Whether the functions of a module are compiled with the script. */
  readonly isAhead: (module: string) => boolean;
  /** Whether a module is made only when it is asked for. */
  readonly isLate: (module: string) => boolean;
}

/**
 * Lays out a bundle so that a process pays for little but what it uses.
 *
 * - Functions of modules that each render uses are put in parentheses, which V8 takes as a sign to compile
 *   them with the file. Only so do they come into Deno's code cache; functions compiled when they are
 *   first called are compiled anew by every process. But each one that is not called costs its way out of
 *   the cache.
 * - Late modules are put into one function, that nobody looks into before one of them is asked for.
 *
 * @param code A bundle as esbuild writes it: functions start and end in the first column, and a comment
 * above each part of a module says its path.
 * @returns The bundle, to be minified, and then {@linkcode finish finished}.
 */
export function layOut(code: string, { isAhead, isLate }: Places): string {
  const [lines, late]: [string[], string[]] = [[], []];
  let [into, ahead, open] = [lines, false, false];
  for (const line of code.split("\n")) {
    const [, module] = /^\/\/ (\S.*)$/.exec(line) ?? [];
    if (module !== undefined) {
      into = isLate(module) ? late : lines;
      ahead = isAhead(module);
    }
    const [, name] = /^(?:async )?function (\w+)\([^]*\{$/.exec(line) ?? [];
    if (ahead && name !== undefined) {
      open = true;
      into.push(`var ${name} = ${AHEAD}(${line}`);
    } else if (open && line === "}") {
      open = false;
      into.push("});");
    } else {
      into.push(line);
    }
  }
  if (late.length === 0) return lines.join("\n");
  return [
    ...lines,
    "function lateModules(path) {",
    "  if (lateModules.all === undefined) makeLateModules();",
    "  return lateModules.all[path];",
    "}",
    "function makeLateModules() {",
    ...late,
    "}",
    "",
  ].join("\n");
}

/** Puts the parentheses into a script that is minified. */
export function finish(script: string): string {
  return script.replaceAll(`${AHEAD}(`, "(");
}
