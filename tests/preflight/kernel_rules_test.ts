import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { judgeMounting } from "../../lib/preflight/kernel_rules.ts";
import type { LowerMount, MountingFacts } from "../../lib/preflight/kernel_facts.ts";
import type { MountPlan } from "../../lib/overlay/app_line.ts";
import type { Finding } from "../../lib/preflight/lower.ts";

const POD = "/pods/one";
const [UPPER, WORK, ROOTFS] = [`${POD}/upper`, `${POD}/work`, `${POD}/rootfs`];

const PLAN: MountPlan = {
  ...{ pod: POD, app: "web", tree: "t", dest: POD, rootfs: ROOTFS, lower: ["/images/a"] },
  ...{ upper: UPPER, work: WORK, label: null, options: [], optionString: "" },
};

/** A machine on which nothing is wrong. */
const SOUND: MountingFacts = {
  mount: { version: "2.38", said: "mount from util-linux 2.38" },
  kernel: "takes it",
  unknown: [],
  lowers: [{ path: "/images/a", type: "ext4", overlays: 0 }],
  points: { upper: "/", work: "/" },
  selinux: true,
  badLabel: false,
  unchecked: [],
};

function found(facts: Partial<MountingFacts>, plan: Partial<MountPlan> = {}): readonly Finding[] {
  return judgeMounting({ ...PLAN, ...plan }, { ...SOUND, ...facts });
}

function lowerOn(type: string, overlays = 0): Partial<MountingFacts> {
  return { lowers: [...SOUND.lowers, { path: "/images/b", type, overlays }] };
}

interface Case {
  readonly name: string;
  readonly findings: readonly Finding[];
  readonly code: string;
  readonly paths: readonly string[];
  /** What the sentence says after the colon, or a part of it. */
  readonly says: string;
  /** What the hint says, or a part of it. */
  readonly hint: string;
}

const UTIL_LINUX = { code: "unsupported-mount", paths: ["/bin/mount"] } as const;

const CASES: readonly Case[] = [
  {
    ...UTIL_LINUX,
    name: "a mount that is too old",
    findings: found({ mount: { version: "2.37.4", said: "mount from util-linux 2.37.4" } }),
    says: "it is of util-linux 2.37.4, which is too old",
    hint: "install util-linux 2.38 or newer",
  },
  {
    ...UTIL_LINUX,
    name: "a mount of another package",
    findings: found({ mount: { version: null, said: "BusyBox v1.36.1" } }),
    says: "it is not that of util-linux: BusyBox v1.36.1",
    hint: "install util-linux 2.38 or newer",
  },
  {
    ...UTIL_LINUX,
    name: "a mount that is not there",
    findings: found({ mount: { version: null, said: 'Cannot run "/bin/mount": …' } }),
    says: 'Cannot run "/bin/mount": …',
    hint: "install util-linux 2.38 or newer",
  },
  {
    name: "a user who may not mount",
    findings: found({ kernel: "not permitted" }),
    ...{ code: "not-permitted", paths: [ROOTFS] },
    says: "this user may not mount",
    hint: "run as root, or inside: unshare --user --map-root-user --mount",
  },
  {
    name: "a process that a security policy keeps from mounting",
    findings: found({ kernel: "forbidden" }),
    ...{ code: "not-permitted", paths: [ROOTFS] },
    says: "a security policy forbids this process to mount",
    hint: "ausearch --message avc",
  },
  {
    name: "a label that the policy does not have",
    findings: found({ badLabel: true }, { label: "u:r:nonsense:s0" }),
    ...{ code: "invalid-label", paths: [ROOTFS] },
    says: 'the SELinux policy has no context "u:r:nonsense:s0"',
    hint: "give a context of the loaded policy",
  },
  {
    name: "a kernel without overlayfs",
    findings: found({ kernel: "no overlayfs" }),
    ...{ code: "no-overlayfs", paths: [ROOTFS] },
    says: "this kernel has no overlayfs",
    hint: "modprobe overlay; or make a copy of the tree with --overlay never",
  },
  {
    name: "options that the kernel does not know",
    findings: found({ unknown: ["metacopy=on", "xino=auto"] }),
    ...{ code: "unknown-option", paths: [ROOTFS] },
    says: 'this kernel does not know option "metacopy=on"',
    hint: 'leave out "metacopy=on" and "xino=auto"',
  },
  ...["proc", "vfat", "msdos", "exfat", "hfs", "hfsplus", "affs", "efivarfs"].map((type): Case => ({
    name: `a lower on ${type}`,
    findings: found(lowerOn(type)),
    ...{ code: "unsupported-lower", paths: ["/images/b"] },
    says: `it lies on a file system of type ${type}, of which overlayfs takes no lower`,
    hint: "copy it to a disk",
  })),
  {
    name: "a lower that is an overlay on an overlay",
    findings: found(lowerOn("overlay", 2)),
    ...{ code: "unsupported-lower", paths: ["/images/b"] },
    says: "it is an overlay on an overlay, and the kernel takes no third one",
    hint: "give the lowers of that overlay instead",
  },
  {
    name: "a work in another mount than the upper",
    findings: found({ points: { upper: "/", work: WORK } }),
    ...{ code: "different-devices", paths: [UPPER, WORK] },
    says: `its work "${WORK}" lies in another mount`,
    hint: `at "${WORK}"`,
  },
  {
    name: "an upper in another mount than the work",
    findings: found({ points: { upper: UPPER, work: "/pods" } }),
    ...{ code: "different-devices", paths: [UPPER, WORK] },
    says: `its work "${WORK}" lies in another mount`,
    hint: `at "${UPPER}"`,
  },
  {
    name: "a label where there is no SELinux",
    findings: found({ selinux: false }, { label: "u:r:t:s0" }),
    ...{ code: "label-left-out", paths: [ROOTFS] },
    says: "SELinux is not enabled, so it will be left out",
    hint: "leave out --label",
  },
];

for (const { name, findings, code, paths, says, hint } of CASES) {
  Deno.test(`judgeMounting() finds ${name}: ${code}`, { permissions: "none" }, () => {
    assertEquals(findings.map((finding) => finding.code), [code]);
    const [finding] = findings;
    assert(finding !== undefined);
    assertEquals([...finding.paths], paths);
    assertMatch(finding.sentence, /^Cannot (use|mount|set) .*: .*[^.]$/);
    assertStringIncludes(finding.sentence.slice(finding.sentence.indexOf(": ")), says);
    assertMatch(finding.hint, /^[a-z].*[^.]$/);
    assertStringIncludes(finding.hint, hint);
  });
}

const VIEW = { upper: null, work: null } as const;

const HARMLESS: readonly (readonly [name: string, findings: readonly Finding[]])[] = [
  ["a sound machine", found({})],
  ["a newer mount", found({ mount: { version: "2.41.5", said: "" } })],
  ["a lower on an overlay that lies on none", found(lowerOn("overlay", 1))],
  ...["ext4", "xfs", "erofs", "nfs4", "tmpfs"].map((type) => {
    return [`a lower on ${type}`, found(lowerOn(type))] as const;
  }),
  ["a kernel without overlayfs, of which none is asked", found({ kernel: "no overlayfs" }, VIEW)],
  ["a view, which has no work", found({ points: { upper: "/", work: "/x" } }, VIEW)],
  ["a label where there is SELinux", found({}, { label: "u:r:t:s0" })],
  ["no label where there is no SELinux", found({ selinux: false })],
  [
    "anything of which nothing is known",
    found({ mount: null, kernel: null, lowers: [], points: null, selinux: null }, {
      label: "u:r:t:s0",
      options: ["metacopy=on"],
    }),
  ],
];

for (const [name, findings] of HARMLESS) {
  Deno.test(`judgeMounting() finds nothing wrong with ${name}`, { permissions: "none" }, () => {
    assertEquals(findings, []);
  });
}

Deno.test(
  "judgeMounting() tells each rule once, the plainest first",
  { permissions: "none" },
  () => {
    const lowers: readonly LowerMount[] = ["/a", "/b"].map((path) => {
      return { path, type: "proc", overlays: 0 };
    });
    const mount = { version: "2.9", said: "" };
    const points = { upper: "/", work: WORK };
    const facts = { mount, lowers, points, unknown: ["x"], selinux: false };
    const label = { label: "u:r:t:s0" };
    assertEquals(found({ ...facts, kernel: "not permitted" }, label).map(({ code }) => code), [
      ...[
        "unsupported-mount",
        "not-permitted",
        "unknown-option",
        "unsupported-lower",
        "different-devices",
      ],
      "label-left-out",
    ]);
  },
);
