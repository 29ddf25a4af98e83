/**
 * Trees of the store that were changed since they were imported: each difference is found, and nothing
 * else.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { checkTrees, importTree } from "../../lib/store/tree.ts";
import { makeLayout } from "../_image.ts";
import { runMain } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import { directory, entry, makeOdd, makeOdder, put, script, tarOf } from "../_tool_images.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { namesIn } from "../_tree.ts";

const suffix = isRealRoot ? "" : " [skipped: needs root]";

/** Something that changes a tree, and what a check then says; nothing where a look does not see it. */
interface Change {
  readonly name: string;
  /** A script that changes it, in its directory. */
  readonly script: string;
  /** Entries that are put there. */
  readonly put?: Parameters<typeof entry>;
  /** All that a check says, by path. */
  readonly found: Readonly<Record<string, readonly RegExp[]>>;
}

/** What `--quick` does not see: contents, attributes, and the numbers of devices. */
const UNSEEN = /^\^(sha256digest|xattr|device)/;

const CHANGES: readonly Change[] = [
  {
    name: "content, of the same size and time",
    script: `touch -r etc/hello time; printf 'HELLO\n' >etc/hello; touch -r time etc/hello`,
    found: { "/etc/hello": [/^sha256digest is [0-9a-f]{64}, was [0-9a-f]{64}$/] },
  },
  {
    name: "size",
    script: `touch -r nothing time; printf more >nothing; touch -r time nothing`,
    found: { "/nothing": [/^size is 4, was 0$/, /^sha256digest is [0-9a-f]{64}, was e3b0c4/] },
  },
  {
    name: "a time by a nanosecond",
    script: `touch -d '2001-02-03 04:05:06.789012346 UTC' ns`,
    found: { "/ns": [/^time is 981173106.789012346, was 981173106.789012345$/] },
  },
  {
    name: "a mode",
    script: "chmod 0755 bin/suid",
    found: { "/bin/suid": [/^mode is 0755, was 4755$/] },
  },
  {
    name: "the mode of a directory",
    script: "chmod 0755 tmp",
    found: { "/tmp": [/^mode is 0755, was 1777$/] },
  },
  { name: "the root's mode", script: "chmod 0700 .", found: { "/": [/^mode is 0700, was 0755$/] } },
  { name: "an owner", script: "chown 5 owner", found: { "/owner": [/^uid is 5, was 3000000$/] } },
  { name: "a group", script: "chgrp -h 5 dangling", found: { "/dangling": [/^gid is 5, was 0$/] } },
  {
    name: "where a link leads",
    script: `: >time; touch -hr dangling time; ln -sfn elsewhere dangling; touch -hr time dangling`,
    found: { "/dangling": [/^link is elsewhere, was nowhere$/] },
  },
  {
    name: "an added file",
    script: `printf new >"$(printf 'new\\344\\nx')"`,
    found: { "/new\\344\\012x": [/^unexpected$/] },
  },
  { name: "a removed file", script: "rm none", found: { "/none": [/^is gone$/] } },
  {
    name: "a removed directory",
    script: "rm -r closed",
    found: { "/closed": [/^is gone$/], "/closed/file": [/^is gone$/] },
  },
  {
    name: "a file of another type",
    script: `touch -r fifo time; rm fifo; ln -s a fifo; touch -hr time fifo`,
    found: {
      "/fifo": [
        /^type is link, was fifo$/,
        /^mode is not set, was 0620$/,
        /^link is a, was not set$/,
      ],
    },
  },
  {
    name: "a device",
    script: `touch -r null time; rm null; mknod -m 0666 null c 1 5; touch -r time null`,
    found: { "/null": [/^device is 1,5, was 1,3$/] },
  },
  {
    name: "an attribute",
    script: "",
    put: ["etc/attr", { attributes: new Map([["user.note", "other"]]) }],
    found: {
      "/etc/attr": [
        /^xattr\.user\.binary is not set, was AAH\/Cj09$/,
        /^xattr\.user\.note is b3RoZXI=, was cGxhaW4=$/,
      ],
    },
  },
  {
    name: "a capability",
    script: "",
    put: ["bin/capable", { mode: 0o755 }],
    found: {
      "/bin/capable": [/^xattr\.security\.capability is not set, was AQAA[A-Za-z0-9+/=]+$/],
    },
  },
];

/** Runs a script that may leave a file `time`, and gives its directory and `etc` their times again. */
async function change(
  dir: TempDir,
  root: string,
  { script: text, put: added }: Change,
): Promise<void> {
  await script(
    dir,
    root,
    `for at in . etc bin; do touch -r $at "$OLDPWD/time-$at"; done
     ${text}
     rm -f time`,
  );
  if (added !== undefined) await put(root, entry(...added));
  await script(dir, root, `for at in . etc bin; do touch -r "$OLDPWD/time-$at" $at; done`);
}

/** A tree of the store, and where the directory is that is changed. */
interface Kept {
  readonly tree: string;
  readonly layer: string | null;
  readonly root: string;
}

/** The odd tree as a layer on another one, and as a tree of one directory. */
async function keep(dir: TempDir, kind: "layer" | "directory"): Promise<Kept> {
  const odd = dir.join("odd");
  await makeOdd(dir, odd);
  await makeOdder(dir, odd);
  await script(dir, odd, "chmod 0755 .");
  const store = dir.join("store");
  const how = { store };
  if (kind === "directory") {
    const { id } = await importTree({ source: odd, ...how });
    return { tree: id, layer: null, root: `${store}/tree/${id}/rootfs` };
  }
  const archive = dir.join("odd.tar");
  const xattrs = "--format=posix --xattrs --xattrs-include='*'";
  await script(dir, odd, `tar ${xattrs} -cf ${archive} .`);
  const below = tarOf([directory(""), entry("below")]);
  const layout = await makeLayout(dir.join("layout"), [below, await Deno.readFile(archive)]);
  const before = await namesIn(store).catch(() => []);
  assertEquals(before, []);
  const { id } = await importTree({ source: layout, ...how });
  for (const layer of await namesIn(`${store}/layer`)) {
    const root = `${store}/layer/${layer}`;
    if ((await namesIn(root)).includes("etc")) return { tree: id, layer, root };
  }
  throw new Error("the layer is not there");
}

for (const kind of ["layer", "directory"] as const) {
  Deno.test({
    name: `checkTrees() finds each change of a ${kind}, and nothing else${suffix}`,
    ignore: !isRealRoot,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      const { tree, layer, root } = await keep(dir, kind);
      const store = dir.join("store");
      const all = async (quick: boolean) => {
        const [checked] = await checkTrees({ store, tree, quick });
        return checked?.differences ?? [];
      };
      for (const quick of [false, true]) assertEquals(await all(quick), []);
      const kept = dir.join("kept");
      await script(dir, dir.path, `cp -a ${root} ${kept}`);
      for (const one of CHANGES) {
        await change(dir, root, one);
        for (const quick of [true, false]) {
          const found = await all(quick);
          const must = Object.entries(one.found).flatMap(([path, patterns]) => {
            return patterns.filter(({ source }) => !(quick && UNSEEN.test(source)))
              .map((pattern) => ({ path, pattern }));
          });
          const told = `${one.name}: ${JSON.stringify(found)}`;
          assertEquals(found.length, must.length, told);
          for (const { path, pattern } of must) {
            const like = found.filter((is) => is.path === path && pattern.test(is.what));
            assertEquals(like.map((is) => is.layer), [layer], told);
          }
        }
        await script(dir, dir.path, `rm -r ${root} && cp -a ${kept} ${root}`);
        assertEquals(await all(false), [], `after ${one.name}`);
      }
    },
  });
}

Deno.test({
  name: `overlay-render tree check says what is not as it was${suffix}`,
  ignore: !isRealRoot,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const { tree, layer, root } = await keep(dir, "layer");
    const store = `--store=${dir.join("store")}`;
    assertEquals((await runMain(["tree", "check", tree, store, "--json"])).status, 0);
    await Deno.chmod(`${root}/none`, 0o600);
    const { status, stdout, stderr } = await runMain(["tree", "check", tree, store, "--json"]);
    assertEquals([status, stderr], [1, ""]);
    assertEquals(JSON.parse(stdout), {
      version: 1,
      trees: [{
        id: tree,
        differences: [{ layer, path: "/none", what: "mode is 0600, was 0000" }],
      }],
    });
    const quick = await runMain(["tree", "verify-all", store, "--quick"]);
    assertEquals(quick.status, 1);
    assert(quick.stdout.includes("/none mode is 0600, was 0000"), quick.stdout);
  },
});
