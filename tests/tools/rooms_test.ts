/**
 * The rooms of `lib/`: a room imports only from rooms before it, no import comes back to where it began, and
 * the pure rooms do not touch the machine.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { filesBelow } from "../../tools/files.ts";

const ROOT = new URL("../..", import.meta.url).pathname;

/** In the order in which they may import each other: each only those above it. */
const ROOMS = [
  "core",
  "request",
  "overlay",
  "system",
  "plan",
  "preflight",
  "pod",
  "apply",
  "tar",
  "image",
  "registry",
  "layer",
  "store",
  "export",
  "runtime",
  "api",
  "cli",
];

/** These make no call to Deno: what they do depends on their arguments alone. */
const PURE = ["core", "request", "overlay", "plan", "tar"];

interface Source {
  readonly path: string;
  readonly room: string;
  readonly text: string;
  /** The paths it imports, at once or later. */
  readonly imports: readonly string[];
}

async function readSources(): Promise<Source[]> {
  const paths = await filesBelow(ROOT, "lib", ".ts");
  return await Promise.all(paths.map(async (path) => {
    const text = await Deno.readTextFile(`${ROOT}/${path}`);
    const code = text.replaceAll(/^\s*(\*|\/\/|\/\*).*$/gm, "");
    const found = [...code.matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)];
    const imports = found.map(([, specifier = ""]) => {
      return new URL(specifier, `file:///${path}`).pathname.slice(1);
    });
    return { path, room: path.split("/")[1] ?? "", text: code, imports };
  }));
}

const sources = await readSources();

Deno.test("lib/ holds rooms and nothing beside them", () => {
  const rooms = new Set(sources.map(({ room }) => room));
  assertEquals([...rooms].sort(), ROOMS.toSorted());
});

Deno.test("each import leads to a module", async () => {
  // `deno check` passes over an import that is made later.
  const paths = new Set(["deno.json", ...await filesBelow(ROOT, "lib", ".ts")]);
  const lost = sources.flatMap(({ path, imports }) => {
    return imports.filter((to) => !paths.has(to)).map((to) => `${path} imports ${to}`);
  });
  assertEquals(lost, []);
});

Deno.test("a room imports only from rooms before it", () => {
  const upward = sources.flatMap(({ path, room, imports }) => {
    const later = (to: string) => ROOMS.indexOf(to.split("/")[1] ?? "") > ROOMS.indexOf(room);
    return imports.filter(later).map((to) => `${path} imports ${to}`);
  });
  assertEquals(upward, []);
});

Deno.test("no module imports itself through others", () => {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const [done, cycles]: [Set<string>, string[]] = [new Set(), []];
  const visit = (path: string, above: readonly string[]) => {
    if (above.includes(path)) cycles.push([...above.slice(above.indexOf(path)), path].join(" > "));
    if (done.has(path) || above.includes(path)) return;
    for (const to of byPath.get(path)?.imports ?? []) visit(to, [...above, path]);
    done.add(path);
  };
  for (const { path } of sources) visit(path, []);
  assertEquals(cycles, []);
});

Deno.test("the pure rooms make no call to Deno", () => {
  const impure = sources.filter(({ room, text }) => PURE.includes(room) && /\bDeno\.\w/.test(text));
  assertEquals(impure.map(({ path }) => path), []);
});

Deno.test("one file starts programs", () => {
  const starting = sources.filter(({ text }) => /new Deno\.Command\(/.test(text));
  assertEquals(starting.map(({ path }) => path), ["lib/system/run.ts"]);
});
