/**
 * Commits that are pushed to a real registry: skopeo finds there what is in the store.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { commitImage, OverlayError, renderOverlay } from "../../mod.ts";
import { importTree, inspectTreeSync, listTreesSync, pullTree } from "../../lib/store/tree.ts";
import { digestOf } from "../_archive.ts";
import { cli } from "../_cli.ts";
import { ATTRIBUTES, layerArchive, makeLayout, smallImage } from "../_image.ts";
import { assertEachNeeded } from "../_lacks.ts";
import { runMain } from "../_main.ts";
import { noise } from "../_random.ts";
import { noRegistry, startRegistry, USER } from "../_registry.ts";
import type { TestRegistry } from "../_registry.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { needs, skopeo } from "../_tool_images.ts";

const need = needs("skopeo");
const suffix = noRegistry ?? need.suffix;
const ignore = need.ignore || noRegistry !== null;

interface Pod {
  readonly store: string;
  readonly pod: string;
}

/** Renders an app of the image `base` of the store, and writes into it. */
async function begin(dir: TempDir): Promise<Pod> {
  const [store, pod] = [dir.join("store"), dir.join("pod")];
  const { rootfs } = await renderOverlay({ image: "base", store, pod, app: "web" });
  await Deno.writeTextFile(`${rootfs}/hello`, "from the app");
  return { store, pod };
}

async function importBase(dir: TempDir, keepBlobs = true): Promise<void> {
  const source = await smallImage(dir);
  const request = { source, store: dir.join("store"), name: "base", keepBlobs };
  await importTree({ ...request, ...ATTRIBUTES });
}

/** Pulls with skopeo, which checks each digest, and returns the digests of the manifest and of the layers. */
async function digestsThere(
  dir: TempDir,
  { host }: TestRegistry,
  name: string,
): Promise<{ readonly digest: string; readonly layers: readonly string[] }> {
  const to = await Deno.makeTempDir({ dir: dir.path });
  const how = ["--src-tls-verify=false", `--src-creds=${USER.name}:${USER.password}`];
  await skopeo(dir, ...how, `docker://${host}/${name}`, `dir:${to}`);
  const manifest = await Deno.readFile(`${to}/manifest.json`);
  const { layers } = JSON.parse(new TextDecoder().decode(manifest));
  const digest = await digestOf(manifest);
  return { digest, layers: layers.map((layer: { digest: string }) => layer.digest) };
}

for (const squash of [false, true]) {
  Deno.test({
    name: `commitImage() pushes what skopeo finds with the same digests${
      squash ? ", squashed" : ""
    }${suffix}`,
    ignore,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      await using registry = await startRegistry(dir);
      await importBase(dir);
      const app = await begin(dir);
      const to = { reference: `${registry.host}/a/b:1` };
      const { id, digest, pushed, image } = await commitImage({ ...app, name: "mine", squash, to });
      assertEquals([image, pushed?.digest], ["mine", digest]);
      const there = await digestsThere(dir, registry, "a/b:1");
      const inspected = inspectTreeSync({ store: app.store, tree: "mine" });
      assertEquals(there.digest, digest);
      assertEquals(there.layers, inspected.layers.map(({ digest }) => digest));
      assertEquals(inspected.id, id);
      const again = await commitImage({ ...app, name: "again", squash, to });
      // At most the config, which has the second of its commit.
      assert((again.pushed?.uploaded ?? 2) <= 1, `${again.pushed?.uploaded} blobs were uploaded`);
    },
  });
}

Deno.test({
  name:
    `commitImage() pushes layers of the base from the registry that it was pulled from${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using first = await startRegistry(dir);
    await using second = await startRegistry(dir);
    const layout = await makeLayout(dir.join("layout"), [
      await layerArchive(dir.join("l"), { base: noise(1000) }),
    ]);
    const from = `docker://${first.host}/base:1`;
    await skopeo(dir, "--dest-tls-verify=false", `oci:${layout}:test`, from);
    const store = dir.join("store");
    await pullTree({ reference: `${first.host}/base:1`, store, name: "base" });
    const { pod } = await begin(dir);
    const args = ["commit", `--pod=${pod}`, `--store=${store}`, "--name=mine"];
    const all = [...args, `--to=docker://${second.host}/a/b:1`, "--json"];
    const { stdout } = await runMain([...all, "--flags"]);
    const { flags } = JSON.parse(stdout) as { flags: readonly string[] };
    assert(
      flags.some((flag) => {
        return flag.startsWith("--allow-net=") && [first, second].every(({ host }) => {
          return flag.includes(host);
        });
      }),
      flags.join(" "),
    );
    const done = await cli([...all, "--quiet"], { flags });
    assertEquals([done.status, done.stderr], [0, ""]);
    const { digest, pushed } = JSON.parse(done.stdout);
    assertEquals([pushed.digest, pushed.uploaded], [digest, 3]);
    assertEquals((await digestsThere(dir, second, "a/b:1")).digest, digest);
  },
});

Deno.test({
  name: `a commit that a registry does not take is in the store all the same${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    await importBase(dir, false);
    const { pod, store } = await begin(dir);
    const to = { reference: `${registry.host}/a/b:1` };
    const error = await assertRejects(
      () => commitImage({ pod, store, name: "mine", to }),
      OverlayError,
      "neither the registry nor the store has sha256:",
    );
    assertEquals(error.code, "missing");
    const names = listTreesSync({ store }).flatMap(({ images }) => images);
    assert(names.includes("mine"));
  },
});

Deno.test({
  name: `commit --to docker://REF needs each flag that it prints${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    await importBase(dir);
    const { pod, store } = await begin(dir);
    await Deno.writeTextFile(dir.join("auth.json"), "{}");
    const args = [
      ...["commit", `--pod=${pod}`, `--store=${store}`, "--name=mine"],
      ...[`--to=docker://${registry.host}/a/b:1`, `--authfile=${dir.join("auth.json")}`],
    ];
    const { stdout } = await runMain([...args, "--flags", "--json"]);
    const { flags } = JSON.parse(stdout) as { flags: readonly string[] };
    assert(flags.includes(`--allow-net=${registry.host}`), flags.join(" "));
    // Without it, the clock is asked.
    const needed = flags.filter((flag) => flag !== "--allow-env=SOURCE_DATE_EPOCH");
    assertEquals(needed.length, flags.length - 1);
    await assertEachNeeded(store, args, { flags: needed });
    const done = await cli(args, { flags });
    assertEquals(done.status, 0, done.stderr);
    assertEquals(done.stdout, `${inspectTreeSync({ store, tree: "mine" }).id}\n`);
    assertStringIncludes(done.stderr, " sent\n");
    await digestsThere(dir, registry, "a/b:1");
  },
});

Deno.test({
  name: `commit --to docker://REF reads the password from stdin, and prints it nowhere${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir, { auth: "htpasswd" });
    await importBase(dir);
    const { pod, store } = await begin(dir);
    const args = [
      ...["commit", `--pod=${pod}`, `--store=${store}`, "--name=mine", "--verbose"],
      ...[`--to=docker://${registry.host}/a/b:1`, `--username=${USER.name}`, "--password-stdin"],
    ];
    const wrong = await runMain(args, { input: () => "wrong\n" });
    assertEquals([wrong.status, wrong.stdout], [1, ""]);
    assertStringIncludes(wrong.stderr, "answered 401");
    const right = await runMain(args, { input: () => `${USER.password}\n` });
    assertEquals(right.status, 0, right.stderr);
    assert(!right.stderr.includes(USER.password));
    const { digest } = await digestsThere(dir, registry, "a/b:1");
    assertStringIncludes(right.stderr, "sent");
    assertEquals(inspectTreeSync({ store, tree: "mine" }).digest, digest);
  },
});

Deno.test("export to a registry: the error names commit", async () => {
  const { status, stderr } = await runMain(["export", "--pod=/pod", "--to=docker://host/mine"]);
  assertEquals(status, 2);
  assertStringIncludes(stderr, "overlay-render commit --name NAME --to REF");
});
