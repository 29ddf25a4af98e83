/**
 * What layers make of each other: directories that only a layer below describes, what hides what, the
 * root, and what layers have in common. The layers are made by hand; what umoci unpacks of them is what
 * must be rendered.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import {
  collectPods,
  OverlayError,
  overlayStatus,
  renderOverlay,
  restoreOverlays,
  unmountOverlay,
} from "../../mod.ts";
import type { TarEntry } from "../../lib/tar/tar_entry.ts";
import { parent } from "../../lib/core/path.ts";
import {
  checkTrees,
  collectTrees,
  listTreesSync,
  removeTree,
  treePathSync,
} from "../../lib/store/tree.ts";
import { entriesOf } from "../_entries.ts";
import { makeLayout } from "../_image.ts";
import { isRealRoot } from "../_privilege.ts";
import { random } from "../_random.ts";
import type { Random } from "../_random.ts";
import {
  assertSameEntries,
  directory,
  entry,
  imported,
  needs,
  renderedEntries,
  tarOf,
  umociEntries,
} from "../_tool_images.ts";
import { sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { kernelOptions, namesIn } from "../_tree.ts";

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
/** The same of a root that is rendered: its upper has a time and attributes of its own. */
const CLOSED_ROOT_WORDS = "directory mode=1751 owner=7:8";
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

/** The root as a view shows it. */
async function viewedRoot(dir: TempDir, tree: string, pod: string): Promise<string> {
  const request = { store: dir.join("store"), tree, pod: dir.join(pod), app: "app" };
  await using view = await renderOverlay({ ...request, readOnly: true });
  const { mode, uid, gid, mtime } = await Deno.stat(view.rootfs);
  const note = await sh("getfattr", "--only-values", "--name=user.note", view.rootfs);
  return [((mode ?? 0) & 0o7777).toString(8), `${uid}:${gid}`, mtime?.getTime(), note].join(" ");
}

const VIEWS: readonly (readonly [string, readonly (readonly TarEntry[])[], number])[] = [
  ["a lower layer", [[directory("./", CLOSED), entry("a")], [entry("opt/b")]], 3],
  ["a layer that is hidden", [[directory("./", CLOSED), entry("a")], [opaque(""), entry("b")]], 2],
  ["a layer with nothing else", [[directory("./", CLOSED)], [entry("b")]], 2],
  ["the top layer", [[entry("a")], [directory("./", CLOSED), entry("b")]], 2],
];

for (const [which, layers, lowers] of VIEWS) {
  Deno.test({
    name: `a view has the root that ${which} describes${root.suffix}`,
    ignore: root.ignore,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      const layout = await makeLayout(dir.join("layout"), layers.map((one) => tarOf(one)));
      const { id } = await imported(dir, layout);
      assertEquals(await viewedRoot(dir, id, "view"), "1751 7:8 1111111111500 kept");
      assertEquals(treePathSync({ store: dir.join("store"), tree: id }).length, lowers);
      assertEquals((await renderedEntries(dir, id)).get("/"), CLOSED_ROOT_WORDS);
    },
  });
}

Deno.test({
  name: `the root of a view is checked, mended, kept by gc, and goes with its tree${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const store = dir.join("store");
    const layers = [[directory("./", CLOSED), entry("a")], [entry("b")]];
    const layout = await makeLayout(dir.join("layout"), layers.map((one) => tarOf(one)));
    const { id } = await imported(dir, layout);
    const { root: { key, link } } = JSON.parse(
      await Deno.readTextFile(`${store}/tree/${id}/manifest`),
    );
    assertEquals((await collectTrees({ store })).layers, []);
    await Deno.chmod(`${store}/layer/${key}`, 0o755);
    const [changed] = await checkTrees({ store });
    assertEquals(changed?.differences, [
      { layer: key, path: "/", what: "mode is 0755, was 1751" },
    ]);
    await Deno.chmod(`${store}/layer/${key}`, 0o1751);
    await Deno.remove(`${store}/l/${link}`);
    assertEquals((await checkTrees({ store }))[0]?.differences.length, 1);
    const view = { store, tree: id, pod: dir.join("lost"), readOnly: true };
    await assertRejects(() => renderOverlay(view), OverlayError, link);
    assertEquals((await imported(dir, layout)).changed, false);
    await Deno.remove(`${store}/layer/${key}`);
    await imported(dir, layout);
    assertEquals(await checkTrees({ store }), [{ id, differences: [] }]);
    assertEquals(await viewedRoot(dir, id, "view"), "1751 7:8 1111111111500 kept");
    await collectPods({ pod: dir.join("view") });
    await removeTree({ store, tree: id });
    assertEquals((await collectTrees({ store })).layers.length, 3);
    assertEquals([await namesIn(`${store}/layer`), await namesIn(`${store}/l`)], [[], []]);
  },
});

Deno.test({
  name: `a tree that was imported without the root of a view stays so${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const manifest = (id: string) => dir.join("store", "tree", id, "manifest");
    const layers = [[directory("./", CLOSED), entry("a")], [entry("b")]];
    const layout = await makeLayout(dir.join("layout"), layers.map((one) => tarOf(one)));
    const { id } = await imported(dir, layout);
    const { root: _, ...older } = JSON.parse(await Deno.readTextFile(manifest(id)));
    await Deno.writeTextFile(manifest(id), `${JSON.stringify(older, null, 2)}\n`);
    const request = { store: dir.join("store"), tree: id, pod: dir.join("pod"), readOnly: true };
    const { lower } = await renderOverlay(request);
    assertEquals(lower.length, 2);
    await imported(dir, layout);
    assertEquals((await renderOverlay(request)).changed, false);
    await unmountOverlay({ pod: request.pod });
  },
});

Deno.test({
  name: `hard links to a file that aufs kept aside are names of one file${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const kept = ".wh..wh.plnk/12.34";
    const link = (name: string) => entry(name, { type: "hardlink", link: kept });
    const top = [directory("./", CLOSED), directory("d", CLOSED), entry(kept), link("d/b")];
    const layers = [[directory("d"), entry("d/a")], [...top, link("c"), entry(".wh..wh.aufs")]];
    const layout = await makeLayout(dir.join("layout"), layers.map((one) => tarOf(one)));
    const { id } = await imported(dir, layout);
    const is = await renderedEntries(dir, id);
    assertEquals([...is.keys()].sort(), ["/", "/c", "/d", "/d/a", "/d/b"]);
    assertEquals([is.get("/d"), is.get("/c")], [CLOSED_WORDS, is.get("/d/b")]);
    assertMatch(is.get("/c") ?? "", / names=\/c \/d\/b$/);
    assertEquals(await viewedRoot(dir, id, "view"), "1751 7:8 1111111111500 kept");
  },
});

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
    for (let image = 0; image < 15; image++) {
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

/** Makes an image of layers, imports it, and says what is rendered of it. */
async function stack(
  dir: TempDir,
  name: string,
  layers: readonly (readonly TarEntry[])[],
): Promise<{ readonly id: string; readonly is: ReadonlyMap<string, string> }> {
  const layout = await makeLayout(dir.join(name), layers.map((one) => tarOf(one)));
  const { id } = await imported(dir, layout, { name });
  return { id, is: await renderedEntries(dir, id) };
}

Deno.test({
  name: `a layer that takes after what is below is another one on another base${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const base = [directory("d", CLOSED), entry("d/old")];
    const other = [directory("d", { mode: 0o700 }), entry("d/other")];
    const top = [entry("d/new"), entry("d/.wh.old")];
    const layers = async () => (await namesIn(dir.join("store/layer"))).length;

    // Alone it has nothing to take after, nor to remove; that must not be what others get.
    const alone = await stack(dir, "alone", [top]);
    assertEquals(brief(alone.is), { "/": ROOT_WORDS, "/d": PLAIN_WORDS, "/d/new": "file" });
    assertEquals(await layers(), 1);
    const one = await stack(dir, "one", [base, top]);
    assertEquals(brief(one.is), { "/": ROOT_WORDS, "/d": CLOSED_WORDS, "/d/new": "file" });
    assertEquals(await layers(), 3);
    const two = await stack(dir, "two", [other, top]);
    assertEquals(brief(two.is), {
      "/": ROOT_WORDS,
      "/d": "directory mode=0700 owner=0:0 mtime=1000000000",
      "/d/new": "file",
      "/d/other": "file",
    });
    assertEquals(await layers(), 5);
    assertEquals((await stack(dir, "again", [base, top])).id, one.id);
    assertEquals((await stack(dir, "more", [base, top, [entry("e")]])).is.get("/d"), CLOSED_WORDS);
    assertEquals(await layers(), 6);
    assertNotEquals(one.id, two.id);
  },
});

Deno.test({
  name: `a layer that needs nothing of what is below is there once, on any base${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const top = [directory("d", CLOSED), entry("d/new")];
    const one = await stack(dir, "one", [[entry("a")], top]);
    const two = await stack(dir, "two", [[entry("b")], top]);
    const same = await stack(dir, "same", [[entry("b")], top]);
    assertEquals((await namesIn(dir.join("store/layer"))).length, 3);
    const [a = "", b = ""] = [one.id, two.id].map((tree) => {
      return treePathSync({ store: dir.join("store"), tree })[0];
    });
    assertEquals(await Deno.realPath(a), await Deno.realPath(b));
    assertEquals(one.is.get("/d"), CLOSED_WORDS);
    assertEquals([...one.is.keys()], ["/", "/a", "/d", "/d/new"]);
    assertEquals([...two.is.keys()], ["/", "/b", "/d", "/d/new"]);

    // The same layers are the same tree, whatever the images are called; a name is one image's.
    assertEquals(same.id, two.id);
    const names = () => {
      const all = listTreesSync({ store: dir.join("store") });
      return Object.fromEntries(all.map(({ id, images }) => [id, images]));
    };
    assertEquals(names(), { [one.id]: ["one"], [two.id]: ["two", "same"] });
    await imported(dir, dir.join("one"), { name: "same" });
    assertEquals(names(), { [one.id]: ["one", "same"], [two.id]: ["two"] });
    assertEquals(
      treePathSync({ store: dir.join("store"), tree: "same" }),
      treePathSync({ store: dir.join("store"), tree: one.id }),
    );
  },
});

const LAYERS = 128;

/** Where the store is, and how a render then names its layers. */
const PLACES = [
  ["near the pod", "store", /lowerdir=\.\.\/store\/l\/[0-9a-f]{8}:/],
  ["far from the pod", `${"far/".repeat(50)}store`, /lowerdir=lower-[0-9a-f]+\/[0-9a-f]{8}:/],
] as const;

for (const [where, place, names] of PLACES) {
  Deno.test({
    name: `${LAYERS} layers ${where} are rendered, unmounted and restored${root.suffix}`,
    ignore: root.ignore,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      // Each has a file of its own and one that all have; each second one removes what its neighbour has.
      const archives = Array.from({ length: LAYERS }, (_, at) => {
        const own = `d/own-${at}`;
        const gone = at % 2 === 1 ? [entry(`d/.wh.gone-${at - 1}`)] : [entry(`d/gone-${at}`)];
        const entries = [...at === 0 ? [directory("d", CLOSED)] : [], entry(own), entry("all")];
        return tarOf([...entries, ...gone], { [own]: `${at}`, all: `of ${at}` });
      });
      const layout = await makeLayout(dir.join("layout"), archives);
      const [store, pod] = [dir.join(place), dir.join("pod")];
      await Deno.mkdir(parent(store), { recursive: true });
      const { id, layers } = await imported(dir, layout, { store });
      assertEquals(layers, LAYERS);
      const { rootfs, options } = await renderOverlay({ store, image: "test", pod, app: "app" });
      const readAll = async () => {
        assertEquals(await Deno.readTextFile(`${rootfs}/all`), `of ${LAYERS - 1}`);
        for (let at = 0; at < LAYERS; at++) {
          assertEquals(await Deno.readTextFile(`${rootfs}/d/own-${at}`), `${at}`);
        }
        assertEquals((await namesIn(`${rootfs}/d`)).length, LAYERS);
      };
      await readAll();
      assertMatch(options, names);
      assert((await kernelOptions(rootfs)).length < 4096);
      const is = await entriesOf(rootfs);
      assertEquals(is.get("/d"), CLOSED_WORDS);

      const status = async () => {
        return (await overlayStatus({ pod })).map((
          { tree, mounted, lower },
        ) => [tree, mounted, lower.length]);
      };
      assertEquals(await status(), [[id, true, LAYERS]]);
      await unmountOverlay({ pod });
      assertEquals(await status(), [[id, false, LAYERS]]);
      const { restored, failed } = await restoreOverlays({ pod });
      assertEquals([restored.length, failed], [0, []]);
      await renderOverlay({ store, image: "test", pod, app: "app" });
      await sh("umount", rootfs);
      assertEquals((await restoreOverlays({ pod })).restored.length, 1);
      await readAll();
      await Deno.writeTextFile(`${rootfs}/all`, "of the app");
      assertEquals(await Deno.readTextFile(`${rootfs}/all`), "of the app");
      if (umoci.ignore) return;
      assertSameEntries(is, await umociEntries(dir, `${layout}:test`), "umoci");
    },
  });
}
