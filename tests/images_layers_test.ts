/**
 * What layers make of each other: directories that only a layer below describes, what hides what, the
 * root, and what layers have in common. The layers are made by hand; what umoci unpacks of them is what
 * must be rendered.
 *
 * @module
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { renderOverlay } from "../mod.ts";
import type { TarEntry } from "../lib/tar_entry.ts";
import { listTrees } from "../lib/tree.ts";
import { entriesOf } from "./_entries.ts";
import { makeLayout } from "./_image.ts";
import { isRealRoot } from "./_privilege.ts";
import { random } from "./_random.ts";
import type { Random } from "./_random.ts";
import {
  assertSameEntries,
  directory,
  entry,
  imported,
  needs,
  renderedEntries,
  tarOf,
  umociEntries,
} from "./_tool_images.ts";
import { tempDir } from "./_temp.ts";
import type { TempDir } from "./_temp.ts";
import { namesIn } from "./_tree.ts";

const root = { ignore: !isRealRoot, suffix: isRealRoot ? "" : " [skipped: needs root]" };
const umoci = needs("umoci");

/** A directory that is like no other. */
const CLOSED = {
  mode: 0o1751,
  uid: 7,
  gid: 8,
  mtime: "1111111111.5",
  attributes: new Map([["user.note", "kept"]]),
};
const CLOSED_WORDS = "directory mode=1751 owner=7:8 mtime=1111111111.5 user.note=0x6b657074";
/** One that no layer says anything of. */
const PLAIN_WORDS = "directory mode=0755 owner=0:0 mtime=0";
const ROOT_WORDS = "directory mode=0755 owner=0:0";
const FILE_WORDS = /^file mode=0644 owner=0:0 mtime=1000000000 size=0 sha256=e3b0c4\w+$/;

/** What a stack of layers is, the lowest first, and what must be seen of it. */
interface Stack {
  readonly name: string;
  readonly layers: readonly (readonly TarEntry[])[];
  /** What is there, by path: the words of an entry, or `file` for a plain file. */
  readonly must: Readonly<Record<string, string>>;
  /** A directory whose time umoci changes: it makes or removes something in it that has no entry. */
  readonly touched?: string;
}

const opaque = (path: string) => entry(`${path}.wh..wh..opq`);

const STACKS: readonly Stack[] = [
  {
    name: "directories without an entry take after the layer below",
    layers: [
      [directory("d", CLOSED), directory("d/e", { mode: 0o1777 }), entry("d/e/old")],
      [entry("d/e/new")],
    ],
    must: {
      "/": ROOT_WORDS,
      "/d": CLOSED_WORDS,
      "/d/e": "directory mode=1777 owner=0:0 mtime=1000000000",
      "/d/e/new": "file",
      "/d/e/old": "file",
    },
  },
  {
    name: "directories without an entry take after the nearest layer that has one",
    layers: [
      [directory("d", { mode: 0o700 }), entry("d/a")],
      [directory("d", CLOSED)],
      [entry("b")],
      [entry("d/c")],
      [entry("d/e")],
    ],
    must: {
      "/": ROOT_WORDS,
      "/b": "file",
      "/d": CLOSED_WORDS,
      "/d/a": "file",
      "/d/c": "file",
      "/d/e": "file",
    },
  },
  {
    name: "a directory that is hidden below is new",
    touched: "/d",
    layers: [
      [directory("d", CLOSED), directory("d/e", CLOSED), entry("d/e/old")],
      [directory("d", CLOSED), opaque("d/")],
      [entry("d/e/new")],
    ],
    must: {
      "/": ROOT_WORDS,
      "/d": CLOSED_WORDS,
      "/d/e": PLAIN_WORDS,
      "/d/e/new": "file",
    },
  },
  {
    name: "a directory that was removed below is new",
    layers: [
      [directory("d", CLOSED), directory("d/e", CLOSED), entry("d/e/old")],
      [entry(".wh.d")],
      [entry("d/e/new")],
    ],
    must: { "/": ROOT_WORDS, "/d": PLAIN_WORDS, "/d/e": PLAIN_WORDS, "/d/e/new": "file" },
  },
  {
    name: "a directory that its own layer removed before is new",
    touched: "/d",
    layers: [
      [directory("d", CLOSED), directory("d/e", CLOSED), entry("d/e/old")],
      [entry("d/.wh.e"), entry("d/e/new")],
    ],
    must: { "/": ROOT_WORDS, "/d": CLOSED_WORDS, "/d/e": PLAIN_WORDS, "/d/e/new": "file" },
  },
  {
    name: "a directory whose own layer hides what is around it is new",
    touched: "/d",
    layers: [
      [directory("d", CLOSED), directory("d/e", CLOSED), entry("d/e/old")],
      [opaque("d/"), entry("d/e/new")],
    ],
    must: { "/": ROOT_WORDS, "/d": CLOSED_WORDS, "/d/e": PLAIN_WORDS, "/d/e/new": "file" },
  },
  {
    name: "an opaque root hides all that is below",
    layers: [
      [directory("", { mode: 0o711, uid: 5, gid: 6 }), directory("d", CLOSED), entry("d/old")],
      [entry("e")],
      [opaque(""), entry("d/new")],
      [entry("d/more")],
    ],
    must: {
      "/": "directory mode=0711 owner=5:6",
      "/d": PLAIN_WORDS,
      "/d/more": "file",
      "/d/new": "file",
    },
  },
  {
    name: "the root is what the topmost layer says that says something of it",
    layers: [
      [directory("", { mode: 0o700 }), entry("a")],
      [directory("./", { mode: 0o1771, uid: 5, gid: 6 }), entry("b")],
      [entry("c")],
      [entry("d")],
    ],
    must: {
      "/": "directory mode=1771 owner=5:6",
      "/a": "file",
      "/b": "file",
      "/c": "file",
      "/d": "file",
    },
  },
  {
    name: "a whiteout removes what is below, wherever in its layer it stands",
    touched: "/d",
    layers: [
      [directory("d", CLOSED), entry("d/old"), directory("e"), entry("e/old"), entry("f")],
      [directory("d"), entry("d/new"), entry(".wh.d"), entry(".wh.f"), entry(".wh.none")],
      [entry("f"), entry("e/new"), opaque("e/")],
    ],
    must: {
      "/": ROOT_WORDS,
      "/d": "directory mode=0755 owner=0:0 mtime=1000000000",
      "/d/new": "file",
      "/e": "directory mode=0755 owner=0:0 mtime=1000000000",
      "/e/new": "file",
      "/f": "file",
    },
  },
  {
    name: "what was a directory is a file, a link, and a directory again",
    layers: [
      [directory("d", CLOSED), entry("d/old")],
      [entry("d")],
      [entry("d", { type: "symlink", link: "e" })],
      [directory("d"), entry("d/new")],
    ],
    must: {
      "/": ROOT_WORDS,
      "/d": "directory mode=0755 owner=0:0 mtime=1000000000",
      "/d/new": "file",
    },
  },
];

function brief(entries: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries([...entries].map(([path, words]) => {
    return [path, FILE_WORDS.test(words) ? "file" : words];
  }));
}

/** Directories that no layer says anything of get the time of unpacking from umoci. */
function withoutNew(
  entries: ReadonlyMap<string, string>,
  isNew: (path: string) => boolean,
): Map<string, string> {
  return new Map([...entries].map(([path, words]) => {
    return [path, isNew(path) ? words.replace(/ mtime=\S+/, "") : words];
  }));
}

for (const { name, layers, must, touched } of STACKS) {
  Deno.test({
    name: `${name}${root.suffix}`,
    ignore: root.ignore,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      const layout = await makeLayout(dir.join("layout"), layers.map((one) => tarOf(one)));
      const { id } = await imported(dir, layout);
      const is = await renderedEntries(dir, id);
      assertEquals(brief(is), must);
      if (umoci.ignore) return;
      const isNew = (path: string) => path === touched || must[path] === PLAIN_WORDS;
      const unpacked = await umociEntries(dir, `${layout}:test`);
      assertSameEntries(withoutNew(is, isNew), withoutNew(unpacked, isNew), "umoci");
    },
  });
}

const NAMES = ["a", "b", "c"];
const MODES = [0o700, 0o711, 0o755, 0o1777];

function somePath(source: Random): string {
  return Array.from({ length: 1 + source.int(3) }, () => source.pick(NAMES)).join("/");
}

function ancestors(path: string): string[] {
  const parts = path.split("/");
  return parts.slice(1).map((_, at) => parts.slice(0, at + 1).join("/"));
}

/**
 * A layer that can lie on what is there: nothing in it lies in something that is no directory. What
 * it hides comes first or last.
 */
function someLayer(source: Random, isDirectory: ReadonlyMap<string, boolean>): TarEntry[] {
  const found = new Map<string, TarEntry>();
  const hidden: TarEntry[] = [];
  for (let left = 1 + source.int(6); left > 0; left--) {
    const path = somePath(source);
    const around = ancestors(path);
    if (around.some((at) => found.has(at) && found.get(at)?.type !== "directory")) continue;
    const below = [...found.keys()].some((at) => at.startsWith(`${path}/`));
    for (const at of around) {
      if (isDirectory.get(at) === false && !found.has(at)) found.set(at, directory(at));
    }
    const like = { mode: source.pick(MODES), uid: source.int(3) };
    switch (source.int(6)) {
      case 0:
      case 1:
        found.set(path, directory(path, like));
        break;
      case 2:
        hidden.push(entry(path.replace(/[^/]+$/, ".wh.$&")));
        break;
      case 3:
        hidden.push(opaque(`${path.replace(/\/?[^/]+$/, "")}/`.replace(/^\//, "")));
        break;
      case 4:
        if (!below) found.set(path, entry(path, { ...like, type: "symlink", link: "nowhere" }));
        break;
      default:
        if (!below) found.set(path, entry(path, like));
    }
  }
  const first = source.int(2) === 0;
  // What umoci takes a directory without an entry for depends on what it has read before.
  for (const at of first ? [] : [...found.keys()].flatMap(ancestors)) {
    if (!found.has(at)) found.set(at, directory(at));
  }
  const sorted = [...found.values()].sort((a, b) => a.name < b.name ? -1 : 1);
  return first ? [...hidden, ...sorted] : [...sorted, ...hidden];
}

Deno.test({
  name: `layers made at random are what umoci unpacks of them${umoci.suffix}`,
  ignore: umoci.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const source = random(20240607);
    let seen = 0;
    for (let image = 0; image < 25; image++) {
      const archives: Uint8Array[] = [];
      const said: string[] = [];
      let below = new Map<string, string>();
      const layout = dir.join(`layout-${image}`);
      for (let left = 2 + source.int(3); left > 0; left--) {
        const kinds = new Map([...below].map(([path, words]) => {
          return [path.slice(1), words.startsWith("directory")] as const;
        }));
        const layer = someLayer(source, kinds);
        said.push(layer.map(({ name, type }) => `${name}(${type})`).join(" "));
        archives.push(tarOf(layer));
        await Deno.remove(layout, { recursive: true }).catch(() => {});
        await makeLayout(layout, archives);
        below = await umociEntries(dir, `${layout}:test`);
      }
      const { id } = await imported(dir, layout);
      const isDirectory = (path: string) => below.get(path)?.startsWith("directory") === true;
      assertSameEntries(
        withoutNew(await renderedEntries(dir, id), isDirectory),
        withoutNew(below, isDirectory),
        said.join("\n"),
      );
      seen += below.size;
    }
    assert(seen > 100, `only ${seen} entries were compared`);
  },
});
