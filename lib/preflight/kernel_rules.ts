/**
 * The rules that judge a mount by the facts that programs report. As in `disk_rules.ts`, the rules use only
 * the facts that they are given, and report nothing for unknown facts.
 *
 * Requires no permissions.
 *
 * @module
 */
import { isBind } from "../overlay/mount_config.ts";
import type { MountingFacts } from "./kernel_facts.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import type { Finding } from "./lower.ts";
import { PROGRAMS } from "../system/programs.ts";
import { printable, quote } from "../core/quote.ts";
import { isAtLeast, UTIL_LINUX_MIN } from "../system/util_linux.ts";

/** The hint that shows the refusals of a security policy. */
export const DENIALS = "see what was denied: ausearch --message avc --start recent, or dmesg";

type Rule = (mount: MountPlan, facts: MountingFacts) => Finding | null;

function unfitProgram(_: MountPlan, { mount }: MountingFacts): Finding | null {
  if (mount === null) return null;
  const { version, said } = mount;
  if (version !== null && isAtLeast(version, UTIL_LINUX_MIN)) return null;
  const reason = version === null
    ? `it is not that of util-linux: ${printable(said)}`
    : `it is of util-linux ${version}, which is too old`;
  return {
    code: "unsupported-mount",
    paths: [PROGRAMS.mount],
    sentence: `Cannot mount with ${quote(PROGRAMS.mount)}: ${reason}`,
    hint: `install util-linux ${UTIL_LINUX_MIN} or newer`,
  };
}

function noOverlayfs(mount: MountPlan, { kernel }: MountingFacts): Finding | null {
  if (kernel !== "no overlayfs" || isBind(mount)) return null;
  return {
    code: "no-overlayfs",
    paths: [mount.rootfs],
    sentence: `Cannot mount ${quote(mount.rootfs)}: this kernel has no overlayfs`,
    hint: "load it: modprobe overlay; or make a copy of the tree with --overlay never",
  };
}

function notPermitted({ rootfs }: MountPlan, { kernel }: MountingFacts): Finding | null {
  if (kernel !== "not permitted") return null;
  return {
    code: "not-permitted",
    paths: [rootfs],
    sentence: `Cannot mount ${quote(rootfs)}: this user may not mount`,
    hint: "run as root, or inside: unshare --user --map-root-user --mount",
  };
}

/** EACCES comes from the kernel's security modules: a user without privileges gets EPERM. */
function forbidden({ rootfs }: MountPlan, { kernel }: MountingFacts): Finding | null {
  if (kernel !== "forbidden") return null;
  return {
    code: "not-permitted",
    paths: [rootfs],
    sentence: `Cannot mount ${quote(rootfs)}: a security policy forbids this process to mount`,
    hint: `run in a domain that may mount; ${DENIALS}`,
  };
}

function badLabel({ label, rootfs }: MountPlan, { badLabel }: MountingFacts): Finding | null {
  if (label === null || !badLabel) return null;
  return {
    code: "invalid-label",
    paths: [rootfs],
    sentence: `Cannot mount ${quote(rootfs)}: the SELinux policy has no context ${quote(label)}`,
    hint: "give a context of the loaded policy, such as ls --context shows",
  };
}

function unknownOption({ rootfs }: MountPlan, { unknown }: MountingFacts): Finding | null {
  const [option] = unknown;
  if (option === undefined) return null;
  return {
    code: "unknown-option",
    paths: [rootfs],
    sentence: `Cannot mount ${quote(rootfs)}: this kernel does not know option ${quote(option)}`,
    hint: `leave out ${unknown.map(quote).join(" and ")}`,
  };
}

/**
 * proc counts as deep as overlays can be stacked (kernel, fs/proc/root.c); the others compare names in
 * their own way (kernel, fs/overlayfs/util.c, ovl_dentry_weird()).
 */
const NO_LOWER = /^(proc|vfat|msdos|exfat|hfs|hfsplus|affs|efivarfs)$/;

/** The most overlays that can lie on one another (FILESYSTEM_MAX_STACK_DEPTH), the new one included. */
const OVERLAYS_MAX = 2;

function unfitLower(_: MountPlan, { lowers }: MountingFacts): Finding | null {
  const bad = lowers.find(({ type, overlays }) => overlays >= OVERLAYS_MAX || NO_LOWER.test(type));
  if (bad === undefined) return null;
  const { path, type, overlays } = bad;
  const cannot = `Cannot use lower ${quote(path)}`;
  const copy = "copy it to a disk, and give the copy as lower";
  const [reason, hint] = overlays >= OVERLAYS_MAX
    ? [
      "it is an overlay on an overlay, and the kernel takes no third one",
      `give the lowers of that overlay instead, or ${copy}`,
    ]
    : [`it lies on a file system of type ${type}, of which overlayfs takes no lower`, copy];
  return { code: "unsupported-lower", paths: [path], sentence: `${cannot}: ${reason}`, hint };
}

/** A bind mount is another mount even on the same file system. */
function differentMounts({ upper, work }: MountPlan, { points }: MountingFacts): Finding | null {
  if (points === null || points.upper === points.work) return null;
  if (upper === null || work === null) return null;
  // The mount further down separates them.
  const point = points.upper.length > points.work.length ? points.upper : points.work;
  return {
    code: "different-devices",
    paths: [upper, work],
    sentence: `Cannot mount upper ${quote(upper)}: its work ${quote(work)} lies in another mount`,
    hint: `unmount what is mounted between them, at ${quote(point)}`,
  };
}

/** A render goes on without the label, and warns. */
function labelLeftOut({ label, rootfs }: MountPlan, { selinux }: MountingFacts): Finding | null {
  if (label === null || selinux !== false) return null;
  return {
    code: "label-left-out",
    paths: [rootfs],
    sentence: `Cannot set label ${quote(label)}: SELinux is not enabled, so it will be left out`,
    hint: "leave out --label where there is no SELinux",
  };
}

/** The rules in the order of their findings, the clearest first. */
const RULES: readonly Rule[] = [
  unfitProgram,
  noOverlayfs,
  notPermitted,
  forbidden,
  badLabel,
  unknownOption,
  unfitLower,
  differentMounts,
  labelLeftOut,
];

/**
 * Judges a mount.
 *
 * @param mount The planned mount.
 * @param facts The facts about it.
 * @returns The findings, the clearest first; empty when the facts show no problem.
 */
export function judgeMounting(mount: MountPlan, facts: MountingFacts): readonly Finding[] {
  return RULES.flatMap((rule) => rule(mount, facts) ?? []);
}
