/**
 * The imports from the Deno standard library. No other file names a version.
 *
 * The specifiers are inline because a module that is imported by URL does not see this repository's
 * `deno.json`, and they name single functions because each module costs start-up time.
 *
 * @module
 */

export { parseArgs } from "jsr:@std/cli@^1/parse-args";
export { normalize } from "jsr:@std/path@^1/posix/normalize";
