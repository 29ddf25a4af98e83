/**
 * Images in a real registry, put there by the tools of others: what is pulled and rendered is what those
 * tools show of them.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import { pullTree } from "../../lib/store/pull_tree.ts";
import type { PullRequest } from "../../lib/store/pull_tree.ts";
import { checkTrees, importTree } from "../../lib/store/tree.ts";
import { layerArchive, makeLayout, smallImage } from "../_image.ts";
import { noise } from "../_random.ts";
import { cuttingProxy, noRegistry, startRegistry, USER } from "../_registry.ts";
import type { Auth, TestRegistry } from "../_registry.ts";
import { assertEachNeeded } from "../_lacks.ts";
import { cli } from "../_cli.ts";
import { runMain } from "../_main.ts";
import { exists } from "@std/fs/exists";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import {
  assertSameEntries,
  Buildah,
  imported,
  makeOdd,
  needs,
  Podman,
  renderedEntries,
  skopeo,
  UmociImage,
  withoutRoot,
} from "../_tool_images.ts";

const need = needs("umoci", "skopeo", "buildah");
const suffix = noRegistry ?? need.suffix;
const ignore = need.ignore || noRegistry !== null;

/** An image with entries of all kinds in two layers. */
async function oddImage(dir: TempDir): Promise<UmociImage> {
  const image = await UmociImage.make(dir);
  await image.change((rootfs) => makeOdd(dir, rootfs));
  await image.change((rootfs) => Deno.writeTextFile(`${rootfs}/more`, "more"));
  return image;
}

/** Puts an image into a registry with skopeo. */
async function push(
  dir: TempDir,
  registry: TestRegistry,
  from: string,
  to: string,
  ...how: string[]
): Promise<void> {
  const user = `--dest-creds=${USER.name}:${USER.password}`;
  await skopeo(
    dir,
    ...how,
    user,
    "--dest-tls-verify=false",
    from,
    `docker://${registry.host}/${to}`,
  );
}

/** The request for an image of a registry. */
function wanted(
  dir: TempDir,
  { host, certs }: TestRegistry,
  name: string,
  auth: Auth,
): PullRequest {
  return {
    reference: `${host}/${name}`,
    store: dir.join("store"),
    ...(certs === "" ? {} : { certDir: certs }),
    ...(auth === "htpasswd" ? { username: USER.name, password: USER.password } : {}),
  };
}

for (const auth of ["plain", "htpasswd", "token"] as const) {
  for (const tls of [false, true]) {
    Deno.test({
      name: `pullTree() pulls from a registry, ${auth}, ${tls ? "TLS" : "http"}${suffix}`,
      ignore,
      async fn(): Promise<void> {
        await using dir = await tempDir();
        const layout = await smallImage(dir);
        await using registry = await startRegistry(dir, { auth, tls });
        await push(dir, registry, `oci:${layout}:test`, "a/b:1");

        const tree = await pullTree(wanted(dir, registry, "a/b:1", auth));

        const checked = await checkTrees({ store: dir.join("store"), tree: tree.id });
        assertEquals(checked, [{ id: tree.id, differences: [] }]);
        // The same layers are the same tree.
        assertEquals((await importTree({ source: layout, store: dir.join("other") })).id, tree.id);
      },
    });
  }
}

Deno.test({
  name: `pullTree() says what to do where a registry asks for credentials${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir, { auth: "htpasswd" });
    const request = {
      reference: `${registry.host}/a/b`,
      store: dir.join("store"),
      authFile: "/none",
    };
    const refused = await assertRejects(() => pullTree(request), OverlayError, "answered 401");
    assertEquals(refused.code, "unauthorized");
    assertStringIncludes(refused.hint ?? "", "podman login");
    const wrong = { ...request, username: USER.name, password: "wrong" };
    assertEquals((await assertRejects(() => pullTree(wrong), OverlayError)).code, "unauthorized");

    await Deno.writeTextFile(
      dir.join("auth.json"),
      JSON.stringify({
        auths: { [registry.host]: { auth: btoa(`${USER.name}:${USER.password}`) } },
      }),
    );
    const known = { ...request, authFile: dir.join("auth.json") };
    assertEquals((await assertRejects(() => pullTree(known), OverlayError)).code, "missing");
  },
});

/** The forms in which tools put an image into a registry. */
const FORMS: readonly (readonly [what: string, auth: Auth, ...how: string[]])[] = [
  ["OCI", "plain", "--format=oci"],
  ["OCI", "htpasswd", "--format=oci"],
  ["Docker v2s2", "plain", "--format=v2s2"],
  ["Docker v2s2", "token", "--format=v2s2"],
  ["zstd", "htpasswd", "--format=oci", "--dest-compress-format=zstd"],
];

for (const [what, auth, ...how] of FORMS) {
  const tls = auth !== "plain";
  Deno.test({
    name: `pullTree() pulls what skopeo pushed as ${what}, ${auth}, ${
      tls ? "TLS" : "http"
    }${suffix}`,
    ignore,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      const image = await oddImage(dir);
      await using registry = await startRegistry(dir, { auth, tls });
      // What is compressed already stays so.
      const plain = `dir:${dir.join("plain")}`;
      await skopeo(dir, "--dest-decompress", `oci:${image.layout}:latest`, plain);
      await push(dir, registry, plain, "a/b:1", ...how);
      const tree = await pullTree(wanted(dir, registry, "a/b:1", auth));
      assertSameEntries(await renderedEntries(dir, tree.id), await image.entries(), what);
    },
  });
}

for (const auth of ["plain", "token"] as const) {
  const tls = auth !== "plain";
  Deno.test({
    name: `pullTree() pulls what buildah pushed, and shows what buildah mounts, ${auth}, ${
      tls ? "TLS" : "http"
    }${suffix}`,
    ignore,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      const image = await oddImage(dir);
      await using registry = await startRegistry(dir, { auth, tls });
      const buildah = new Buildah(dir, "vfs");
      const id = (await buildah.run("pull", "--quiet", `oci:${image.layout}:latest`)).trim();
      const how = ["--quiet", "--tls-verify=false", `--creds=${USER.name}:${USER.password}`];
      await buildah.run("push", ...how, id, `docker://${registry.host}/a/b:1`);
      const tree = await pullTree(wanted(dir, registry, "a/b:1", auth));
      const is = withoutRoot(await renderedEntries(dir, tree.id));
      assertSameEntries(is, await buildah.entries(id), "buildah");
    },
  });
}

/** Puts an index of images that are in a repository there, by their platforms. */
async function pushIndex(
  { origin }: TestRegistry,
  tag: string,
  images: readonly (readonly [layout: string, architecture: string])[],
): Promise<readonly string[]> {
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifests = await Promise.all(images.map(async ([layout, architecture]) => {
    const index = JSON.parse(await Deno.readTextFile(`${layout}/index.json`));
    const [{ digest, size }] = index.manifests;
    const os = architecture === "unknown" ? architecture : "linux";
    return { mediaType, digest, size, platform: { architecture, os } };
  }));
  const index = "application/vnd.oci.image.index.v1+json";
  const put = await fetch(`${origin}/v2/a/b/manifests/${tag}`, {
    method: "PUT",
    headers: { "content-type": index },
    body: JSON.stringify({ schemaVersion: 2, mediaType: index, manifests }),
  });
  assertEquals([put.status, await put.text()], [201, ""]);
  return manifests.map(({ digest }) => digest);
}

/** Forty layers, each with a file of its own, and one that hides that of the layer below. */
function makeForty(dir: TempDir): Promise<Uint8Array[]> {
  return Promise.all(Array.from({ length: 40 }, (_, at) => {
    const own = { [`d${at % 4}/f${at}`]: `${at}`, "same": `${at}` };
    const gone = at % 5 === 4 ? { [`d${(at - 1) % 4}/.wh.f${at - 1}`]: "" } : {};
    return layerArchive(dir.join(`layer-${at}`), { ...own, ...gone });
  }));
}

Deno.test({
  name:
    `pullTree() shows what podman mounts of forty layers, of an index, and of shared layers${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    const forty = await makeForty(dir);
    const all = await makeLayout(dir.join("all"), forty);
    const own = await layerArchive(dir.join("own"), { "own": "own", "d0/.wh..wh..opq": "" });
    const shared = await makeLayout(dir.join("shared"), [...forty.slice(0, 20), own]);
    const notes = await makeLayout(dir.join("notes"), [
      await layerArchive(dir.join("n"), { note: "" }),
    ]);
    for (const [layout, tag] of [[all, "all"], [shared, "shared"], [notes, "notes"]] as const) {
      await push(dir, registry, `oci:${layout}:test`, `a/b:${tag}`);
    }
    await pushIndex(registry, "index", [[notes, "unknown"], [all, "amd64"]]);
    await using podman = await Podman.make(dir);
    for (const [tag, layers] of [["all", 40], ["shared", 21], ["index", 40]] as const) {
      const platform = tag === "index" ? { platform: "linux/amd64" } : {};
      const request = { ...wanted(dir, registry, `a/b:${tag}`, "plain"), ...platform };
      const tree = await pullTree(request);
      assertEquals(tree.layers, layers);
      const is = withoutRoot(await renderedEntries(dir, tree.id));
      const name = `${registry.host}/a/b:${tag}`;
      const id = await podman.run("pull", "--quiet", "--tls-verify=false", name);
      assertSameEntries(is, await podman.entries(id), tag);
    }
  },
});

Deno.test({
  name:
    `pullTree() takes this machine's image out of an index, and none of what is said about it${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    const images: [layout: string, architecture: string][] = [];
    for (const architecture of ["unknown", "arm64", "amd64"]) {
      const archive = await layerArchive(dir.join(`of-${architecture}`), { name: architecture });
      const layout = await makeLayout(dir.join(architecture), [archive]);
      await push(dir, registry, `oci:${layout}:test`, `a/b:${architecture}`);
      images.push([layout, architecture]);
    }
    const digests = await pushIndex(registry, "multi", images);

    const request = { ...wanted(dir, registry, "a/b:multi", "plain"), platform: "linux/amd64" };
    const tree = await pullTree(request);

    assertEquals((await pullTree(request)).changed, false);
    assertEquals(tree.digest, digests.at(-1));
  },
});

Deno.test({
  name: `pullTree() fetches no layer that the store has: forty of them, one of them new${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    const archives = [];
    for (let at = 0; at < 40; at++) {
      archives.push(await layerArchive(dir.join(`l${at}`), { [`f${at}`]: `${at}` }));
    }
    const layout = await makeLayout(dir.join("forty"), archives);
    await push(dir, registry, `oci:${layout}:test`, "a/b:40");
    const store = dir.join("store");
    const first = await makeLayout(dir.join("most"), archives.slice(0, 39));
    await importTree({ source: first, store });
    const fetched: string[] = [];
    const request = wanted(dir, registry, "a/b:40", "plain");
    const tree = await pullTree(request, { onFetch: (digest) => fetched.push(digest) });
    assertEquals(tree.layers, 40);
    assertEquals(new Set(fetched).size, 2, "one layer, and the config");
    assertEquals((await renderedEntries(dir, tree.id)).size, 41);
  },
});

Deno.test({
  name: `tree pull --keep-blobs keeps what the registry has, once${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    const layout = await smallImage(dir);
    await push(dir, registry, `oci:${layout}:test`, "a/b:1");
    const request = wanted(dir, registry, "a/b:1", "plain");
    await pullTree(request);
    const blobs = dir.join("store", "blob");
    assertEquals(await exists(blobs), false);

    const fetched: string[] = [];
    const note = { onFetch: (digest: string) => void fetched.push(digest) };
    assertEquals((await pullTree({ ...request, keepBlobs: true }, note)).changed, false);
    const kept = await Array.fromAsync(Deno.readDir(`${blobs}/sha256`), ({ name }) => name);
    assertEquals([...new Set(fetched)].sort(), kept.map((hex) => `sha256:${hex}`).sort());
    for (const hex of kept) {
      const [is, must] = await Promise.all(
        [`${blobs}/sha256/${hex}`, `${layout}/blobs/sha256/${hex}`].map((path) => {
          return Deno.readFile(path);
        }),
      );
      assertEquals(is, must);
    }

    assertEquals((await pullTree({ ...request, keepBlobs: true }, note)).changed, false);
    assertEquals(fetched.length, 3, "an unchanged tag fetches nothing");
  },
});

Deno.test({
  name: `pullTree() goes on where a connection was cut, three times${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await using registry = await startRegistry(dir);
    // What does not compress is as long in the registry as it is here.
    const size = 12 << 20;
    const archive = await layerArchive(dir.join("layer"), { noise: noise(size) });
    const layout = await makeLayout(dir.join("noise"), [archive]);
    await push(dir, registry, `oci:${layout}:test`, "a/b:1");
    const cuts = Array.from({ length: 3 }, () => 100_000 + Math.floor(Math.random() * 2_000_000));
    await using proxy = cuttingProxy(registry.host, cuts);
    const request = wanted(dir, { ...registry, host: proxy.host }, "a/b:1", "plain");

    const tree = await pullTree(request, { wait: () => Promise.resolve() });

    assertEquals(proxy.cuts.length, 0, `not cut: ${cuts}`);
    assertEquals((await imported(dir, layout)).id, tree.id);
    assert(
      proxy.sent() < size + (1 << 20),
      `${proxy.sent()} bytes were sent, cut at ${cuts}`,
    );
  },
});

/** The registries that podman pushes to. */
const FOR_PODMAN: readonly (readonly [auth: Auth, tls: boolean])[] = [
  ["plain", false],
  ["htpasswd", true],
  ["token", true],
];

for (const [auth, tls] of FOR_PODMAN) {
  Deno.test({
    name: `pullTree() pulls what podman pushed, and shows what podman mounts, ${auth}, ${
      tls ? "TLS" : "http"
    }${suffix}`,
    ignore,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      const image = await oddImage(dir);
      for (let at = 0; at < 5; at++) {
        await image.change((rootfs) => Deno.writeTextFile(`${rootfs}/more`, `${at}`));
      }
      await using registry = await startRegistry(dir, { auth, tls });
      await using podman = await Podman.make(dir);
      const id = await podman.run("pull", "--quiet", `oci:${image.layout}:latest`);
      const to = `docker://${registry.host}/a/b:1`;
      const creds = auth === "plain" ? [] : [`--creds=${USER.name}:${USER.password}`];
      await podman.run("push", "--quiet", "--tls-verify=false", ...creds, id, to);

      const tree = await pullTree(wanted(dir, registry, "a/b:1", auth));

      const is = withoutRoot(await renderedEntries(dir, tree.id));
      assertSameEntries(is, await podman.entries(id), "podman");
    },
  });
}

Deno.test({
  name:
    `tree pull works with the flags that it prints, and without any of them exits with 4${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const layout = await smallImage(dir);
    await using registry = await startRegistry(dir);
    await push(dir, registry, `oci:${layout}:test`, "a/b:1");
    await Deno.writeTextFile(dir.join("auth.json"), "{}");
    const store = dir.join("store");
    const args = [
      ...["tree", "pull", `${registry.host}/a/b:1`, "--store", store],
      ...["--authfile", dir.join("auth.json")],
    ];
    const planned = await runMain([...args, "--flags", "--json"]);
    assertEquals([planned.status, planned.stderr], [0, ""]);
    const { flags } = JSON.parse(planned.stdout) as { flags: string[] };
    assert(flags.includes(`--allow-net=${registry.host}`));

    await assertEachNeeded(dir.path, args, { flags });

    const pulled = await cli([...args, "--quiet"], { flags });
    assertEquals([pulled.status, pulled.stderr], [0, ""]);
    const listed = await runMain(["tree", "list", "--store", store, "--json"]);
    const { trees: [tree] } = JSON.parse(listed.stdout);
    assertEquals([`${tree.id}\n`, tree.images], [pulled.stdout, [`${registry.host}/a/b:1`]]);
  },
});

Deno.test({
  name: `tree pull reads the password from stdin, and prints it nowhere${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const layout = await smallImage(dir);
    await using registry = await startRegistry(dir, { auth: "htpasswd" });
    await push(dir, registry, `oci:${layout}:test`, "a/b:1");
    const args = [
      ...["tree", "pull", `${registry.host}/a/b:1`, "--store", dir.join("store"), "--verbose"],
      ...["--username", USER.name, "--password-stdin"],
    ];
    const wrong = await runMain(args, { input: () => "wrong\n" });
    assertEquals([wrong.status, wrong.stdout], [1, ""]);
    assertStringIncludes(wrong.stderr, "answered 401");
    const right = await runMain(args, { input: () => `${USER.password}\n` });
    assertEquals(right.status, 0, right.stderr);
    for (const secret of [USER.password, btoa(`${USER.name}:${USER.password}`)]) {
      assert(!`${right.stdout}${right.stderr}`.includes(secret));
    }
  },
});

Deno.test({
  name: `tree pull --mirror asks a registry, and without any of its flags exits with 4${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const layout = await smallImage(dir);
    await using mirror = await startRegistry(dir);
    await push(dir, mirror, `oci:${layout}:test`, "hub/library/debian:12");
    await Deno.writeTextFile(dir.join("auth.json"), "{}");
    const store = dir.join("store");
    const args = [
      ...["tree", "pull", "debian:12", "--mirror", `http://${mirror.host}/hub`],
      ...["--store", store, "--authfile", dir.join("auth.json"), "--quiet"],
    ];
    const planned = await runMain([...args, "--flags", "--json"]);
    const { flags } = JSON.parse(planned.stdout) as { flags: string[] };
    await assertEachNeeded(dir.path, args, { flags });
    const { status, stderr } = await cli(args, { flags });
    assertEquals([status, stderr], [0, ""]);
    const listed = await runMain(["tree", "list", "--store", store, "--json"]);
    const { trees: [tree] } = JSON.parse(listed.stdout);
    assertEquals(tree.images, ["docker.io/library/debian:12"]);
  },
});

Deno.test({
  name: `tree pull --allow-foreign exits with 4 without the flag for a host that it names${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const layout = await smallImage(dir);
    await using registry = await startRegistry(dir);
    await push(dir, registry, `oci:${layout}:test`, "a/b:1");
    const accept = "application/vnd.oci.image.manifest.v1+json";
    const at = `${registry.origin}/v2/a/b`;
    const manifest = await (await fetch(`${at}/manifests/1`, { headers: { accept } })).json();
    const [layer, ...others] = manifest.layers;
    const mediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    const foreign = { ...layer, mediaType, urls: ["https://foreign.test/layer"] };
    const body = JSON.stringify({ ...manifest, layers: [foreign, ...others] });
    const headers = { "content-type": accept };
    const put = await fetch(`${at}/manifests/foreign`, { method: "PUT", headers, body });
    assertEquals([put.status, await put.text()], [201, ""]);
    const gone = await fetch(`${at}/blobs/${layer.digest}`, { method: "DELETE" });
    assertEquals([gone.status, await gone.text()], [202, ""]);
    await Deno.writeTextFile(dir.join("auth.json"), "{}");
    const args = [
      ...["tree", "pull", `${registry.host}/a/b:foreign`, "--allow-foreign", "--quiet"],
      ...["--store", dir.join("store"), "--authfile", dir.join("auth.json")],
    ];
    const planned = await runMain([...args, "--flags", "--json"]);
    const { flags } = JSON.parse(planned.stdout) as { flags: string[] };
    await assertEachNeeded(dir.path, args, { flags });
    const { status, stdout, stderr } = await cli(args, { flags });
    assertEquals([status, stdout], [4, ""], stderr);
    assertStringIncludes(stderr, "--allow-net=foreign.test:443");
    assertEquals(await exists(dir.join("store")), false);
  },
});
