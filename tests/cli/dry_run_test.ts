/**
 * `--dry-run` and `--flags` of every command that changes something: a plan is printed, nothing is touched,
 * and the flags are exactly what the command then needs.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { keepPod, prepareOverlay, renderOverlay, renderPod } from "../../mod.ts";
import { COMMANDS } from "../../lib/cli/command_names.ts";
import { ALL_FLAGS } from "../../lib/cli/late_flags.ts";
import { TREE_FLAGS } from "../../lib/cli/tree_commands.ts";
import { importTree } from "../../lib/store/tree.ts";
import { cli } from "../_cli.ts";
import { ATTRIBUTES, smallImage } from "../_image.ts";
import { assertRefused, lacks } from "../_lacks.ts";
import { disk, runMain } from "../_main.ts";
import { sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS } from "../_tree.ts";

/** The commands without a plan: an import learns by unpacking what there is, and a listing changes nothing. */
const FLAGS_ONLY = ["tree import", "changes", "unshare"];

/** The commands that change nothing. */
const READERS = [
  "status",
  "doctor",
  "completion",
  "tree list",
  "tree path",
  "tree inspect",
  "tree check",
  "tree verify-all",
];

Deno.test("every command that changes something has --dry-run and --flags", {
  permissions: "none",
}, () => {
  const all = [
    ...COMMANDS.flatMap((name) => name === "tree" ? [] : [{ name, flags: ALL_FLAGS[name] }]),
    ...Object.entries(TREE_FLAGS).map(([name, { flags }]) => ({ name: `tree ${name}`, flags })),
  ];
  for (const { name, flags } of all) {
    const found = ["dry-run", "flags"].filter((flag) => flags.some(({ name }) => name === flag));
    const expected = READERS.includes(name) ? [] : ["dry-run", "flags"];
    assertEquals(found, FLAGS_ONLY.includes(name) ? ["flags"] : expected, name);
    const short = flags.find(({ short }) => short === "n")?.name;
    assertEquals(short, found.includes("dry-run") ? "dry-run" : undefined, name);
  }
});

interface Case {
  readonly name: string;
  /** Makes the state that the command changes, and gives its command line. */
  readonly arrange: (dir: TempDir) => Promise<string[]>;
}

async function rendered(dir: TempDir, app = "web"): Promise<string> {
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pods", "one");
  await renderOverlay({ lower, pod, app, options: MARKS, dest: dir.join("dest") });
  return pod;
}

async function prepared(dir: TempDir): Promise<string> {
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pods", "one");
  await prepareOverlay({ lower, pod, app: "web", options: MARKS, ephemeral: true });
  return pod;
}

async function imported(dir: TempDir): Promise<{ readonly store: string; readonly id: string }> {
  const store = dir.join("store");
  const { id } = await importTree({ source: await smallImage(dir), store, ...ATTRIBUTES });
  return { store, id };
}

const CASES: readonly Case[] = [
  { name: "unmount", arrange: async (dir) => ["unmount", "--pod", await rendered(dir)] },
  {
    name: "unmount of one app of two",
    arrange: async (dir) => {
      const lower = await makeTree(dir.join("image"));
      const pod = dir.join("pod");
      const apps = ["web", "db"].map((app) => ({ app, lower, options: MARKS }));
      await renderPod({ pod, apps });
      return ["unmount", "--pod", pod, "--app", "db"];
    },
  },
  {
    name: "restore",
    arrange: async (dir) => {
      const pod = await rendered(dir);
      await sh("umount", dir.join("dest", "rootfs"));
      return ["restore", "--pod", pod];
    },
  },
  { name: "keep", arrange: async (dir) => ["keep", "--pod", await prepared(dir)] },
  {
    name: "unkeep",
    arrange: async (dir) => {
      const pod = await prepared(dir);
      await keepPod(pod);
      return ["unkeep", "--pod", pod];
    },
  },
  { name: "gc of a mounted pod", arrange: async (dir) => ["gc", "--pod", await rendered(dir)] },
  {
    name: "gc of a directory",
    arrange: async (dir) => {
      await prepared(dir);
      return ["gc", "--pods", dir.join("pods"), "--grace-period", "0"];
    },
  },
  {
    name: "gc --undo",
    arrange: async (dir) => {
      const pod = await prepared(dir);
      assertEquals((await runMain(["gc", "--pod", pod, "--mark"])).status, 0);
      return ["gc", "--undo", pod];
    },
  },
  {
    name: "tree remove",
    arrange: async (dir) => {
      const { store, id } = await imported(dir);
      return ["tree", "remove", id, "--store", store];
    },
  },
  {
    name: "tree gc",
    arrange: async (dir) => {
      const { store, id } = await imported(dir);
      assertEquals((await runMain(["tree", "remove", id, "--store", store])).status, 0);
      return ["tree", "gc", "--store", store];
    },
  },
  {
    name: "tree prune",
    arrange: async (dir) => {
      const { store, id } = await imported(dir);
      const { stdout } = await runMain(["tree", "inspect", id, "--store", store, "--json"]);
      for (const name of JSON.parse(stdout).images) {
        assertEquals((await runMain(["tree", "untag", name, "--store", store, "-q"])).status, 0);
      }
      return ["tree", "prune", "--store", store];
    },
  },
];

for (const { name, arrange } of CASES) {
  Deno.test(`overlay-render ${name} needs each of the flags that --flags prints`, async () => {
    await using dir = await tempDir();
    const args = await arrange(dir);
    const before = await disk(dir.path);
    const text = await runMain([...args, "--dry-run"]);
    assertEquals([text.status, text.stderr], [0, ""]);
    assertMatch(text.stdout, /^operations:\n( {2}\S.*\n)+flags:\n( {2}--allow-.*\n)+$/);
    const json = JSON.parse((await runMain([...args, "-n", "--json"])).stdout);
    assert(json.operations.length > 0);
    const line = await runMain([...args, "--flags"]);
    assertEquals(line, { status: 0, stdout: `${json.flags.join(" ")}\n`, stderr: "" });
    assertEquals(await disk(dir.path), before);

    const flags = line.stdout.trim().split(" ");
    // A plan needs no more than what it plans.
    assertEquals((await cli([...args, "--flags"], { flags })).stdout, line.stdout);
    await assertRefused(dir.path, args, lacks(flags));
    const done = await cli(args, { flags });
    assertEquals([done.status, done.stderr], [0, ""]);
    assert(await disk(dir.path) !== before);
  });
}

Deno.test("overlay-render tree import --flags prints the flags that an import needs", async () => {
  await using dir = await tempDir();
  const source = await smallImage(dir);
  const attributes = ATTRIBUTES.userxattr ? ["--userxattr"] : [];
  const args = ["tree", "import", source, "--store", dir.join("store"), ...attributes];
  const before = await disk(dir.path);
  const { status, stdout, stderr } = await runMain([...args, "--flags"]);
  assertEquals([status, stderr], [0, ""]);
  assertEquals(await disk(dir.path), before);
  const flags = stdout.trim().split(" ");
  await assertRefused(dir.path, args, lacks(flags));
  const done = await cli([...args, "--quiet"], { flags });
  assertEquals([done.status, done.stderr], [0, ""]);
});
