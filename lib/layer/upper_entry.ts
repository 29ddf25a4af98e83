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

/** The keywords that tell nothing about a change: copying up sets them, or the file system does. */
const NOT_CONTENT = /^(time|xattr\.(security\.(selinux|ima|evm)|system\.nfs4_acl))$/;

/** The keywords that need more than find(1). */
const UNSEEN = /^(sha256digest|device|xattr\..*)$/;

/** Lists the keywords of a record that the app can change. An attribute of overlayfs itself is none. */
function ownKeywords(record: Keywords, attributes: AttributeClass): Map<string, string> {
  const prefix = `xattr.${attributes}.overlay.`;
  return new Map([...record].filter(([key]) => {
    // An attribute that the app has given such a name has the prefix twice.
    const isMark = key.startsWith(prefix) && !key.startsWith(`${prefix}overlay.`) ||
      key.startsWith(`xattr.${FUSE}`);
    return !isMark && !NOT_CONTENT.test(key);
  }));
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
  const [one, other] = [ownKeywords(upper, attributes), ownKeywords(lower, attributes)];
  if (upper.has(`xattr.${attributes}.overlay.metacopy`)) {
    for (const keywords of [one, other]) keywords.delete("sha256digest");
  }
  return one.size === other.size && [...one].every(([key, value]) => other.get(key) === value);
}

/** Tells whether two records may be of the same entry, by what find(1) shows. */
export function mayBeSame(a: Keywords, b: Keywords): boolean {
  const isSame = (key: string) => {
    return UNSEEN.test(key) || NOT_CONTENT.test(key) || a.get(key) === b.get(key);
  };
  return [...a.keys()].every(isSame) && [...b.keys()].every(isSame);
}
