/**
 * Images of the store in a real registry: the tools of others pull what was pushed, with the same digests.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import { importTree, pullTree, pushTree } from "../../lib/store/tree.ts";
import type { PushRequest } from "../../lib/store/tree.ts";
import { digestOf } from "../_archive.ts";
import { cli } from "../_cli.ts";
import { ATTRIBUTES, layerArchive, makeLayout, smallImage } from "../_image.ts";
import { assertEachNeeded } from "../_lacks.ts";
import { runMain } from "../_main.ts";
import { noise } from "../_random.ts";
import { noRegistry, startRegistry, USER } from "../_registry.ts";
import type { Auth, TestRegistry } from "../_registry.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { needs, Podman, skopeo } from "../_tool_images.ts";

const need = needs("skopeo");
const suffix = noRegistry ?? need.suffix;
const ignore = need.ignore || noRegistry !== null;

function wanted(
  dir: TempDir,
  { host, certs }: TestRegistry,
  name: string,
  auth: Auth = "plain",
): PushRequest {
  return {
    tree: "mine",
    reference: `${host}/${name}`,
    store: dir.join("store"),
    ...(certs === "" ? {} : { certDir: certs }),
    ...(auth === "plain" ? {} : { username: USER.name, password: USER.password }),
  };
}

async function put(dir: TempDir, source: string, keepBlobs = true): Promise<string | null> {
  const request = { source, store: dir.join("store"), name: "mine", keepBlobs, ...ATTRIBUTES };
  return (await importTree(request)).digest;
}

/** Pulls with skopeo, and returns the digest of what it has got. */
async function digestThere(dir: TempDir, { host }: TestRegistry, name: string): Promise<string> {
  const to = await Deno.makeTempDir({ dir: dir.path });
  const how = ["--src-tls-verify=false", `--src-creds=${USER.name}:${USER.password}`];
  await skopeo(dir, ...how, `docker://${host}/${name}`, `dir:${to}`);
  return digestOf(await Deno.readFile(`${to}/manifest.json`));
}

for (const auth of ["plain", "htpasswd", "token"] as const) {
  for (const tls of [false, true]) {
    Deno.test({
      name: `pushTree() pushes to a registry, ${auth}, ${tls ? "TLS" : "http"}${suffix}`,
      ignore,
      async fn(): Promise<void> {
        await using dir = await tempDir();
        await using registry = await startRegistry(dir, { auth, tls });
        const digest = await put(dir, await smallImage(dir));
        const pushed = await pushTree(wanted(dir, registry, "a/b:1", auth));
        assertEquals([pushed.digest, pushed.uploaded, pushed.mounted], [digest, 3, 0]);
        assertEquals(await digestThere(dir, registry, "a/b:1"), digest);

        const again = await pushTree(wanted(dir, registry, "a/b:2", auth));
        assertEquals([again.uploaded, again.mounted], [0, 0], "the same repository");
        const other = await pushTree(wanted(dir, registry, "c/d:1", auth));
        assertEquals([other.uploaded, other.mounted], [0, 3], "another repository");
        assertEquals(await digestThere(dir, registry, "c/d:1"), digest);
      },
    });
  }
}

Deno.test({
  name: `pushTree() sends a large layer in one request, and Docker's manifest as it was${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    const archive = await layerArchive(dir.join("layer"), { noise: noise(20 << 20) });
    const layout = await makeLayout(dir.join("large"), [archive]);
    await skopeo(dir, "--format=v2s2", `oci:${layout}:test`, `dir:${dir.join("docker")}`);
    for (const [source, name] of [[layout, "a/b:oci"], [dir.join("docker"), "c/d:v2s2"]] as const) {
      const digest = await put(dir, source);
      let sent = 0;
      const pushed = await pushTree(wanted(dir, registry, name), { onSent: (_, n) => sent += n });
      assertEquals(pushed.digest, digest);
      assert(sent > 20 << 20 || pushed.mounted === 1, `${name}: ${sent}`);
      assertEquals(await digestThere(dir, registry, name), digest);
    }
  },
});

Deno.test({
  name: `pushTree() pushes what podman pulls, with the same digest${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    const digest = await put(dir, await smallImage(dir));
    await pushTree(wanted(dir, registry, "a/b:1"));
    await using podman = await Podman.make(dir);
    const name = `${registry.host}/a/b:1`;
    await podman.run("pull", "--quiet", "--tls-verify=false", name);
    assertEquals(await podman.run("image", "inspect", "--format={{.Digest}}", name), digest);
  },
});

Deno.test({
  name: `pushTree() takes a blob that is not kept from where the image was pulled${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using first = await startRegistry(dir);
    await using second = await startRegistry(dir);
    const archive = await layerArchive(dir.join("layer"), { noise: noise(10 << 20) });
    const layout = await makeLayout(dir.join("large"), [archive]);
    const to = `docker://${first.host}/a/b:1`;
    await skopeo(dir, "--dest-tls-verify=false", `oci:${layout}:test`, to);
    const store = dir.join("store");
    const { digest } = await pullTree({ reference: `${first.host}/a/b:1`, store, name: "mine" });

    const near = await pushTree(wanted(dir, first, "c/d:1"));
    assertEquals([near.digest, near.uploaded, near.mounted], [digest, 0, 2]);
    const far = await pushTree(wanted(dir, second, "a/b:1"));
    assertEquals([far.digest, far.uploaded], [digest, 2]);
    assertEquals(await digestThere(dir, second, "a/b:1"), digest);
  },
});

Deno.test({
  name: `pushTree() names the blobs that are nowhere, and sends nothing${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    const layout = await smallImage(dir);
    await put(dir, layout, false);
    const error = await assertRejects(
      () => pushTree(wanted(dir, registry, "a/b:1")),
      OverlayError,
      "neither the registry nor the store has sha256:",
    );
    assertEquals(error.code, "missing");
    assertStringIncludes(error.hint ?? "", "--keep-blobs");
    const tags = await fetch(`${registry.origin}/v2/a/b/tags/list`);
    await tags.body?.cancel();
    assertEquals(tags.status, 404);
  },
});

Deno.test({
  name:
    `tree push works with the flags that it prints, and without any of them exits with 4${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    const digest = await put(dir, await smallImage(dir));
    await Deno.writeTextFile(dir.join("auth.json"), "{}");
    const store = dir.join("store");
    const args = [
      ...["tree", "push", "mine", `${registry.host}/a/b:1`, "--store", store],
      ...["--authfile", dir.join("auth.json")],
    ];
    const planned = await runMain([...args, "--flags", "--json"]);
    assertEquals([planned.status, planned.stderr], [0, ""]);
    const { flags } = JSON.parse(planned.stdout) as { flags: string[] };
    assert(flags.includes(`--allow-net=${registry.host}`));
    await assertEachNeeded(store, args, { flags });
    const pushed = await cli([...args, "--quiet"], { flags });
    assertEquals([pushed.status, pushed.stderr], [0, ""]);
    assertEquals(pushed.stdout, `${registry.host}/a/b@${digest}\n`);
  },
});

Deno.test({
  name: `tree push reads the password from stdin, and prints it nowhere${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir, { auth: "htpasswd" });
    const digest = await put(dir, await smallImage(dir));
    const args = [
      ...["tree", "push", "mine", `${registry.host}/a/b:1`, "--store", dir.join("store")],
      ...["--username", USER.name, "--password-stdin", "--verbose"],
    ];
    const wrong = await runMain(args, { input: () => "wrong\n" });
    assertEquals([wrong.status, wrong.stdout], [1, ""]);
    assertStringIncludes(wrong.stderr, "answered 401");
    const right = await runMain(args, { input: () => `${USER.password}\n` });
    assertEquals([right.status, right.stdout], [0, `${registry.host}/a/b@${digest}\n`]);
    for (const secret of [USER.password, btoa(`${USER.name}:${USER.password}`)]) {
      assert(!right.stderr.includes(secret));
    }
  },
});
