/**
 * The meaning of the records of an upper: whiteouts, opaque directories, and entries whose content lies
 * elsewhere.
 *
 * Pure. A path is bytes: each character is one byte.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { AttributeClass } from "./layer_policy.ts";
import { OPAQUE_MARK } from "../tar/entry_name.ts";
import type { Keywords } from "../tar/mtree.ts";

/** The value of the attribute of an opaque directory, `y`, as it is recorded. */
const YES = btoa("y");

/** The prefix of the attributes of fuse-overlayfs. */
export const FUSE = "user.fuseoverlayfs.";

/** The file and the whiteout by which fuse-overlayfs marks an opaque directory, beside an attribute. */
const FUSE_MARKS: readonly string[] = [OPAQUE_MARK, ".wh..opq"];

/** Tells whether a path has the name of a mark of fuse-overlayfs, which it is in a directory with the attribute. */
export function isFuseMark(path: string): boolean {
  return FUSE_MARKS.includes(path.slice(path.lastIndexOf("/") + 1));
}

/** Tells whether fuse-overlayfs has marked a directory as opaque. */
export function isFuseOpaque(record: Keywords | undefined): boolean {
  return record?.get(`xattr.${FUSE}opaque`) === YES;
}

/** Tells whether a directory hides its entries in the lowers. */
export function isOpaque(record: Keywords, attributes: AttributeClass): boolean {
  return record.get(`xattr.${attributes}.overlay.opaque`) === YES || isFuseOpaque(record);
}

/** Marks a directory as opaque; the record of another entry stays as it is. */
export function asOpaque(record: Keywords, attributes: AttributeClass): Keywords {
  if (record.get("type") !== "dir") return record;
  return new Map([...record, [`xattr.${attributes}.overlay.opaque`, YES]]);
}

/** Tells whether an entry was renamed by `redirect_dir`, so that its content lies below another path. */
export function isRedirected(record: Keywords, attributes: AttributeClass): boolean {
  return record.has(`xattr.${attributes}.overlay.redirect`);
}

/** The prefix of the keyword of an attribute. */
const ATTRIBUTE = "xattr.";

/** The keywords that tell nothing about a change: copying up sets them, or the file system does. */
const NOT_CONTENT = /^(time|xattr\.(security\.(selinux|ima|evm)|system\.nfs4_acl))$/;

/** The keywords that need more than find(1). */
const UNSEEN = /^(sha256digest|device|xattr\..*)$/;

/** Tells whether an app can change a keyword. An attribute of overlayfs itself is none. */
function isOwn(key: string, attributes: AttributeClass): boolean {
  if (!key.startsWith(ATTRIBUTE)) return !NOT_CONTENT.test(key);
  const prefix = `${ATTRIBUTE}${attributes}.overlay.`;
  // An attribute that the app has given such a name has the prefix twice.
  const isMark = key.startsWith(prefix) && !key.startsWith(`${prefix}overlay.`) ||
    key.startsWith(`${ATTRIBUTE}${FUSE}`);
  return !isMark && !NOT_CONTENT.test(key);
}

/**
 * Tells whether the record of an upper is of the same entry as that of the lowers: type, mode, owner, attributes,
 * size and content. The time does not matter. A file of which only the metadata was copied up (`metacopy`) has
 * the content of the lowers.
 */
export function isSameEntry(
  upper: Keywords,
  lower: Keywords,
  attributes: AttributeClass,
): boolean {
  const isMetadata = upper.has(`xattr.${attributes}.overlay.metacopy`);
  const counts = (key: string) => {
    return isOwn(key, attributes) && !(isMetadata && key === "sha256digest");
  };
  let more = 0;
  // The first difference ends it, since most entries of an upper are changed.
  for (const [key, value] of upper) {
    if (!counts(key)) continue;
    if (lower.get(key) !== value) return false;
    more++;
  }
  for (const key of lower.keys()) if (counts(key)) more--;
  return more === 0;
}

/** Tells whether two records may be of the same entry, by what find(1) shows. */
export function mayBeSame(a: Keywords, b: Keywords): boolean {
  const isSame = (key: string) => {
    return UNSEEN.test(key) || NOT_CONTENT.test(key) || a.get(key) === b.get(key);
  };
  return [...a.keys()].every(isSame) && [...b.keys()].every(isSame);
}
