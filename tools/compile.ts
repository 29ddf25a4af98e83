/**
 * `deno task compile`: makes `dist/overlay-render`, one binary with its permissions baked in.
 *
 * The bundle is compiled, not `cli.ts`: a binary of one module starts faster than one that carries a
 * module graph and an npm package, and an older Deno can compile it without reading this `deno.json`.
 *
 * `DENORT_BIN` names a runtime base for Deno to use instead of downloading one, and
 * `DENO_FOR_COMPILE` the Deno whose version matches that base, if it is not this one.
 *
 * @module
 */

const BUNDLE = "dist/overlay-render.js";
const BINARY = "dist/overlay-render";
const PERMISSIONS = [
  "--allow-read",
  "--allow-write",
  "--allow-run=/usr/bin/mount,/usr/bin/umount,/usr/bin/findmnt,/usr/bin/chcon",
  "--no-prompt",
];

/** Runs a program in the repository; returns what it said if it failed. */
async function run(program: string, args: string[]): Promise<string | undefined> {
  const cwd = import.meta.dirname + "/..";
  try {
    const { success, stderr } = await new Deno.Command(program, { args, cwd }).output();
    return success ? undefined : new TextDecoder().decode(stderr).trim();
  } catch (error) {
    // A program that does not exist, or is none.
    return error instanceof Error ? error.message : String(error);
  }
}

function fail(...lines: string[]): never {
  Deno.stderr.writeSync(new TextEncoder().encode(lines.join("\n") + "\n"));
  Deno.exit(1);
}

const bundling = await run(Deno.execPath(), ["bundle", "-q", "-o", BUNDLE, "cli.ts"]);
if (bundling !== undefined) fail(bundling, `error: Cannot bundle "cli.ts"`);

const deno = Deno.env.get("DENO_FOR_COMPILE") || Deno.execPath();
const compiling = await run(deno, [
  "compile",
  "-q",
  "--no-check",
  "--no-config",
  ...PERMISSIONS,
  "-o",
  BINARY,
  BUNDLE,
]);
if (compiling?.includes("Setting up base binary")) {
  fail(
    compiling,
    `error: Cannot compile "${BINARY}": the runtime base denort is missing, and it could not be downloaded`,
    "hint: set DENORT_BIN to a denort, and DENO_FOR_COMPILE to the deno of the same version",
  );
}
if (compiling !== undefined) fail(compiling, `error: Cannot compile "${BINARY}"`);

// A base of another version makes a binary that does not find its program, and says so only when run.
const starting = await run(`${import.meta.dirname}/../${BINARY}`, ["--version"]);
if (starting !== undefined) {
  fail(
    starting,
    `error: Cannot start "${BINARY}" after compiling it`,
    "hint: where DENORT_BIN is set, DENO_FOR_COMPILE must be the deno of the same version",
  );
}
