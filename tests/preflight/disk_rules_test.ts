import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { DirectoryFacts, Finding } from "../../lib/preflight/lower.ts";
import type { Facts } from "../../lib/preflight/disk_facts.ts";
import type { MountPlan } from "../../lib/overlay/app_line.ts";
import { preflight } from "../../lib/preflight/disk_rules.ts";
import { quote } from "../../lib/core/quote.ts";

const POD = "/pods/one";
const UPPER = `${POD}/overlay/t/upper/web`;
const WORK = `${POD}/overlay/t/work/web`;
const DEST = `${POD}/apps/web`;

function planOf(lower: readonly string[], more: Partial<MountPlan> = {}): MountPlan {
  return {
    ...{ pod: POD, app: "web", tree: "t", dest: DEST, rootfs: `${DEST}/rootfs` },
    ...{ lower, upper: UPPER, work: WORK, label: null, options: [], optionString: "" },
    ...more,
  };
}

/** A directory that is no other one's twin, unless it is said to be. */
function directory(path: string, more: Partial<DirectoryFacts> = {}): DirectoryFacts {
  return { path, kind: "directory", real: path, id: `1:${path}`, ...more };
}

function nothingAt(path: string, kind: DirectoryFacts["kind"]): DirectoryFacts {
  return { path, kind, real: null, id: null };
}

function factsOf(lowers: readonly DirectoryFacts[], more: Partial<Facts> = {}): Facts {
  return {
    lowers,
    real: { upper: UPPER, work: WORK, rootfs: `${DEST}/rootfs` },
    devices: { upper: 64769, work: 64769 },
    fileSystem: { type: "ext4", readOnly: false },
    unchecked: [],
    ...more,
  };
}

/** What is found of lowers, and of what else is changed in sound facts. */
function found(
  lowers: readonly DirectoryFacts[],
  facts: Partial<Facts> = {},
  mount: Partial<MountPlan> = {},
): readonly Finding[] {
  return preflight(planOf(lowers.map(({ path }) => path), mount), factsOf(lowers, facts));
}

function codesOf(findings: readonly Finding[]): string[] {
  return findings.map(({ code }) => code);
}

/** Lowers of which no two lie in each other. */
function several(count: number): DirectoryFacts[] {
  return Array.from({ length: count }, (_, at) => directory(`/images/${at}`));
}

const SOUND = [directory("/images/a"), directory("/images/b")];

/** The same paths, but for one of them. */
function realBut(name: "upper" | "work" | "rootfs", path: string): Partial<Facts> {
  return { real: { upper: UPPER, work: WORK, rootfs: `${DEST}/rootfs`, [name]: path } };
}

function onType(type: string, readOnly = false): Partial<Facts> {
  return { fileSystem: { type, readOnly } };
}

interface Case {
  readonly name: string;
  readonly findings: readonly Finding[];
  readonly code: string;
  readonly paths: readonly string[];
  /** What the sentence says after the colon, or a part of it. */
  readonly says: string;
}

const LOWERS: readonly Case[] = [
  {
    name: "a lower that is not there",
    findings: found([directory("/images/a"), nothingAt("/images/b", "missing")]),
    ...{ code: "missing", paths: ["/images/b"], says: "it does not exist" },
  },
  {
    name: "a lower that is a file",
    findings: found([directory("/images/a", { kind: "file" })]),
    ...{ code: "not-a-directory", paths: ["/images/a"], says: "it is a file" },
  },
  {
    name: "a lower that may not be read",
    findings: found([nothingAt("/images/a", "unreadable")]),
    ...{ code: "unreadable", paths: ["/images/a"], says: "it may not be read" },
  },
  {
    name: "501 lowers",
    findings: found(several(501)),
    code: "too-many-lowers",
    paths: [`${DEST}/rootfs`],
    says: "the kernel takes at most 500",
  },
  {
    name: "a lower that is given twice",
    findings: found([...SOUND, directory("/images/a")]),
    ...{ code: "lower-twice", paths: ["/images/a", "/images/a"], says: "it is given twice" },
  },
  {
    name: "a lower under another name, through a symlink",
    findings: found([...SOUND, directory("/link", { real: "/images/b", id: "1:/images/b" })]),
    code: "lower-twice",
    paths: ["/link", "/images/b"],
    says: 'it is the lower "/images/b", too',
  },
  {
    name: "a lower under another name, through a bind mount",
    findings: found([...SOUND, directory("/bound", { id: "1:/images/b" })]),
    code: "lower-twice",
    paths: ["/bound", "/images/b"],
    says: 'it is the lower "/images/b", too',
  },
  {
    name: "a lower in another lower",
    findings: found([directory("/a"), directory("/a/b")]),
    ...{ code: "lower-nested", paths: ["/a/b", "/a"], says: 'it lies in the lower "/a"' },
  },
  {
    name: "a lower deep in a lower that is given after it",
    findings: found([directory("/a/b/c/d"), directory("/ab"), directory("/a")]),
    ...{ code: "lower-nested", paths: ["/a/b/c/d", "/a"], says: 'it lies in the lower "/a"' },
  },
  {
    name: "a lower in another one only without symlinks",
    findings: found([directory("/link", { real: "/a/b" }), directory("/x", { real: "/a" })]),
    ...{ code: "lower-nested", paths: ["/link", "/x"], says: 'it lies in the lower "/x"' },
  },
  {
    name: "a lower beside the root directory",
    findings: found([directory("/"), directory("/a")]),
    ...{ code: "lower-nested", paths: ["/a", "/"], says: 'it lies in the lower "/"' },
  },
  {
    name: "options that exclude each other",
    findings: found(SOUND, {}, { options: ["metacopy=on", "xino=on", "redirect_dir=off"] }),
    ...{ code: "conflicting-options", paths: [`${DEST}/rootfs`] },
    says: 'option "metacopy=on" excludes "redirect_dir=off"',
  },
];

const CROSSING: readonly Case[] = [
  ...([["upper", UPPER], ["work", WORK], ["rootfs", `${DEST}/rootfs`]] as const).flatMap(
    ([word, path]): Case[] => [
      {
        name: `a lower that is the ${word}`,
        findings: found([directory("/x", { real: path })]),
        ...{ code: "crossing", paths: ["/x", path], says: `it lies in the ${word} "${path}"` },
      },
      {
        name: `a lower in the ${word}`,
        findings: found([directory("/images/a"), directory(`${path}/tree`)]),
        code: "crossing",
        paths: [`${path}/tree`, path],
        says: `it lies in the ${word} "${path}"`,
      },
      {
        name: `the ${word} in a lower`,
        findings: found([directory("/images/a")], realBut(word, "/images/a/b/c")),
        code: word === "rootfs" ? "crossing" : "in-use",
        paths: [word === "rootfs" ? DEST : POD, "/images/a"],
        says: word === "rootfs"
          ? 'its rootfs "/images/a/b/c" lies in the lower "/images/a"'
          : 'it lies in the lower "/images/a"',
      },
    ],
  ),
  ...([["upper", UPPER], ["work", WORK]] as const).map(([word, path]): Case => ({
    name: `the rootfs in the ${word}`,
    findings: found(SOUND, realBut("rootfs", `${path}/rootfs`)),
    ...{ code: "crossing", paths: [DEST, path], says: `its rootfs lies in the ${word} "${path}"` },
  })),
];

Deno.test("preflight() finds a pod in the lower / on the same file system alone", {
  permissions: "none",
}, () => {
  const [finding] = found([directory("/", { id: "64769:2" })]);
  assertEquals([finding?.code, finding?.paths], ["in-use", [POD, "/"]]);
  assertEquals(finding?.sentence, `Cannot use pod "${POD}": it lies in the lower "/"`);
  assertEquals(found([directory("/", { id: "64768:2" })]), []);
  assertEquals(found([directory("/", { id: "64769:2" })], { devices: null }), []);
});

/** The types of file systems that no upper can lie on. */
const UNFIT: Readonly<Record<string, readonly string[]>> = {
  "upper-on-overlay": ["overlay", "aufs", "ecryptfs"],
  "upper-on-network": ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.s3fs"],
  "upper-on-fuse": ["fuse", "fuseblk", "fuse.bindfs"],
  "upper-without-xattr": ["vfat", "exfat", "ntfs", "ntfs3", "hfsplus", "udf", "ramfs", "minix"],
  "upper-without-d-type": ["reiserfs", "jfs"],
  "upper-read-only": ["iso9660", "squashfs", "erofs", "cramfs", "romfs"],
};

const DISK: readonly Case[] = [
  ...Object.entries(UNFIT).flatMap(([code, types]) => {
    return types.map((type): Case => ({
      name: `a pod on ${type}`,
      findings: found(SOUND, onType(type)),
      ...{ code, paths: [POD], says: `it lies on a file system of type ${type}, and ` },
    }));
  }),
  {
    name: "a pod on a disk that is mounted read-only",
    findings: found(SOUND, onType("ext4", true)),
    code: "upper-read-only",
    paths: [POD],
    says: "it lies on a file system of type ext4 that is read-only",
  },
  {
    name: "an upper and a work on two file systems",
    findings: found(SOUND, { devices: { upper: 1, work: 2 } }),
    code: "different-devices",
    paths: [UPPER, WORK],
    says: `its work "${WORK}" lies on another file system`,
  },
];

for (const { name, findings, code, paths, says } of [...LOWERS, ...CROSSING, ...DISK]) {
  Deno.test(`preflight() finds ${name}: ${code}`, { permissions: "none" }, () => {
    assertEquals(codesOf(findings), [code]);
    const [finding] = findings;
    assert(finding !== undefined);
    assertEquals([...finding.paths], paths);
    assertMatch(finding.sentence, /^Cannot (use|mount) .*: .*[^.]$/);
    for (const path of paths) assertStringIncludes(finding.sentence, quote(path));
    assertStringIncludes(finding.sentence.slice(finding.sentence.indexOf(": ")), says);
    assertMatch(finding.hint, /^[a-z].*[^.]$/);
  });
}

interface Harmless {
  readonly name: string;
  readonly findings: readonly Finding[];
}

const HARMLESS: readonly Harmless[] = [
  { name: "two lowers beside each other", findings: found(SOUND) },
  { name: "500 lowers", findings: found(several(500)) },
  {
    name: "options that exclude each other only with an upper, in a view",
    findings: found(SOUND, {}, {
      upper: null,
      work: null,
      options: ["metacopy=on", "redirect_dir=off"],
    }),
  },
  {
    name: "a lower whose name only begins like another's",
    findings: found([directory("/a"), directory("/ab"), directory("/a.b/c")]),
  },
  {
    name: "a lower whose name only begins like the upper's, and another way round",
    findings: found([directory(`${UPPER}2`), directory("/pods/on")]),
  },
  { name: "the root directory as lower", findings: found([directory("/")]) },
  {
    name: "a lower that leads to the root directory",
    findings: found([directory("/x", { real: "/" })]),
  },
  { name: "a lower in the pod", findings: found([directory(`${POD}/image`)]) },
  {
    name: "a rootfs beside upper and work",
    findings: found(SOUND, realBut("rootfs", `${UPPER}x`)),
  },
  ...["ext4", "xfs", "btrfs", "tmpfs", "zfs", "f2fs"].map((type): Harmless => ({
    name: `a pod on ${type}`,
    findings: found(SOUND, onType(type)),
  })),
  {
    name: "a view without an upper",
    findings: found(SOUND, { real: null, devices: null, fileSystem: null }, {
      upper: null,
      work: null,
    }),
  },
  {
    name: "lowers that could not be looked at",
    findings: found([nothingAt("/images/a", "unchecked"), nothingAt("/images/b", "unchecked")]),
  },
  {
    name: "anything of which nothing is known",
    findings: found([nothingAt(`${UPPER}/a`, "unchecked"), nothingAt(UPPER, "unchecked")], {
      real: null,
      devices: null,
      fileSystem: null,
      unchecked: [UPPER],
    }),
  },
];

for (const { name, findings } of HARMLESS) {
  Deno.test(`preflight() finds nothing wrong with ${name}`, { permissions: "none" }, () => {
    assertEquals(findings, []);
  });
}

Deno.test("preflight() judges what is known when the rest is not", { permissions: "none" }, () => {
  const unknown = { real: null, devices: null, fileSystem: null };
  const unchecked = nothingAt("/images/x", "unchecked");
  const twice = [unchecked, directory("/images/a"), directory("/images/a")];
  assertEquals(codesOf(found(twice, unknown)), ["lower-twice"]);
  assertEquals(codesOf(found([unchecked], { ...unknown, ...onType("nfs") })), ["upper-on-network"]);
});

Deno.test("preflight() tells each rule once, the plainest first", { permissions: "none" }, () => {
  const lowers = [
    nothingAt("/images/gone", "missing"),
    nothingAt("/images/secret", "unreadable"),
    ...several(500),
    directory("/images/0"),
    directory("/images/0/nested"),
    directory(`${UPPER}/tree`),
    directory(`${WORK}/tree`),
  ];
  const findings = found(lowers, {
    ...realBut("rootfs", `${WORK}/rootfs`),
    ...onType("overlay", true),
    devices: { upper: 1, work: 2 },
  });
  assertEquals(codesOf(findings), [
    ...["missing", "too-many-lowers", "lower-twice", "crossing", "crossing"],
    ...["upper-on-overlay", "different-devices"],
  ]);
  // The first of several that break the same rule is the one that is told.
  assertEquals(findings.map(({ paths: [path] }) => path), [
    ...["/images/gone", `${DEST}/rootfs`, "/images/0", `${UPPER}/tree`, DEST],
    ...[POD, UPPER],
  ]);
});

Deno.test(
  "preflight() says that a read-only overlay is an overlay",
  { permissions: "none" },
  () => {
    assertEquals(codesOf(found(SOUND, onType("overlay", true))), ["upper-on-overlay"]);
  },
);

/** Everything that a terminal would act on. */
// deno-lint-ignore no-control-regex
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200e\u202e]/;

Deno.test("preflight() quotes paths that a terminal would act on", { permissions: "none" }, () => {
  const odd = '/a\u001b[31m\n"b\u202e';
  const [pod, upper, work] = [odd, `${odd}/upper`, `${odd}/work`];
  const mount = { pod, upper, work, dest: `${work}/dest`, rootfs: `${work}/dest/rootfs` };
  const findings = [
    ...found([nothingAt(odd, "missing")], {}, mount),
    ...found([directory(odd), directory(odd)], {}, mount),
    ...found([directory(odd), directory(`${odd}/c`)], {}, mount),
    ...found([directory(`${upper}/c`)], realBut("upper", upper), mount),
    ...found([directory(odd)], realBut("work", work), mount),
    ...found(SOUND, { real: { upper, work, rootfs: mount.rootfs } }, mount),
    ...found(SOUND, { ...onType("nfs"), devices: { upper: 1, work: 2 } }, mount),
  ];
  assertEquals(codesOf(findings), [
    ...["missing", "lower-twice", "lower-nested", "crossing", "in-use", "crossing"],
    ...["upper-on-network", "different-devices"],
  ]);
  for (const { sentence, hint } of findings) {
    assertEquals([UNPRINTABLE.test(sentence), UNPRINTABLE.test(hint)], [false, false], sentence);
  }
});
