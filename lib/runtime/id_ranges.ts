/**
 * The ranges of ids that a user may map into a namespace: subuid(5) and subgid(5).
 *
 * Requires no permissions.
 *
 * @module
 */

/** A range of ids. */
export interface IdRange {
  /** The first id, outside the namespace. */
  readonly start: number;
  /** The number of ids. */
  readonly count: number;
}

/** Where ranges begin that useradd(8) gives. */
const FIRST_RANGE = 100_000;

/** The number of ids that useradd(8) gives, which an image needs. */
export const RANGE_SIZE = 65_536;

function parseLine(line: string): { readonly owner: string; readonly range: IdRange } | null {
  const [, owner = "", start, count] = /^([^:]+):(\d+):(\d+)\s*$/.exec(line) ?? [];
  if (start === undefined) return null;
  return { owner, range: { start: Number(start), count: Number(count) } };
}

function parseLines(text: string): NonNullable<ReturnType<typeof parseLine>>[] {
  return text.split("\n").flatMap((line) => parseLine(line) ?? []);
}

/** Finds the first range of a user, as unshare(1) does; an empty one counts as none. */
export function findRange(text: string, owners: readonly string[]): IdRange | null {
  const found = parseLines(text).find(({ owner }) => owners.includes(owner));
  return found === undefined || found.range.count === 0 ? null : found.range;
}

/** Finds a range that no line of these files has. */
export function findFreeRange(texts: readonly string[]): IdRange {
  const ends = texts.flatMap(parseLines).map(({ range }) => range.start + range.count);
  return { start: Math.max(FIRST_RANGE, ...ends), count: RANGE_SIZE };
}

/** Finds the name of a user in passwd(5). */
export function findUserName(passwd: string, uid: number): string | null {
  const fields = passwd.split("\n").map((line) => line.split(":"));
  return fields.find(([, , id]) => id === String(uid))?.[0] ?? null;
}
