/**
 * The rules that judge a render before anything is made. They find mounts that the kernel would refuse with
 * an unhelpful message, and mounts that it would allow although they end badly.
 *
 * Pure: the rules use only the facts that they are given.
 *
 * Requires no permissions.
 *
 * @module
 */
import { findConflict } from "../overlay/conflicts.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { DirectoryFacts, Finding } from "./lower.ts";
import type { Facts } from "./disk_facts.ts";
import { isWithin } from "../core/path.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { podInLower } from "../request/request.ts";
import { judgeLower } from "./lower.ts";

/** The most lowers that the kernel takes (OVL_MAX_STACK). */
const LOWERS_MAX = 500;

type Rule = (mount: MountPlan, facts: Facts) => Finding | null;

function finding(
  code: ErrorCode,
  paths: Finding["paths"],
  sentence: string,
  hint: string,
): Finding {
  return { code, paths, sentence, hint };
}

function badLower(_: MountPlan, { lowers }: Facts): Finding | null {
  for (const lower of lowers) {
    const found = judgeLower(lower);
    if (found !== null) return found;
  }
  return null;
}

function tooManyLowers({ lower, rootfs }: MountPlan): Finding | null {
  if (lower.length <= LOWERS_MAX) return null;
  return finding(
    "too-many-lowers",
    [rootfs],
    `Cannot mount ${lower.length} lowers on ${
      quote(rootfs)
    }: the kernel takes at most ${LOWERS_MAX}`,
    "merge some of them into one directory",
  );
}

/** The kernel reports "too many levels of symbolic links" for both. */
function overlappingLowers(_: MountPlan, { lowers }: Facts): Finding | null {
  const ids = new Map<string, DirectoryFacts>();
  const reals = new Map<string, DirectoryFacts>();
  for (const lower of lowers) {
    const twin = lower.id === null ? undefined : ids.get(lower.id);
    if (twin !== undefined) return sameLower(lower, twin);
    if (lower.id !== null) ids.set(lower.id, lower);
    if (lower.real !== null) reals.set(lower.real, lower);
  }
  for (const lower of lowers) {
    const around = lower.real === null ? undefined : aroundOf(lower.real, reals);
    if (around !== undefined) return nestedLower(lower, around);
  }
  return null;
}

function sameLower({ path }: DirectoryFacts, twin: DirectoryFacts): Finding {
  const reason = path === twin.path
    ? "it is given twice"
    : `it is the lower ${quote(twin.path)}, too`;
  const hint = "give it once, at its highest place";
  return finding(
    "lower-twice",
    [path, twin.path],
    `Cannot use lower ${quote(path)}: ${reason}`,
    hint,
  );
}

function aroundOf(
  real: string,
  reals: ReadonlyMap<string, DirectoryFacts>,
): DirectoryFacts | undefined {
  for (let end = real.lastIndexOf("/"); end >= 0; end = real.lastIndexOf("/", end - 1)) {
    const found = reals.get(real.slice(0, end) || "/");
    if (found !== undefined && found.real !== real) return found;
    if (end === 0) break;
  }
  return undefined;
}

function nestedLower({ path }: DirectoryFacts, around: DirectoryFacts): Finding {
  return finding(
    "lower-nested",
    [path, around.path],
    `Cannot use lower ${quote(path)}: it lies in the lower ${quote(around.path)}`,
    "give one of them only: overlayfs takes no lower in another",
  );
}

/** The kernel refuses some of these, and allows others, in which the mount then changes itself. */
function crossing(mount: MountPlan, facts: Facts): Finding | null {
  const { lowers, real } = facts;
  if (real === null) return null;
  for (const lower of lowers) {
    const at = lower.real;
    if (at === null) continue;
    if (at === "/") {
      if (isOnOneFileSystem(lower, facts)) return podInLowerOf(mount, lower);
      continue;
    }
    for (const [word, path] of Object.entries(real)) {
      if (isWithin(at, path)) {
        const sentence = `Cannot use lower ${quote(lower.path)}: it lies in the ${word} ${
          quote(path)
        }`;
        return finding("crossing", [lower.path, path], sentence, "put the tree outside the pod");
      }
      if (isWithin(path, at)) {
        return word === "rootfs" ? destInLower(mount, lower, path) : podInLowerOf(mount, lower);
      }
    }
  }
  return null;
}

function podInLowerOf({ pod }: MountPlan, lower: DirectoryFacts): Finding {
  const { code, message, hint } = podInLower(pod, lower.path);
  return finding(code, [pod, lower.path], message, `${hint}`);
}

function destInLower({ dest }: MountPlan, lower: DirectoryFacts, rootfs: string): Finding {
  const sentence =
    `Cannot use destination ${quote(dest)}: its rootfs ${quote(rootfs)} lies in the lower ` +
    quote(lower.path);
  return finding("crossing", [dest, lower.path], sentence, "give another --dest");
}

/** A root contains its whole file system, but mounts in it do not belong to the lower. */
function isOnOneFileSystem({ id }: DirectoryFacts, { devices }: Facts): boolean {
  return id !== null && devices !== null && id.startsWith(`${devices.upper}:`);
}

/** Rootfs in upper or work: the mount would lie in its own directories. */
function rootfsInside({ dest }: MountPlan, { real }: Facts): Finding | null {
  if (real === null) return null;
  for (const word of ["upper", "work"] as const) {
    if (!isWithin(real.rootfs, real[word])) continue;
    const sentence = `Cannot use destination ${quote(dest)}: its rootfs lies in the ${word} ` +
      quote(real[word]);
    return finding("crossing", [dest, real[word]], sentence, "give another --dest");
  }
  return null;
}

function differentDevices({ upper, work, pod }: MountPlan, { devices }: Facts): Finding | null {
  if (devices === null || devices.upper === devices.work || upper === null) return null;
  return finding(
    "different-devices",
    [upper, work ?? pod],
    `Cannot mount upper ${quote(upper)}: its work ${quote(`${work}`)} lies on another file system`,
    "unmount what is mounted between the pod and one of them, see: findmnt --submounts " +
      shellQuote(pod),
  );
}

const NETWORK =
  /^(nfs4?|cifs|smb3|9p|ceph|afs|glusterfs|lustre|fuse\.(sshfs|glusterfs|s3fs|rclone))$/;
const NO_UPPER: readonly (readonly [types: RegExp, code: ErrorCode, reason: string])[] = [
  [/^(overlay|aufs|ecryptfs)$/, "upper-on-overlay", "an overlay cannot hold another one's upper"],
  [NETWORK, "upper-on-network", "a network file system cannot hold an upper"],
  [
    /^fuse/,
    "upper-on-fuse",
    "it has not all that an upper needs: whiteouts, attributes, file types",
  ],
  [
    /^(vfat|exfat|msdos|ntfs3?|hfs|hfsplus|udf|hpfs|ramfs|minix)$/,
    "upper-without-xattr",
    "it keeps no attributes, without which a directory that was deleted cannot be made again",
  ],
  // Others depend on how they were made; doctor tests that.
  [
    /^(reiserfs|jfs)$/,
    "upper-without-d-type",
    "its directories keep no types of files (d_type), so that what was deleted is listed still",
  ],
  [/^(iso9660|squashfs|erofs|cramfs|romfs)$/, "upper-read-only", "nothing can be written on it"],
];

const ELSEWHERE =
  "put the pod on a disk with ext4, xfs or btrfs, or on a tmpfs; or make a copy of the " +
  "tree with --overlay never";

function unfitFileSystem({ pod }: MountPlan, { fileSystem }: Facts): Finding | null {
  if (fileSystem === null) return null;
  const { type, readOnly } = fileSystem;
  const cannot = `Cannot use pod ${quote(pod)}: it lies on a file system of type ${type}`;
  const row = NO_UPPER.find(([types]) => types.test(type));
  if (row !== undefined) return finding(row[1], [pod], `${cannot}, and ${row[2]}`, ELSEWHERE);
  if (!readOnly) return null;
  const hint = "mount its file system writable, or put the pod elsewhere";
  return finding("upper-read-only", [pod], `${cannot} that is read-only`, hint);
}

/** Finds two options that exclude each other; the kernel returns only `EINVAL`. */
export function conflictingOptions({ options, upper, rootfs }: MountPlan): Finding | null {
  const conflict = findConflict(options, upper !== null);
  if (conflict === null) return null;
  const [a, b] = conflict.options;
  return finding(
    "conflicting-options",
    [rootfs],
    `Cannot mount ${quote(rootfs)}: option ${quote(a)} excludes ${quote(b)}`,
    `leave out ${quote(a)} or ${quote(b)}, which exclude each other: ${conflict.reason}`,
  );
}

/** The rules in the order of their findings, the clearest first. */
const RULES: readonly Rule[] = [
  badLower,
  tooManyLowers,
  conflictingOptions,
  overlappingLowers,
  crossing,
  rootfsInside,
  unfitFileSystem,
  differentDevices,
];

/**
 * Judges a render.
 *
 * @param mount The planned mount.
 * @param facts The facts about the disk.
 * @returns The findings, the clearest first; empty when the facts show no problem.
 */
export function preflight(mount: MountPlan, facts: Facts): readonly Finding[] {
  return RULES.flatMap((rule) => rule(mount, facts) ?? []);
}
