/**
 * Renders that pull their image: what they take from the store, what the plan shows, and what they need.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { exists } from "@std/fs/exists";
import { renderOverlay, renderPod } from "../../mod.ts";
import type { ChangeOptions, PodRequest, RenderRequest } from "../../mod.ts";
import { InvalidValueError, OverlayError } from "../../lib/core/errors.ts";
import type { PullOptions } from "../../lib/store/pull_tree.ts";
import { pullTree } from "../../lib/store/pull_tree.ts";
import { resolveTreeSync } from "../../lib/store/tree.ts";
import { archive, file } from "../_archive.ts";
import { cli } from "../_cli.ts";
import { ATTRIBUTES, smallImage } from "../_image.ts";
import { runMain } from "../_main.ts";
import { assertEachNeeded } from "../_lacks.ts";
import { noRegistry, startRegistry } from "../_registry.ts";
import { FakeRegistry, HOST } from "../registry/_fake.ts";
import { needs, skopeo } from "../_tool_images.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { MARKS } from "../_tree.ts";

const IMAGE = `${HOST}/a/b:1`;

/** A registry with one small image. */
function fakeRegistry(): FakeRegistry {
  return new FakeRegistry([{ tar: archive(file("hello", "from the registry")) }]);
}

/** Options with which a render asks the registry of a test. */
function asking({ fetch }: FakeRegistry): ChangeOptions {
  return { fetch, wait: () => Promise.resolve() } as PullOptions;
}

function requestIn(dir: TempDir, more: Partial<RenderRequest> = {}): RenderRequest {
  const [store, pod] = [dir.join("store"), dir.join("pod")];
  return { image: IMAGE, store, pod, app: "web", options: MARKS, ...more };
}

async function hello(request: RenderRequest, options: ChangeOptions): Promise<string> {
  await using app = await renderOverlay(request, options);
  return await Deno.readTextFile(`${app.rootfs}/hello`);
}

Deno.test("renderOverlay() pulls an image that is missing, and asks no registry for one that is there", async () => {
  await using dir = await tempDir();
  const fake = fakeRegistry();
  const request = requestIn(dir, { pull: "missing" });
  assertEquals(await hello(request, asking(fake)), "from the registry");
  assert(fake.asked.length > 0);
  fake.asked.length = 0;
  assertEquals(await hello(request, asking(fake)), "from the registry");
  assertEquals(await hello(requestIn(dir), asking(fake)), "from the registry");
  assertEquals(await hello(requestIn(dir, { pull: "never" }), asking(fake)), "from the registry");
  assertEquals(fake.asked, []);
});

Deno.test("renderOverlay() with pull always asks for a tag each time, and takes what it names now", async () => {
  await using dir = await tempDir();
  const [fake, other] = [
    fakeRegistry(),
    new FakeRegistry([{ tar: archive(file("hello", "newer")) }]),
  ];
  const request = requestIn(dir, { pull: "always" });
  assertEquals(await hello(request, asking(fake)), "from the registry");
  fake.asked.length = 0;
  assertEquals(await hello(request, asking(fake)), "from the registry");
  assertEquals(fake.asked.map(({ method }) => method), ["HEAD"]);
  assertEquals(await hello({ ...request, app: "next" }, asking(other)), "newer");
});

Deno.test("renderPod() pulls each image once", async () => {
  await using dir = await tempDir();
  const fake = fakeRegistry();
  const app = { image: IMAGE, pull: "always", options: MARKS } as const;
  const request: PodRequest = {
    ...{ pod: dir.join("pod"), store: dir.join("store") },
    apps: [{ ...app, app: "a" }, { ...app, app: "b", pull: "missing" }],
  };
  await using pod = await renderPod(request, asking(fake));
  for (const { rootfs } of pod.renders) {
    assertEquals(await Deno.readTextFile(`${rootfs}/hello`), "from the registry");
  }
  assertEquals(fake.asked.filter(({ url }) => url.includes("/manifests/")).length, 1);
});

Deno.test("renderOverlay() leaves the store as it was where the pull fails, or the request is wrong", async () => {
  await using dir = await tempDir();
  const fake = fakeRegistry();
  const wrong: readonly (readonly [Partial<RenderRequest>, string])[] = [
    [{ image: `${HOST}/a/b:2`, pull: "missing" }, "missing"],
    [{ image: "UPPER/a//b", pull: "missing" }, "bad-reference"],
    [{ pull: "sometimes" as "missing" }, "invalid-value"],
    [{ pull: "missing", label: "" }, "invalid-value"],
    [{ pull: "missing", readOnly: true, mtab: true }, "invalid-value"],
  ];
  for (const [more, code] of wrong) {
    const request = requestIn(dir, more);
    const error = await assertRejects(() => renderOverlay(request, asking(fake)), OverlayError);
    assertEquals(error.code, code, error.message);
    assertEquals(await exists(dir.join("store")), false);
    assertEquals(await exists(dir.join("pod")), false);
  }
  const { image: _, ...bare } = requestIn(dir, { pull: "always", lower: dir.path });
  await assertRejects(() => renderOverlay(bare), InvalidValueError, "no image is named");
});

Deno.test("an image is found by its reference, with a tag, a digest or docker:// before it", async () => {
  await using dir = await tempDir();
  const fake = fakeRegistry();
  const store = dir.join("store");
  const { id } = await pullTree({ reference: IMAGE, store, name: "mine", ...ATTRIBUTES }, {
    fetch: fake.fetch,
  });
  const find = (image: string) => {
    const request: RenderRequest = { image, store, pod: dir.join("pod") };
    return resolveTreeSync(request).tree;
  };
  assertEquals(find("mine"), id);
  for (const prefix of ["", "docker://"]) {
    assertEquals(find(`${prefix}${HOST}/a/b@${fake.digest}`), id);
    assertEquals(find(`${prefix}${HOST}/a/b:1@${fake.digest}`), id);
  }
  await pullTree({ reference: IMAGE, store, ...ATTRIBUTES }, { fetch: fake.fetch });
  assertEquals([find(IMAGE), find(`docker://${IMAGE}`)], [id, id]);
  const others = [`${HOST}/a/c@${fake.digest}`, `${HOST}/a/b@${fake.digest.replace(/.$/, "x")}`];
  for (const image of [...others, `${HOST}/a/b`]) {
    try {
      find(image);
      assert(false, image);
    } catch (error) {
      assert(error instanceof OverlayError);
      assertEquals(error.code, "missing");
      assertStringIncludes(error.hint ?? "", `overlay-render tree pull ${image} --store ${store}`);
    }
  }
});

Deno.test("plan shows a pull, and the permissions of it", async () => {
  await using dir = await tempDir();
  const args = [
    ...["plan", "--image", "ghcr.io/owner/name:1", "--pod", dir.join("pod"), "--app", "web"],
    ...["--store", dir.join("store")],
  ];
  const missing = await runMain(args);
  assertEquals(missing.status, 1);
  assertStringIncludes(missing.stderr, "tree pull ghcr.io/owner/name:1 --store ");
  const { status, stdout, stderr } = await runMain([...args, "--pull", "missing"]);
  assertEquals([status, stderr], [0, ""]);
  const pull = `pull      ${dir.join("store")}  ghcr.io/owner/name:1, from its registry`;
  assertStringIncludes(stdout, pull);
  assertStringIncludes(stdout, "--allow-net=ghcr.io:443");
  assertStringIncludes(stdout, "/bin/tar");
  assertStringIncludes(stdout, "deps-sha512-unknown");
  const json = JSON.parse((await runMain([...args, "--pull=always", "--json"])).stdout);
  assertEquals(json.operations[0].reference, "ghcr.io/owner/name:1");
  const spec = JSON.stringify({
    ...{ pod: dir.join("pod"), store: dir.join("store") },
    apps: [{ app: "web", image: "debian:12", pull: "missing" }],
  });
  const planned = await runMain(["plan", "--spec", "-"], { input: () => spec });
  assertEquals([planned.status, planned.stderr], [0, ""]);
  assertStringIncludes(planned.stdout, "debian:12, from its registry");
  assertStringIncludes(planned.stdout, "registry-1.docker.io:443,auth.docker.io:443");
  assertEquals(await exists(dir.join("store")), false);
});

const need = needs("skopeo");

Deno.test({
  name: `render --pull works with the flags of its plan, and without any of them exits with 4${
    noRegistry ?? need.suffix
  }`,
  ignore: noRegistry !== null || need.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    const to = `docker://${registry.host}/a/b:1`;
    const layout = await smallImage(dir);
    await skopeo(dir, "--dest-tls-verify=false", `oci:${layout}:test`, to);
    await Deno.writeTextFile(dir.join("auth.json"), "{}");
    const env = { REGISTRY_AUTH_FILE: dir.join("auth.json") };
    const place = ["--store", dir.join("store"), "--pod", dir.join("pod"), "--app", "web"];
    const args = ["--image", `${registry.host}/a/b:1`, "--pull", "missing", ...place];
    const all = ["--allow-env", "--allow-read"];
    const planned = await cli(["plan", ...args, "--json"], { env, flags: all });
    assertEquals([planned.status, planned.stderr], [0, ""]);
    const { flags } = JSON.parse(planned.stdout) as { flags: string[] };
    await assertEachNeeded(dir.path, ["render", ...args], { env, flags });
    const { status, stdout, stderr } = await cli(["render", ...args, "--quiet"], { env, flags });
    assertEquals([status, stderr], [0, ""]);
    assert(await exists(stdout.trim()));
    await cli(["unmount", "--pod", dir.join("pod")]);
    // What is there is rendered without the network.
    const offline = flags.filter((flag) => !/^--allow-(net|env)/.test(flag));
    const again = await cli(["render", ...args, "--quiet"], { env, flags: offline });
    assertEquals([again.status, again.stderr], [0, ""]);
    await cli(["unmount", "--pod", dir.join("pod")]);
  },
});

Deno.test({
  name: `render --spec with a pull works with the flags of its plan, and no more${
    noRegistry ?? need.suffix
  }`,
  ignore: noRegistry !== null || need.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    const to = `docker://${registry.host}/a/b:1`;
    const layout = await smallImage(dir);
    await skopeo(dir, "--dest-tls-verify=false", `oci:${layout}:test`, to);
    await Deno.writeTextFile(dir.join("auth.json"), "{}");
    const env = { REGISTRY_AUTH_FILE: dir.join("auth.json") };
    const image = `${registry.host}/a/b:1`;
    const [pod, store, spec] = [dir.join("pod"), dir.join("store"), dir.join("spec.json")];
    const apps = [{ app: "web", image, pull: "missing" }, { app: "db", image, pull: "always" }];
    await Deno.writeTextFile(spec, JSON.stringify({ pod, store, apps }));
    const planned = await cli(["plan", "--spec", spec, "--json"], {
      env,
      flags: ["--allow-env", "--allow-read"],
    });
    assertEquals([planned.status, planned.stderr], [0, ""]);
    const { flags } = JSON.parse(planned.stdout) as { flags: string[] };
    const all = flags.map((flag) => flag.replace(/^--allow-read=/, `--allow-read=${spec},`));
    const args = ["render", "--spec", spec, "--quiet"];
    await assertEachNeeded(dir.path, args, { env, flags: all });
    const { status, stdout, stderr } = await cli(args, { env, flags: all });
    assertEquals([status, stderr], [0, ""]);
    for (const rootfs of stdout.trim().split("\n")) assert(await exists(`${rootfs}/file`));
    await cli(["unmount", "--pod", pod]);
  },
});
