import { assertEquals } from "@std/assert";
import { compareUpper, withParents } from "../../lib/layer/upper_changes.ts";
import type { LowerView } from "../../lib/layer/upper_changes.ts";
import { asOpaque, isRedirected, mayBeSame } from "../../lib/layer/upper_entry.ts";
import type { AttributeClass } from "../../lib/layer/layer_policy.ts";
import { parseLines } from "../../lib/tar/mtree.ts";
import type { Keywords } from "../../lib/tar/mtree.ts";

const TRUSTED = "xattr.trusted.overlay";
const USER = "xattr.user.overlay";
const Y = btoa("y");

/** Records, from lines without what most of them have. */
function records(...lines: string[]): Map<string, Keywords> {
  const text = lines.map((line) => {
    const [path, type, ...more] = line.split(" ");
    const device = type === "char" && !line.includes("device=") ? " device=0,0" : "";
    const mode = type === "link" || line.includes("mode=") ? "" : " mode=0755";
    return `./${path} type=${type} uid=0 gid=0${mode} time=1.0${device} ${more.join(" ")}`
      .trimEnd();
  });
  return parseLines(text.join("\n"));
}

function viewOf(lower: ReadonlyMap<string, Keywords>): LowerView {
  return {
    get: (path) => lower.get(path),
    list: (directory) => {
      return [...lower.keys()].filter((path) => {
        return path.startsWith(`${directory}/`) && !path.slice(directory.length + 1).includes("/");
      });
    },
  };
}

interface Case {
  readonly name: string;
  readonly lower?: readonly string[];
  readonly upper: readonly string[];
  readonly must: readonly string[];
  readonly attributes?: AttributeClass;
}

const TABLE: readonly Case[] = [
  { name: "nothing", upper: [], must: [] },
  { name: "a new file", upper: ["a file size=1"], must: ["A a"] },
  { name: "a whiteout", lower: ["a file size=1"], upper: ["a char"], must: ["D a"] },
  { name: "a whiteout of nothing", upper: ["a char"], must: [] },
  { name: "a device", upper: ["a char device=1,3"], must: ["A a"] },
  {
    name: "the same size and time with other content",
    lower: ["a file size=1 sha256digest=00"],
    upper: ["a file size=1 sha256digest=11"],
    must: ["C a"],
  },
  {
    name: "a copy-up without a change",
    lower: ["a file size=1 sha256digest=00 xattr.user.x=eA=="],
    upper: [`a file size=1 sha256digest=00 xattr.user.x=eA== ${TRUSTED}.origin=eA==`],
    must: [],
  },
  {
    name: "an attribute that is gone",
    lower: ["a file size=1 sha256digest=00 xattr.user.x=eA=="],
    upper: ["a file size=1 sha256digest=00"],
    must: ["C a"],
  },
  {
    name: "a label of SELinux",
    lower: ["a file size=1 sha256digest=00"],
    upper: ["a file size=1 sha256digest=00 xattr.security.selinux=eA=="],
    must: [],
  },
  {
    name: "an attribute of the app that has a name of overlayfs",
    lower: ["a dir"],
    upper: [`a dir ${TRUSTED}.overlay.opaque=${Y}`],
    must: ["C a"],
  },
  {
    name: "the mode of a directory, and of what only leads to it",
    lower: ["a dir", "a/b dir"],
    upper: ["a dir", "a/b dir mode=0700"],
    must: ["C a/b"],
  },
  {
    name: "an opaque directory",
    lower: [
      "d dir",
      "d/same file size=1 sha256digest=00",
      "d/gone file",
      "d/sub dir",
      "d/sub/x file",
    ],
    upper: [`d dir ${TRUSTED}.opaque=${Y}`, "d/same file size=1 sha256digest=00", "d/new file"],
    must: ["D d/gone", "A d/new", "D d/sub"],
  },
  {
    name: "an opaque directory as fuse-overlayfs marks it, three times",
    lower: ["d dir", "d/gone file", "d/same file size=1 sha256digest=00"],
    upper: [
      `d dir xattr.user.fuseoverlayfs.opaque=${Y}`,
      "d/.wh..opq char",
      "d/.wh..wh..opq file size=0",
      "d/same file size=1 sha256digest=00 xattr.user.fuseoverlayfs.origin=eA==",
      "d/new file",
    ],
    must: ["D d/gone", "A d/new"],
  },
  {
    name: "files with names of marks, in a directory that is not marked",
    lower: ["d dir"],
    upper: ["d dir", "d/.wh..wh..opq file size=0", "d/.wh.a file"],
    must: ["A d/.wh..wh..opq", "A d/.wh.a"],
  },
  {
    name: "a directory in an opaque one, which has no attribute of its own",
    lower: ["d dir", "d/sub dir", "d/sub/x file", "d/sub/y file"],
    upper: [`d dir ${TRUSTED}.opaque=${Y}`, "d/sub dir", "d/sub/y char"],
    must: ["D d/sub/x", "D d/sub/y"],
  },
  {
    name: "an opaque directory where the lowers have a file",
    lower: ["d file"],
    upper: [`d dir ${TRUSTED}.opaque=${Y}`, "d/in file"],
    must: ["C d", "A d/in"],
  },
  {
    name: "a file where the lowers have a directory",
    lower: ["d dir", "d/in file"],
    upper: ["d file"],
    must: ["C d"],
  },
  {
    name: "the class of user attributes",
    attributes: "user",
    lower: ["d dir", "d/in file", "e dir", "e/in file"],
    upper: [`d dir ${USER}.opaque=${Y}`, `e dir ${TRUSTED}.opaque=${Y}`],
    must: ["D d/in", "C e"],
  },
  {
    name: "a directory with attribute whiteouts, which is not opaque",
    lower: ["d dir", "d/in file"],
    upper: [`d dir ${TRUSTED}.opaque=${btoa("x")}`],
    must: [],
  },
  {
    name: "metadata that was copied up without the content",
    lower: ["a file size=1 sha256digest=00", "b file size=1 sha256digest=00"],
    upper: [
      `a file size=1 sha256digest=99 ${TRUSTED}.metacopy=`,
      `b file mode=0700 size=1 sha256digest=99 ${TRUSTED}.metacopy=`,
    ],
    must: ["C b"],
  },
  {
    name: "the order of bytes",
    upper: ["a dir", "a/b file", "a-b file", "a\\377 file", "B file"],
    must: ["A B", "A a", "A a-b", "A a/b", "A a\xff"],
  },
];

for (const { name, lower = [], upper, must, attributes = "trusted" } of TABLE) {
  Deno.test(`compareUpper() tells the changes: ${name}`, { permissions: "none" }, () => {
    const changes = compareUpper(records(...upper), viewOf(records(...lower)), attributes);
    assertEquals(changes.map(({ kind, path }) => `${kind} ${path}`), must);
  });
}

Deno.test(
  "compareUpper() leaves out the root, which a render makes",
  { permissions: "none" },
  () => {
    const root = parseLines(". type=dir uid=7 gid=0 mode=0700 time=1.0");
    assertEquals(compareUpper(root, viewOf(new Map()), "trusted"), []);
  },
);

Deno.test("withParents() adds what leads to a change, once", { permissions: "none" }, () => {
  const upper = records("a dir", "a/b dir", "a/b/new file", "a/b/other file", "c dir");
  const lower = viewOf(records("a dir", "a/b dir", "c dir"));
  const changes = withParents(compareUpper(upper, lower, "trusted"), upper);
  assertEquals(changes.map(({ kind, path }) => `${kind} ${path}`), [
    "C a",
    "C a/b",
    "A a/b/new",
    "A a/b/other",
  ]);
});

Deno.test(
  "mayBeSame() compares what find(1) shows, without the time",
  { permissions: "none" },
  () => {
    const [[, one] = ["", new Map()]] = records("a file size=1 sha256digest=00");
    const [[, other] = ["", new Map()]] = records(`a file size=1 ${TRUSTED}.origin=eA==`);
    const [[, longer] = ["", new Map()]] = records("a file size=2");
    assertEquals([mayBeSame(one, other), mayBeSame(one, longer)], [true, false]);
  },
);

Deno.test("isRedirected() tells a directory that was renamed", { permissions: "none" }, () => {
  const [[, moved] = ["", new Map()]] = records(`d dir ${TRUSTED}.redirect=eA==`);
  assertEquals([isRedirected(moved, "trusted"), isRedirected(moved, "user")], [true, false]);
  const [[, file] = ["", new Map()]] = records("f file");
  assertEquals(asOpaque(file, "trusted"), file);
  assertEquals(asOpaque(moved, "trusted").get(`${TRUSTED}.opaque`), Y);
});
