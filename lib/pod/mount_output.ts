/**
 * The messages of mount(8) and umount(8).
 *
 * Requires no permissions.
 *
 * @module
 */
import type { ProgramResult } from "../system/run.ts";
import { printable } from "../core/quote.ts";

/** Finds the message of mount or umount about one mount point, without the prefix that names it. */
export function extractMessage(result: ProgramResult, target: string): string {
  const { stderr } = result;
  const before = `mount: ${target}: `;
  const at = stderr.indexOf(before);
  const words = at < 0
    ? stderr.replaceAll(/^u?mount: /gm, "")
    : stderr.slice(at + before.length, endOfWords(stderr, at + before.length));
  if (words !== "") return printable(words);
  return result.status === 0 ? "no error, and nothing is mounted" : `exit status ${result.status}`;
}

/** Finds the start of the next mount point's message. Many are searched for in one long text. */
function endOfWords(said: string, from: number): number | undefined {
  const ends = ["\nmount: ", "\numount: "].map((next) => said.indexOf(next, from));
  const found = ends.filter((at) => at >= 0);
  return found.length === 0 ? undefined : Math.min(...found);
}
