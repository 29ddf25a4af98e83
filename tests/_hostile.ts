/**
 * Importing what is not as it should be, with something beside the store that must never be noticed.
 *
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { mountTmpfs } from "./_disks.ts";
import { assertErrorText, runMain } from "./_main.ts";
import type { CliResult } from "./_cli.ts";
import { sh, tempDir } from "./_temp.ts";
import { isMissing, namesIn } from "./_tree.ts";

/** Where a case takes place. */
export interface Place {
  /** The directory that must not be noticed. */
  readonly canary: string;
  /** What is imported. */
  readonly source: string;
  /** The tree store. */
  readonly store: string;
}

/** How an import must end: with an error, or with a tree of which every entry is known. */
export type Ending =
  | { readonly code: string; readonly says: string }
  | { readonly tree: readonly string[] | ((place: Place) => readonly string[]) };

/** Something to import. */
export interface Case {
  /** What is wrong with it. */
  readonly what: string;
  /** The archive; or it is made at the place. */
  readonly source: (place: Place) => Uint8Array | Promise<void>;
  /** Further flags of the command. */
  readonly flags?: readonly string[];
  readonly ends: Ending;
}

const CANARY = ["", "/file", "/secret", "/sub", "/sub/file", "/.wh.file"];

async function makeCanary(path: string): Promise<void> {
  await Deno.mkdir(`${path}/sub`, { recursive: true });
  for (const name of ["file", "secret", "sub/file", ".wh.file"]) {
    await Deno.writeTextFile(`${path}/${name}`, "not ours");
  }
  await Deno.chmod(`${path}/secret`, 0);
  await Deno.symlink(path, `${path}-link`);
}

/** Everything of the canary that changes when somebody reads, writes or removes something of it. */
export async function watch(canary: string): Promise<string> {
  const paths = [...CANARY.map((name) => `${canary}${name}`), `${canary}-link`];
  return await sh("stat", "--format=%n %i %h %f %u %g %s %x %y %z", "--", ...paths);
}

/** Makes a place on a file system that notes each time that something is read. */
export async function makePlace(root: string): Promise<Place> {
  await mountTmpfs(root, "strictatime,size=256m");
  const place = { canary: `${root}/canary`, source: `${root}/source`, store: `${root}/store` };
  await makeCanary(place.canary);
  return place;
}

async function raw(command: string, ...args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    env: { LC_ALL: "C" },
  }).output();
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder("latin1").decode(stdout);
}

/** Pairs of a path and what a program says of it. */
async function said(
  root: string,
  types: string,
  ...program: string[]
): Promise<[string, string][]> {
  const found = ["-printf", "%P\\0", "-exec", ...program, "{}", ";", "-printf", "\\0"];
  const words = (await raw("find", root, "-type", types, ...found)).split("\0");
  return Array.from({ length: (words.length - 1) / 2 }, (_, at) => {
    return [words[2 * at] ?? "", (words[2 * at + 1] ?? "").trim()];
  });
}

/**
 * A directory in full, a line an entry: type, mode, owner, path, and content, target or device; then the
 * extended attributes. Text is bytes.
 */
export async function listing(root: string): Promise<string[]> {
  const details = new Map([
    ...(await said(root, "f", "cat")).map(([path, text]) => [path, ` = ${text}`] as const),
    ...(await said(root, "c,b", "stat", "--format=%t,%T")).map(([path, text]) => {
      return [path, ` ${text}`] as const;
    }),
  ]);
  const lines = (await raw("find", root, "-printf", "%y %m %U:%G\\0%P\\0%l\\0")).split("\0");
  const entries: string[] = [];
  for (let at = 0; at + 3 < lines.length; at += 3) {
    const [is = "", path = "", link = ""] = lines.slice(at);
    const detail = link === "" ? details.get(path) ?? "" : ` -> ${link}`;
    entries.push(`${is} ${path === "" ? "." : path}${detail}`);
  }
  return [...entries.sort(byPath), ...await attributesOf(root)];
}

function byPath(a: string, b: string): number {
  const key = (line: string) => line.replace(/^(\S+ ){3}(\.$)?/, "");
  return key(a) < key(b) ? -1 : 1;
}

async function attributesOf(root: string): Promise<string[]> {
  const args = ["--create", "--file=-", "--format=posix", "--sort=name", "--xattrs"];
  const text = await raw("tar", ...args, "--xattrs-include=*", `--directory=${root}`, ".");
  return [...text.matchAll(/SCHILY\.xattr\.([^\n]*)\n/g)].map(([, one]) => `@ ${one}`).sort();
}

/** The command, without progress. */
function command(...args: readonly string[]): Promise<CliResult> {
  return runMain(["tree", ...args]);
}

async function assertRefused(result: CliResult, place: Place, ending: Ending): Promise<void> {
  if (!("code" in ending)) return;
  assertEquals(result.status, 1, result.stdout);
  const { error } = JSON.parse(result.stdout);
  const hint = error.hint === null ? "" : `hint: ${error.hint}\n`;
  assertErrorText(`error: ${error.message}\n${hint}`);
  assertStringIncludes(error.message, ending.says);
  assertEquals(error.code, ending.code, error.message);
  assertEquals(await isMissing(place.store), true, "there is a store");
  const list = await command("list", `--store=${place.store}`);
  assertEquals([list.status, list.stdout], [0, ""]);
}

async function assertTree(result: CliResult, place: Place, ending: Ending): Promise<void> {
  if (!("tree" in ending)) return;
  assertEquals(result.status, 0, result.stdout);
  const { id } = JSON.parse(result.stdout);
  const { stdout } = await command("path", `--store=${place.store}`, id);
  const must = typeof ending.tree === "function" ? ending.tree(place) : ending.tree;
  const is: string[] = [];
  for (const lower of stdout.trim().split("\n")) is.push(...await listing(`${lower}/.`));
  assertEquals(is, must);
  for (const how of [[], ["--quick"]]) {
    const check = await command("check", `--store=${place.store}`, "--json", ...how, id);
    assertEquals(JSON.parse(check.stdout).trees, [{ id, differences: [] }]);
  }
  assertEquals(await namesIn(`${place.store}/tmp`), []);
}

/** Makes a test of a case. */
export function testCase({ what, source, flags = [], ends }: Case): void {
  const how = "code" in ends ? "refuses" : "makes a harmless tree of";
  Deno.test(`tree import ${how} ${what}`, async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir.join("fs"));
    const made = source(place);
    if (made instanceof Promise) await made;
    else await Deno.writeFile(place.source, made);
    const before = await watch(place.canary);
    const args = [`--store=${place.store}`, "--json", "--quiet", ...flags, place.source];
    const result = await command("import", ...args);
    await assertRefused(result, place, ends);
    await assertTree(result, place, ends);
    assertEquals(await watch(place.canary), before);
  });
}
