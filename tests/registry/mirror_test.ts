/**
 * Mirrors, foreign layers, and layers that are fetched at once.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { exists } from "@std/fs/exists";
import { InvalidValueError, MissingPermissionError, OverlayError } from "../../lib/core/errors.ts";
import { parseImageReference } from "../../lib/registry/image_reference.ts";
import { atMirror } from "../../lib/registry/mirror.ts";
import { pullPermissions, pullTree } from "../../lib/store/pull_tree.ts";
import type { PullRequest } from "../../lib/store/pull_tree.ts";
import { importTree } from "../../lib/store/tree.ts";
import { archive, file, gzip } from "../_archive.ts";
import type { Json } from "../_archive.ts";
import { ATTRIBUTES } from "../_image.ts";
import { snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { FakeRegistry, HOST } from "./_fake.ts";

const LAYER = { tar: archive(file("hello", "from the registry")) };
const MIRROR = "mirror.test:5000";
const wait = () => Promise.resolve();

/** The places of Debian 12 at a mirror. */
const PLACES: readonly (readonly [mirror: string, at: string, plain?: true])[] = [
  ["mirror.test", "mirror.test/library/debian"],
  ["mirror.test:5000/", "mirror.test:5000/library/debian"],
  ["https://mirror.test/hub", "mirror.test/hub/library/debian"],
  ["http://localhost:5000/a/b", "localhost:5000/a/b/library/debian", true],
];

Deno.test("atMirror() puts the repository below the prefix", { permissions: "none" }, () => {
  for (const [mirror, at, plain = false] of PLACES) {
    const { reference, plainHttp } = atMirror(mirror, parseImageReference("debian:12"));
    assertEquals([`${reference.registry}/${reference.repository}`, plainHttp], [at, plain]);
    assertEquals(reference.tag, "12");
  }
  const debian = parseImageReference("debian:12");
  for (const mirror of ["", "mirror", "ftp://mirror.test", "mirror.test/UP", "a.b/c?d", "u@a.b"]) {
    assertThrows(() => atMirror(mirror, debian), InvalidValueError);
  }
});

/** Serves the repository of the fake at a mirror, too. */
function mirrored(fake: FakeRegistry): void {
  fake.override(new RegExp(`https://${MIRROR}/`), ({ method, url }) => {
    return fake.fetch(url.replace(`${MIRROR}/v2/hub/`, `${HOST}/v2/`), { method });
  });
}

function requestIn(dir: TempDir, more: Partial<PullRequest> = {}): PullRequest {
  const own = { reference: `${HOST}/a/b:1`, mirror: `${MIRROR}/hub`, store: dir.join("store") };
  return { ...own, ...ATTRIBUTES, ...more };
}

Deno.test("pullTree() takes an image from a mirror, under the name that it has at its registry", async () => {
  await using dir = await tempDir();
  const fake = new FakeRegistry([LAYER]);
  mirrored(fake);
  await Deno.writeTextFile(
    dir.join("auth.json"),
    JSON.stringify({ auths: { [HOST]: { auth: btoa("ruth:secret") } } }),
  );
  const request = requestIn(dir, { authFile: dir.join("auth.json") });
  const tree = await pullTree(request, { fetch: fake.fetch, wait });
  assertEquals([tree.image, tree.digest], [`${HOST}/a/b:1`, fake.digest]);
  const atFirst = fake.asked.map(({ url }) => new URL(url).host).filter((_, at) => at % 2 === 0);
  assertEquals(new Set(atFirst), new Set([MIRROR]));
  assertEquals(fake.asked.filter(({ authorization }) => authorization !== null), []);
});

/** The ways in which a mirror fails. */
const FAULTS: Readonly<Record<string, (fake: FakeRegistry) => Response>> = {
  "does not have it": () => new Response("", { status: 404 }),
  "asks for a user": () => new Response("", { status: 401 }),
  "is broken": () => new Response("", { status: 500 }),
  "sends another manifest": () => new Response("{}"),
  "leads to this machine": () => {
    return new Response(null, { status: 302, headers: { location: "https://127.0.0.1/" } });
  },
};

for (const [fault, answer] of Object.entries(FAULTS)) {
  Deno.test(`pullTree() asks the registry, with a warning, where a mirror ${fault}`, async () => {
    await using dir = await tempDir();
    const fake = new FakeRegistry([LAYER]);
    fake.override(new RegExp(`https://${MIRROR}/`), () => answer(fake));
    const warnings: string[] = [];
    const user = { username: "ruth", password: "secret" };
    const request = requestIn(dir, { ...user, reference: `${HOST}/a/b@${fake.digest}` });
    const options = { fetch: fake.fetch, wait, warn: (text: string) => void warnings.push(text) };
    const tree = await pullTree({ ...request, authFile: "/none" }, options);
    assertEquals(tree.digest, fake.digest);
    assertEquals(warnings.length, 1);
    assertStringIncludes(warnings[0] ?? "", `the mirror "${MIRROR}/hub" is left out: Cannot `);
    const given = fake.asked.filter(({ authorization }) => authorization !== null);
    assertEquals(given.filter(({ url }) => url.includes(MIRROR)), []);
  });
}

Deno.test("pullPermissions() has the hosts and certificates of a mirror", () => {
  const permissions = pullPermissions({ reference: "debian:12", mirror: "http://mirror.test/hub" });
  assertEquals(permissions.net, [
    "mirror.test:80",
    "registry-1.docker.io:443",
    "auth.docker.io:443",
  ]);
  assert(permissions.read.includes("/etc/containers/certs.d/mirror.test"));
});

/** An image whose layer is foreign, and in no registry. */
function foreignImage(url: string, mediaType?: string): FakeRegistry {
  const type = mediaType ?? "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
  const change = (manifest: Json) => {
    const [layer] = manifest.layers as object[];
    return { ...manifest, layers: [{ ...layer, mediaType: type, urls: [url] }] };
  };
  const fake = new FakeRegistry([LAYER], { manifest: change });
  const [{ digest = "" } = {}] = fake.layers;
  fake.override(new RegExp(`${HOST}/v2/a/b/blobs/${digest}`), () => {
    return new Response("{}", { status: 404 });
  });
  return fake;
}

const USER = { username: "ruth", password: "secret", reference: `${HOST}/a/b:1` };

Deno.test("pullTree() fetches a foreign layer from its URL only with allowForeign, and without credentials", async () => {
  await using dir = await tempDir();
  const fake = foreignImage("https://foreign.test/layer");
  fake.override(/foreign\.test/, () => new Response(gzip(LAYER.tar)));
  const request = { ...USER, store: dir.join("store"), ...ATTRIBUTES };
  const error = await assertRejects(
    () => pullTree(request, { fetch: fake.fetch, wait }),
    OverlayError,
    "answered 404",
  );
  assertStringIncludes(error.hint ?? "", "--allow-foreign");
  assertEquals(fake.asked.filter(({ url }) => url.includes("foreign.test")), []);
  assertEquals(await exists(dir.join("store")), false);
  const tree = await pullTree({ ...request, allowForeign: true }, { fetch: fake.fetch, wait });
  assertEquals(tree.digest, fake.digest);
  const asked = fake.asked.filter(({ url }) => url.includes("foreign.test"));
  assertEquals(asked.map(({ authorization }) => authorization), [null]);
});

/** URLs of foreign layers that are refused. */
const BAD_URLS: readonly (readonly [url: string, code: string])[] = [
  ["http://foreign.test/layer", "redirect-refused"],
  ["https://127.0.0.1/layer", "redirect-refused"],
  ["https://169.254.169.254/layer", "redirect-refused"],
  ["https://me:pw@foreign.test/layer", "redirect-refused"],
  ["file:///etc/passwd", "redirect-refused"],
  ["https://foreign.test/other", "bad-digest"],
  ["https://foreign.test/user", "unauthorized"],
  ["https://foreign.test/gone", "missing"],
];

for (const [url, code] of BAD_URLS) {
  Deno.test(`pullTree() takes no foreign layer from ${url}`, async () => {
    await using dir = await tempDir();
    const fake = foreignImage(url);
    fake.override(/foreign\.test/, ({ url }) => {
      const headers = { "www-authenticate": 'Basic realm="give"' };
      if (url.endsWith("/gone")) return new Response("", { status: 404 });
      if (url.endsWith("/user")) return new Response("", { status: 401, headers });
      return new Response(new Uint8Array(fake.layers[0]?.size ?? 0));
    });
    const request = { ...USER, store: dir.join("store"), ...ATTRIBUTES, allowForeign: true };
    const error = await assertRejects(
      () => pullTree(request, { fetch: fake.fetch, wait }),
      OverlayError,
    );
    assertEquals(error.code, code, error.message);
    assertEquals(await exists(dir.join("store")), false);
    const given = fake.asked.filter(({ authorization }) => authorization !== null);
    assertEquals(given.filter(({ url }) => url.includes("foreign.test")), []);
  });
}

Deno.test("pullTree() ignores the URLs of an ordinary layer, even with allowForeign (GHSA-qvqc-4c52-x6qp)", async () => {
  await using dir = await tempDir();
  const fake = foreignImage(
    "https://foreign.test/layer",
    "application/vnd.oci.image.layer.v1.tar+gzip",
  );
  const request = { ...USER, store: dir.join("store"), ...ATTRIBUTES, allowForeign: true };
  await assertRejects(() => pullTree(request, { fetch: fake.fetch, wait }), OverlayError, "404");
  assertEquals(fake.asked.filter(({ url }) => url.includes("foreign.test")), []);
});

Deno.test({
  name: "pullTree() needs permission for the host of a foreign layer, and names it",
  permissions: { read: true, write: true, run: true, sys: true, env: true, net: [HOST] },
  async fn(): Promise<void> {
    const dir = await Deno.makeTempDir();
    try {
      const fake = foreignImage("https://foreign.test/layer");
      const request = { ...USER, store: `${dir}/store`, ...ATTRIBUTES, allowForeign: true };
      const error = await assertRejects(
        () => pullTree(request, { fetch: fake.fetch, wait }),
        MissingPermissionError,
      );
      assertEquals(error.flags, ["--allow-net=foreign.test:443"]);
      assertEquals(await exists(`${dir}/store`), false);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});

Deno.test("pullTree() fetches three layers at once", async () => {
  await using dir = await tempDir();
  const layers = Array.from({ length: 6 }, (_, at) => ({ tar: archive(file(`f${at}`, `${at}`)) }));
  const fake = new FakeRegistry(layers);
  const digests = fake.layers.map(({ digest }) => digest);
  const three = Promise.withResolvers<void>();
  let [running, most] = [0, 0];
  fake.override(/\/blobs\//, async ({ url }) => {
    if (!digests.some((digest) => url.endsWith(digest))) return undefined;
    most = Math.max(most, ++running);
    if (running === 3) three.resolve();
    await three.promise;
    await new Promise((resolve) => setTimeout(resolve, 5));
    running--;
    return undefined;
  });
  const request = { reference: `${HOST}/a/b:1`, store: dir.join("store"), ...ATTRIBUTES };
  await pullTree(request, { fetch: fake.fetch, wait });
  assertEquals(most, 3);
});

Deno.test("pullTree() that fails at a layer ends the fetches of the others, and the store is as before", async () => {
  await using dir = await tempDir();
  const layers = Array.from({ length: 4 }, (_, at) => ({ tar: archive(file(`f${at}`, `${at}`)) }));
  const fake = new FakeRegistry(layers);
  const [bad, ...others] = fake.layers.map(({ digest }) => digest);
  const begun = Promise.withResolvers<void>();
  let ended = 0;
  fake.override(/\/blobs\//, async ({ url, signal }) => {
    if (others.some((digest) => url.endsWith(digest))) {
      begun.resolve();
      // It never comes, until it is given up.
      return await new Promise<Response>((_, reject) => {
        signal.addEventListener("abort", () => {
          ended++;
          reject(signal.reason);
        });
      });
    }
    if (!url.endsWith(bad ?? "")) return undefined;
    await begun.promise;
    return new Response(new Uint8Array(fake.layers[0]?.size ?? 0));
  });
  const store = dir.join("store");
  await Deno.mkdir(dir.join("image"));
  await importTree({ source: dir.join("image"), store, name: "other", ...ATTRIBUTES });
  const before = await snapshot(store);
  const request = { reference: `${HOST}/a/b:1`, store, ...ATTRIBUTES };
  const error = await assertRejects(
    () => pullTree(request, { fetch: fake.fetch, wait }),
    OverlayError,
  );
  assertEquals(error.code, "bad-digest");
  assert(ended > 0);
  assertEquals(await snapshot(store), before);
});
