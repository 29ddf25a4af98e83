import { assertEquals, assertStringIncludes } from "@std/assert";
import { collectFacts, findFileSystem } from "../../lib/preflight/disk_facts.ts";
import { preflight } from "../../lib/preflight/disk_rules.ts";
import { planRender } from "../../lib/plan/plan.ts";
import { diagnose } from "../../mod.ts";
import { runMain } from "../_main.ts";
import { sh, tempDir } from "../_temp.ts";
import { makeTree } from "../_tree.ts";

Deno.test("findFileSystem() sees what is mounted last on a mount point", async () => {
  await using dir = await tempDir();
  const root = dir.join("root");
  await Deno.mkdir(root);
  await sh("mount", "-t", "tmpfs", "tmpfs", root);
  await sh("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", root);
  assertEquals(await findFileSystem(root, {}), { type: "tmpfs", readOnly: true });
});

Deno.test("collectFacts() looks behind a symlink above a pod that is not there yet", async () => {
  await using dir = await tempDir();
  const image = await makeTree(dir.join("image"));
  await Deno.mkdir(dir.join("memory"));
  await sh("mount", "-t", "tmpfs", "tmpfs", dir.join("memory"));
  await Deno.symlink("memory", dir.join("link"));
  const { mounts: [mount] } = planRender({
    lower: image,
    pod: dir.join("link", "one"),
    app: "web",
  });
  const facts = await collectFacts(mount, {});
  const { dev } = await Deno.stat(dir.join("memory"));
  assertEquals(facts.devices, { upper: dev, work: dev });
  assertEquals(facts.fileSystem?.type, "tmpfs");
});

Deno.test("collectFacts() finds a new pod in its tree behind a symlink", async () => {
  await using dir = await tempDir();
  const image = await makeTree(dir.join("image"));
  await Deno.mkdir(dir.join("image", "pods"));
  await Deno.symlink("image/pods", dir.join("pods"));
  const { mounts: [mount] } = planRender({
    lower: image,
    pod: dir.join("pods", "one"),
    app: "web",
  });
  const codes = preflight(mount, await collectFacts(mount, {})).map(({ code }) => code);
  assertEquals(codes, ["in-use"]);
});

Deno.test("diagnose() looks behind a symlink above a pod that is not there yet", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("real"));
  await Deno.symlink("real", dir.join("link"));
  const { checks } = await diagnose({ pod: dir.join("link", "one") });
  const how = checks.find(({ name }) => name === "overlayfs")?.how ?? "";
  assertStringIncludes(how.replace("/link/", "/real/"), `mounted in ${dir.join("real")}/`);
});

Deno.test("overlay-render doctor prints nothing that a terminal acts on", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("a\u001b[31m\nb"));
  const { stdout } = await runMain(["doctor", "--pod", dir.join("a\u001b[31m\nb")]);
  assertEquals(stdout.includes("\u001b"), false);
});
