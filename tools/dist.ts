/**
 * `deno task dist [DIRECTORY]`: makes all that a release has, in `dist` or in another directory: the script,
 * the library with its types, a binary where a runtime base can be had, manual pages, completion, units, the
 * package for Debian, and SHA256SUMS.
 *
 * All files but the binary are the same for the same sources and the same SOURCE_DATE_EPOCH, which is the
 * time of the last commit if the environment has none.
 *
 * @module
 */
import { normalize } from "@std/path/posix/normalize";
import { completion } from "../lib/cli/completion.ts";
import { systemdUnits } from "../lib/cli/systemd.ts";
import { bundle, bundleLibrary } from "./bundle.ts";
import { compileBinary, NoBaseError } from "./compile.ts";
import { makeDeb } from "./deb.ts";
import { denortFromNpm } from "./denort.ts";
import { filesBelow } from "./files.ts";
import { writeManual } from "./man.ts";
import { run, say } from "./run.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** Removes a former result; another directory must be empty. */
const DIST = `${ROOT}dist/`;

const SUMS = "SHA256SUMS";

/** Returns the time that files get, in seconds since 1970. */
async function findEpoch(): Promise<number> {
  const given = Deno.env.get("SOURCE_DATE_EPOCH");
  if (given !== undefined && /^\d+$/.test(given)) return Number(given);
  const { status, stdout } = await run(["git", "log", "-1", "--format=%ct"], { cwd: ROOT });
  if (status === 0) return Number(stdout.trim());
  throw new Error("Cannot tell the time of the sources: set SOURCE_DATE_EPOCH");
}

async function writeCompletions(directory: string): Promise<void> {
  await Deno.mkdir(directory, { recursive: true });
  const files = { bash: "overlay-render", zsh: "_overlay-render", fish: "overlay-render.fish" };
  for (const shell of ["bash", "zsh", "fish"] as const) {
    await Deno.writeTextFile(`${directory}/${files[shell]}`, completion(shell));
  }
}

/** Writes the units as templates, whose instance is the escaped path of a directory of pods. */
async function writeUnits(directory: string): Promise<void> {
  await Deno.mkdir(directory, { recursive: true });
  for (const { name, text } of systemdUnits({ command: "/usr/bin/overlay-render" })) {
    await Deno.writeTextFile(`${directory}/${name}`, text);
  }
}

/** Compiles the binary, with Deno's own base or one of npm; says why if there is none. */
async function makeBinary(directory: string): Promise<void> {
  try {
    return await compileBinary(directory);
  } catch (error) {
    if (!(error instanceof NoBaseError)) throw error;
  }
  const base = await denortFromNpm();
  if ("missing" in base) return say(`no binary: it lacks ${base.missing}\n`);
  await compileBinary(directory, base);
  say(`the binary has the base of ${base.deno}, since Deno's own could not be fetched\n`);
}

async function sumOf(path: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(path));
  return new Uint8Array(digest).toHex();
}

async function writeSums(directory: string): Promise<void> {
  const paths = (await filesBelow(directory, ".", "")).map((path) => path.replace(/^\.\//, ""));
  const lines: string[] = [];
  for (const path of paths.filter((path) => path !== SUMS).sort()) {
    lines.push(`${await sumOf(`${directory}/${path}`)}  ${path}\n`);
  }
  await Deno.writeTextFile(`${directory}/${SUMS}`, lines.join(""));
}

/** The parts that a distribution leaves out. */
export interface DistOptions {
  /** Set if no binary is made. @default {false} */
  readonly withoutBinary?: boolean;
}

/**
 * Makes a distribution in a directory, in which nothing else is then.
 *
 * @throws {Error} If the directory holds something, and is not `dist`.
 */
export async function makeDist(directory: string, options: DistOptions = {}): Promise<void> {
  const epoch = await findEpoch();
  await Deno.mkdir(directory, { recursive: true });
  for await (const { name } of Deno.readDir(directory)) {
    if (`${directory}/` !== DIST) {
      throw new Error(`Cannot write into ${directory}: it is not empty`);
    }
    await Deno.remove(`${directory}/${name}`, { recursive: true });
  }
  await bundle(`${directory}/overlay-render.js`);
  await bundleLibrary(directory);
  await writeManual(`${directory}/man`, new Date(epoch * 1000));
  await writeCompletions(`${directory}/completions`);
  await writeUnits(`${directory}/units`);
  const hasDpkg = (await run(["dpkg-deb", "--version"])).status === 0;
  if (hasDpkg) await makeDeb(directory, epoch);
  else say("no package for Debian: it lacks dpkg-deb\n");
  if (!options.withoutBinary) await makeBinary(directory);
  await writeSums(directory);
}

if (import.meta.main) {
  const directory = normalize(`${Deno.args[0] ?? DIST}/`).slice(0, -1);
  await makeDist(directory);
  say(await Deno.readTextFile(`${directory}/${SUMS}`));
}
