import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { statusText } from "../../lib/cli/output.ts";
import { formatTable, shortTree } from "../../lib/cli/table.ts";
import { treesText } from "../../lib/cli/tree_output.ts";
import { importTree } from "../../lib/store/tree.ts";
import { BAKED } from "../../tools/flags.ts";
import { runMain } from "../_main.ts";
import { hasScript, onTerminal } from "../_terminal.ts";
import { tempDir } from "../_temp.ts";
import { makeTree } from "../_tree.ts";

const ID = `deps-sha512-5d973c60c6ca${"0".repeat(52)}`;
const PURE = { permissions: "none" } as const;

const STATUS = {
  pod: "/srv/pods/one",
  app: "web",
  tree: ID,
  rootfs: "/srv/pods/one/apps/web/rootfs",
  lower: ["/l"],
  upper: "/u",
  work: "/w",
  mounted: true,
};

Deno.test(
  "formatTable() puts the widest columns below their rows until the others fit",
  PURE,
  () => {
    const rows = [["a", "b".repeat(20), "c".repeat(10)], ["a", "-", "c"]];
    assertEquals(
      formatTable(["A", "B", "C"], rows, { columns: 40, colour: false }),
      [
        "A  B                     C",
        `a  ${"b".repeat(20)}  ${"c".repeat(10)}`,
        `a  -${" ".repeat(21)}c`,
        "",
      ].join("\n"),
    );
    assertEquals(
      formatTable(["A", "B", "C"], rows, { columns: 20, colour: false }),
      `A  C\n    B\na  cccccccccc\n    ${"b".repeat(20)}\na  c\n`,
    );
    assertEquals(
      formatTable(["A", "B", "C"], rows, { columns: 1, colour: false }),
      `A\n    B\n    C\na\n    ${"b".repeat(20)}\n    cccccccccc\na\n    c\n`,
    );
  },
);

Deno.test("status and tree list fit 80 columns, and shorten ids", PURE, () => {
  const one = statusText([STATUS]);
  assertEquals(
    one,
    `APP  TREE          STATE    ROOTFS
web  5d973c60c6ca  mounted  /srv/pods/one/apps/web/rootfs
`,
  );
  const tree = { id: ID, images: ["debian:12"], layers: 1, bytes: 1 << 20, entries: 5, pods: [] };
  const pods = Array.from({ length: 3 }, (_, at) => `/srv/pods/a-long-name-${at}`);
  const screen = { columns: 80, colour: false };
  const texts = [
    statusText([STATUS, { ...STATUS, mounted: false, drift: "not-recorded" }], true),
    statusText([{ ...STATUS, size: { bytes: 1e9, files: 1e5 } }], false, screen),
    treesText([tree, { ...tree, pods: pods.slice(0, 2) }], screen),
  ];
  for (const line of texts.join("").split("\n")) assert(line.length <= 80, line);
  // What does not fit stands alone, and whole.
  assertStringIncludes(treesText([{ ...tree, pods }], screen), `\n    ${pods.join(",")}\n`);
  assertEquals(treesText([{ ...tree, pods }]).split("\n").length, 3);
});

Deno.test("colours are for a screen that shows them", PURE, () => {
  const text = statusText([STATUS], false, { columns: 80, colour: true });
  assert(text.includes("\x1b[32mmounted\x1b[0m"));
  // deno-lint-ignore no-control-regex
  assertEquals(text.replaceAll(/\x1b\[\d+m/g, ""), statusText([STATUS]));
});

Deno.test("shortTree() leaves names alone that no import makes", PURE, () => {
  assertEquals(shortTree(ID), "5d973c60c6ca");
  for (const id of ["debian", `${ID}0`, "deps-sha512-5d97", `x${ID}`]) {
    assertEquals(shortTree(id), id);
  }
});

Deno.test("tree list has short ids in its table, and whole ones in --json", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const { id } = await importTree({ source: await makeTree(dir.join("image")), store });
  const { stdout } = await runMain(["tree", "list", "--store", store]);
  assertEquals(stdout.split("\n")[1]?.split(" ")[0], shortTree(id));
  const json = await runMain(["tree", "list", "--store", store, "--json"]);
  assertEquals(JSON.parse(json.stdout).trees[0].id, id);
});

const hasTerminal = await hasScript();

Deno.test({
  name: `tree list is coloured on a terminal${hasTerminal ? "" : " [skipped: needs script]"}`,
  ignore: !hasTerminal,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const store = dir.join("store");
    const { id } = await importTree({ source: await makeTree(dir.join("image")), store });
    const args = ["tree", "list", "--store", store];
    // These helpers set NO_COLOR, which an empty value takes back.
    const shown = await onTerminal(args, BAKED, { NO_COLOR: "" });
    assertStringIncludes(shown.stdout, "\x1b[1mTREE");
    assertStringIncludes(shown.stdout, shortTree(id));
    const plain = await onTerminal(args, BAKED);
    assert(!plain.stdout.includes("\x1b"), plain.stdout);
  },
});
