/**
 * The records of a pax archive for values that do not fit into a header (POSIX pax, "pax Extended
 * Header").
 *
 * Requires no permissions.
 *
 * @module
 */
import { archiveError } from "./archive_error.ts";
import { quote, quoteBytes } from "../core/quote.ts";
import { SPARSE_NUMBERS } from "./tar_sparse.ts";
import { ATTRIBUTE_RECORD, NO_ATTRIBUTES } from "./tar_entry.ts";

/** Records by their keys. */
export type Records = ReadonlyMap<string, string>;

/** The largest value that Linux lets an extended attribute have (XATTR_SIZE_MAX). */
const ATTRIBUTE_MAX = 65_536;

/** The times that all common file systems support: ext4 those from 1901 to 2446. */
const TIMES = { first: -(2 ** 31), last: 2 ** 34 - 2 ** 31 - 1 };

/**
 * The keys that global records must not have: some readers ignore global records, and would read other
 * entries.
 */
const OF_ONE_ENTRY = /^(path|linkpath|size|GNU\.sparse\..*|SCHILY\.xattr\..*)$/;

/** The records of a sparse map of version 0.0, which are repeated in this order. */
const SPARSE_PAIR = ["GNU.sparse.offset", "GNU.sparse.numbytes"];

/** The keys that have an effect in global records. */
const GLOBAL = ["uid", "gid", "mtime"];

/**
 * Parses records of the form `<length> <key>=<value>\n`.
 *
 * @throws {OverlayError} If they are malformed.
 */
export function parseRecords(text: string): Map<string, string> {
  const records = new Map<string, string>();
  let numbers = 0;
  for (let at = 0; at < text.length;) {
    const blank = text.indexOf(" ", at);
    const digits = blank < 0 ? "" : text.slice(at, blank);
    const end = at + Number(digits);
    const equals = text.indexOf("=", blank);
    const whole = /^[1-9]\d{0,8}$/.test(digits) && end <= text.length && text[end - 1] === "\n" &&
      equals > blank + 1 && equals < end;
    if (!whole) throw archiveError("a pax record is malformed");
    const [key, value] = [text.slice(blank + 1, equals), text.slice(equals + 1, end - 1)];
    at = end;
    const place = SPARSE_PAIR.indexOf(key);
    if (place < 0) records.set(key, value);
    else if (place !== numbers++ % 2) throw archiveError("the map of a sparse file is malformed");
    else {records.set(
        SPARSE_NUMBERS,
        numbers === 1 ? value : `${records.get(SPARSE_NUMBERS)},${value}`,
      );}
  }
  return records;
}

/**
 * Parses global records, which apply to all following entries.
 *
 * @throws {OverlayError} If they have a key that is valid only for one entry.
 */
export function parseGlobalRecords(text: string): Map<string, string> {
  const records = parseRecords(text);
  for (const key of records.keys()) {
    if (!OF_ONE_ENTRY.test(key)) continue;
    throw archiveError(`a pax record sets the ${quoteBytes(key)} of all entries that follow`);
  }
  // Records without effect are dropped, since all are applied to each following entry.
  return new Map([...records].filter(([key]) => GLOBAL.includes(key)));
}

/** Reads a number in the records; `null` if it is absent. */
export function readNumber(records: Records, key: string): number | null {
  const text = records.get(key);
  if (text === undefined || text === "") return null;
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(Number(text))) {
    throw archiveError(`the pax record ${quote(key)} is ${quoteBytes(text)}, which is no number`);
  }
  return Number(text);
}

/**
 * Reads the time in the records, or else in the header. It is normalized as a file system returns it: at most
 * nine digits of the fraction, within the range of file systems.
 */
export function readTime(records: Records, inHeader: () => number): string {
  const text = records.get("mtime") || String(inHeader());
  const [, sign = "", seconds, fraction = ""] = /^(-?)0*(\d{1,16})(?:\.(\d{1,30}))?$/.exec(text) ??
    [];
  if (seconds === undefined) {
    throw archiveError(`the pax record "mtime" is ${quoteBytes(text)}, which is no time`);
  }
  const value = Number(`${sign}${seconds}`);
  if (value <= TIMES.first) return String(TIMES.first);
  if (value >= TIMES.last) return String(TIMES.last);
  const digits = fraction.slice(0, 9).replace(/0+$/, "");
  if (digits !== "") return `${sign}${seconds}.${digits}`;
  return String(value === 0 ? 0 : value);
}

/** Reads the extended attributes in records. */
export function readAttributes(records: Records): Records {
  // Many results are kept until the layer ends, and most are empty.
  if (records.size === 0) return NO_ATTRIBUTES;
  const found = new Map<string, string>();
  for (const [key, value] of records) {
    if (!key.startsWith(ATTRIBUTE_RECORD)) continue;
    const name = key.slice(ATTRIBUTE_RECORD.length);
    const called = quoteBytes(name);
    if (name === "" || name.length > 255 || name.includes("\0")) {
      throw archiveError(`an extended attribute is called ${called}`);
    }
    if (value.length > ATTRIBUTE_MAX) {
      const reason = `has ${value.length} bytes, and may have ${ATTRIBUTE_MAX}`;
      throw archiveError(`the extended attribute ${called} ${reason}`);
    }
    found.set(name, value);
  }
  return found.size === 0 ? NO_ATTRIBUTES : found;
}
