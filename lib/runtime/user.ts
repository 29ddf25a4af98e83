/**
 * The user that a process runs as, looked up in the files of its rootfs, and never by a library of the image.
 *
 * @module
 */
import type { InvalidValueError } from "../core/errors.ts";
import { invalid } from "../core/invalid.ts";
import { quote } from "../core/quote.ts";
import { readRegular } from "../system/regular_file.ts";
import { resolveInRoot } from "./root_path.ts";

/** A user of a rootfs. */
export interface ProcessUser {
  readonly uid: number;
  readonly gid: number;
  /** The supplementary groups. */
  readonly groups: readonly number[];
  /** The home directory. */
  readonly home: string;
}

/** The user that needs no look-up. */
export const ROOT: ProcessUser = { uid: 0, gid: 0, groups: [], home: "/root" };

/** The most bytes of a file of users; more would be an attack (CVE-2024-9676). */
const FILE_MAX = 1 << 20;

/** The ids that the kernel has; the last one means "no change" in chown(2). */
const ID_MAX = 0xffff_fffe;

/** A line of passwd(5) or group(5), as its fields. */
type Line = readonly string[];

/**
 * Reads the lines of a file of the rootfs; none if it does not exist.
 *
 * @throws {OverlayError} If it is no regular file, or too large.
 */
async function readLines(rootfs: string, file: string): Promise<readonly Line[]> {
  const { path, info } = resolveInRoot(rootfs, file);
  if (info === null) return [];
  const content = await readRegular(path, FILE_MAX, { verb: "look up the user in", like: info });
  const text = new TextDecoder().decode(content);
  return text.split("\n").map((line) => line.split(":"));
}

/** Reads an id; `null` if the text is a name. */
function parseId(text: string): number | null {
  return /^\d{1,10}$/.test(text) && Number(text) <= ID_MAX ? Number(text) : null;
}

/** Finds the line of a name or of an id, which is in the third field. */
function findLine(lines: readonly Line[], wanted: string): Line | undefined {
  const id = parseId(wanted);
  return lines.find(([name]) => name === wanted) ??
    lines.find(([, , number = ""]) => id !== null && parseId(number) === id);
}

function unknown(what: string, name: string, file: string): InvalidValueError {
  return invalid(what, name, `${quote(file)} of the rootfs does not have it`, {
    hint: `name one that it has, or give a number`,
  });
}

function lookUp(what: string, lines: readonly Line[], name: string, file: string): number {
  const [, , number = ""] = findLine(lines, name) ?? [];
  const id = parseId(number) ?? parseId(name);
  if (id === null) throw unknown(what, name, file);
  return id;
}

/** Lists the groups that name a user as a member. */
function listGroups(lines: readonly Line[], name: string): readonly number[] {
  return lines.flatMap(([, , gid = "", members = ""]) => {
    const id = parseId(gid);
    return id !== null && members.split(",").includes(name) ? [id] : [];
  });
}

/**
 * Finds a user of a rootfs. Its primary group and its home directory are those of `etc/passwd`; a user that is
 * only a number and is not there has group 0 and the home directory `/`.
 *
 * Requires `--allow-read` permission for the rootfs.
 *
 * @param user The user, as `USER[:GROUP]`, each a name or an id; empty for root.
 * @throws {InvalidValueError} If there is no such user or group.
 * @throws {OverlayError} If a file of users is no regular file, or too large.
 */
export async function findUser(rootfs: string, user: string): Promise<ProcessUser> {
  const [name = "", group] = splitUser(user);
  if (group === undefined && /^(|0|root)$/.test(name)) return ROOT;
  const users = await readLines(rootfs, "/etc/passwd");
  const groups = await readLines(rootfs, "/etc/group");
  const line = name === "" ? undefined : findLine(users, name);
  const uid = name === "" ? 0 : lookUp("user", users, name, "/etc/passwd");
  const [login = "", , , primary = "", , home = ""] = line ?? [];
  const gid = group === undefined
    ? parseId(primary) ?? 0
    : lookUp("group", groups, group, "/etc/group");
  return {
    uid,
    gid,
    groups: group === undefined && login !== "" ? listGroups(groups, login) : [],
    home: home.startsWith("/") ? home : uid === 0 ? ROOT.home : "/",
  };
}

function splitUser(user: string): readonly string[] {
  const parts = user.split(":");
  if (parts.length <= 2 && !user.includes("\0") && parts[1] !== "") return parts;
  throw invalid("user", user, "it must be USER or USER:GROUP");
}
