import { assertEquals, assertStringIncludes } from "@std/assert";
import { withDefaults } from "../../lib/cli/defaults.ts";
import { BAKED } from "../../tools/flags.ts";
import { cli } from "../_cli.ts";
import { runMain } from "../_main.ts";
import { tempDir } from "../_temp.ts";
import { makeTree } from "../_tree.ts";

const VARIABLES: Record<string, string> = {
  OVERLAY_RENDER_STORE: "/stores/one",
  OVERLAY_RENDER_PODS: "/pods",
};

Deno.test("withDefaults() puts flags for variables where none is given", {
  permissions: "none",
}, () => {
  const [store, pods] = ["--store=/stores/one", "--pods=/pods"];
  const table: readonly [line: string, with_: string][] = [
    ["render --pod /p", `render ${store} --pod /p`],
    ["render --pod /p --store /s", "render --pod /p --store /s"],
    ["render --store=/s --pod /p", "render --store=/s --pod /p"],
    ["render --spec -", "render --spec -"],
    ["tree list", `tree list ${store}`],
    ["tree list --store /s", "tree list --store /s"],
    ["tree", "tree"],
    ["run --pod /p -- sh --store", `run ${store} --pod /p -- sh --store`],
    ["commit --name n", `commit ${store} --name n`],
    ["status", `status ${pods}`],
    ["status --pod /p", "status --pod /p"],
    ["status --pods=/q", "status --pods=/q"],
    ["restore", `restore ${pods}`],
    ["gc", `gc ${pods}`],
    ["gc --undo /p", "gc --undo /p"],
    // What unmounts everything must be asked for.
    ["unmount", "unmount"],
    ["keep --pod /p", "keep --pod /p"],
    ["doctor", "doctor"],
    ["unshare sh", "unshare sh"],
    ["--help", "--help"],
    ["nonsense", "nonsense"],
  ];
  for (const [line, wanted] of table) {
    assertEquals(withDefaults(line.split(" "), (name) => VARIABLES[name]).join(" "), wanted);
    assertEquals(withDefaults(line.split(" "), () => undefined).join(" "), line);
    assertEquals(withDefaults(line.split(" "), () => "").join(" "), line);
  }
});

Deno.test("main() takes a store from the variable, and a flag wins over it", async () => {
  await using dir = await tempDir();
  const variable = (name: string) => name === "OVERLAY_RENDER_STORE" ? dir.join("one") : undefined;
  const image = await makeTree(dir.join("image"));
  const { status, stderr } = await runMain(["tree", "import", image, "--name", "mine", "-q"], {
    variable,
  });
  assertEquals([status, stderr], [0, ""]);
  const listed = async (...more: string[]) => {
    const { stdout } = await runMain(["tree", "list", "--json", ...more], { variable });
    return JSON.parse(stdout).trees.length;
  };
  assertEquals([await listed(), await listed("--store", dir.join("two"))], [1, 0]);
  const spec = JSON.stringify({ pod: dir.join("pod"), apps: [{ app: "web", image: "mine" }] });
  const plan = await runMain(["plan", "--spec", "-"], { variable, input: () => spec });
  assertEquals(plan.status, 0, plan.stderr);
  assertStringIncludes(plan.stdout, dir.join("one"));
});

Deno.test("overlay-render reads variables where it may, and never asks", async () => {
  await using dir = await tempDir();
  const env = { OVERLAY_RENDER_STORE: dir.join("missing"), OVERLAY_RENDER_PODS: dir.join("pods") };
  await Deno.mkdir(dir.join("pods"));
  const listed = await cli(["tree", "list"], { env });
  assertStringIncludes(listed.stderr, dir.join("missing"));
  const status = await cli(["status"], { env });
  assertEquals([status.status, status.stdout], [0, ""]);
  const flags = BAKED.filter((flag) => flag !== "-E");
  const without = await cli(["status"], { env, flags });
  assertEquals(without.status, 2);
  assertStringIncludes(without.stderr, "--pod or --pods is required");
});
