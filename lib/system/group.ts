/**
 * Groups by name.
 *
 * @module
 */
import { attempt } from "./disk.ts";
import { OverlayError } from "../core/errors.ts";
import { GROUP_FILE } from "./programs.ts";
import { quote } from "../core/quote.ts";

/**
 * Finds the id of a group in /etc/group.
 *
 * Requires `--allow-read` permission for /etc/group.
 *
 * @throws {OverlayError} If there is no group of that name in it.
 */
export function groupId(name: string): number {
  const text = attempt("read", GROUP_FILE, () => Deno.readTextFileSync(GROUP_FILE));
  for (const line of text.split("\n")) {
    const [group, , gid] = line.split(":");
    if (group === name && gid !== undefined && /^\d+$/.test(gid)) return Number(gid);
  }
  throw new OverlayError("missing", `Cannot use group ${quote(name)}: ${GROUP_FILE} has none`, {
    path: GROUP_FILE,
    hint: "give the group's id, which also works for groups that are not in that file",
  });
}
