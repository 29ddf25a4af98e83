/**
 * Registries that are damaged, busy or hostile, and a push to them: it ends as it must, no manifest is
 * written too early, and no credential reaches another origin.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import { importTree, pushTree } from "../../lib/store/tree.ts";
import type { PushOptions } from "../../lib/store/tree.ts";
import { archive, digestOf, file, gzip, layoutFiles, writeFiles } from "../_archive.ts";
import type { Json } from "../_archive.ts";
import { ATTRIBUTES } from "../_image.ts";
import { noise } from "../_random.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { HOST } from "./_fake.ts";
import { FakeTarget, requireTokens } from "./_fake_target.ts";

const SMALL = archive(file("small", "a small layer"));

/** A layer that is sent as a stream. */
const LARGE = archive(file("large", noise(9 << 20)));

async function prepare(dir: TempDir, tar = SMALL, ...more: typeof tar[]): Promise<void> {
  await writeFiles(dir.join("layout"), layoutFiles([tar, ...more].map((tar) => ({ tar }))));
  const request = { source: dir.join("layout"), store: dir.join("store"), name: "mine" };
  await importTree({ ...request, keepBlobs: true, ...ATTRIBUTES });
}

function push(dir: TempDir, fake: FakeTarget, options: PushOptions = {}): Promise<unknown> {
  const request = { tree: "mine", reference: `${HOST}/a/b:1`, store: dir.join("store") };
  const user = { username: "ruth", password: "secret" };
  const how = { fetch: fake.fetch, wait: () => Promise.resolve(), ...options };
  return pushTree({ ...request, ...user }, how);
}

/** Only the registry and its token server may get credentials. */
function assertKeptSecret(fake: FakeTarget): void {
  const told = fake.asked.filter(({ authorization }) => authorization !== null);
  assert(told.length > 0);
  for (const { url, authorization } of told) {
    const { host } = new URL(url);
    assert([HOST, "tokens.test"].includes(host), url);
    assertEquals(authorization?.startsWith("Basic"), host === "tokens.test", url);
  }
}

function accepted(location: string): Response {
  return new Response(null, { status: 202, headers: { location } });
}

Deno.test("pushTree() sends bytes to the location of another host, and no credentials", async () => {
  await using dir = await tempDir();
  await prepare(dir);
  const fake = new FakeTarget();
  requireTokens(fake);
  const POST = / https:\/\/registry\.test\/\S+\/uploads\//;
  fake.override(POST, ({ method, headers }) => {
    if (method !== "POST" || headers.get("authorization") === null) return undefined;
    return accepted("https://storage.test/upload?sig=x%2Fy");
  });
  fake.override(/^PUT https:\/\/storage\.test\//, () => new Response(null, { status: 201 }));
  await push(dir, fake);
  const sent = fake.requests(/storage\.test/);
  assertEquals(sent.length, 2);
  for (const { url, authorization } of sent) {
    assertMatch(url, /^https:\/\/storage\.test\/upload\?sig=x%2Fy&digest=sha256%3A[0-9a-f]{64}$/);
    assertEquals(authorization, null);
  }
  assertKeptSecret(fake);
});

Deno.test("pushTree() follows a redirect of an upload without the credentials", async () => {
  await using dir = await tempDir();
  await prepare(dir, LARGE);
  const fake = new FakeTarget();
  requireTokens(fake);
  fake.override(/^PATCH https:\/\/registry\.test\//, ({ url, headers }) => {
    if (headers.get("authorization") === null) return undefined;
    const location = url.replace(HOST, "storage.test");
    return new Response(null, { status: 307, headers: { location } });
  });
  await push(dir, fake);
  assertEquals(fake.requests(/^PATCH https:\/\/storage\.test/).length, 1);
  assertKeptSecret(fake);
  assertEquals(fake.manifests.size, 1);
});

for (
  const location of [
    "http://registry.test/upload",
    "https://127.0.0.1/upload",
    "https://169.254.169.254/latest",
    "https://user@registry.test/upload",
    "file:///etc/shadow",
  ]
) {
  Deno.test(`pushTree() refuses the location ${location}`, async () => {
    await using dir = await tempDir();
    await prepare(dir);
    const fake = new FakeTarget();
    fake.override(/^POST /, () => accepted(location));
    const error = await assertRejects(() => push(dir, fake), OverlayError, "location");
    assertEquals(error.code, "redirect-refused");
    assertEquals(fake.requests(/^(PUT|PATCH|DELETE) /), []);
  });
}

Deno.test("pushTree() keeps the query of a location as it is, relative to what answered", async () => {
  await using dir = await tempDir();
  await prepare(dir);
  const fake = new FakeTarget();
  await push(dir, fake);
  const blobs = fake.requests(/^PUT \S+\/session\//);
  assertEquals(blobs.length, 2);
  for (const { url } of blobs) {
    assertMatch(
      url,
      /^https:\/\/registry\.test\/session\/[-0-9a-f]+\?_state=a%2Bb~c%20d&digest=sha256%3A/,
    );
  }
  assertEquals(fake.manifests.size, 1);
});

Deno.test("pushTree() renews a token that ends in the middle of a stream, and begins it again", async () => {
  await using dir = await tempDir();
  await prepare(dir, LARGE);
  const fake = new FakeTarget();
  const tokens = requireTokens(fake);
  fake.override(/^PATCH /, async (request, tried) => {
    if (tried > 1) return await fake.serve(request);
    await request.body?.getReader().read();
    tokens.end();
    const challenge = 'Bearer realm="https://tokens.test/token",service="tests"';
    return new Response("{}", { status: 401, headers: { "www-authenticate": challenge } });
  });
  await push(dir, fake);
  assertEquals(fake.requests(/^PATCH /).length, 2);
  assertEquals(fake.requests(/^DELETE /).length, 1, "the first session");
  assert(fake.blobs.has(digestOf(gzip(LARGE))));
  assertKeptSecret(fake);
});

Deno.test("pushTree() makes a request again that the registry could not carry out", async () => {
  await using dir = await tempDir();
  await prepare(dir, LARGE);
  const fake = new FakeTarget();
  for (const method of [/^POST /, /^PATCH /, /^PUT \S+\/session\//, /^PUT \S+\/manifests\//]) {
    fake.override(method, (_, tried) => {
      return tried === 1 ? new Response("busy", { status: 503 }) : undefined;
    });
  }
  await push(dir, fake);
  assertEquals([fake.blobs.size, fake.manifests.size], [2, 1]);
});

Deno.test("pushTree() ends the session of an upload that fails, and writes no manifest", async () => {
  await using dir = await tempDir();
  await prepare(dir);
  const fake = new FakeTarget();
  const message = `\x1b[31m${"x".repeat(1000)}`;
  fake.override(/^PUT /, () => {
    return Response.json({ errors: [{ code: "DENIED", message }] }, { status: 403 });
  });
  const error = await assertRejects(() => push(dir, fake), OverlayError, "answered 403");
  assertEquals(error.code, "denied");
  // deno-lint-ignore no-control-regex
  assert(!/\u001b/.test(error.message) && error.message.length < 500, error.message);
  assertEquals(fake.requests(/^DELETE \S+\/session\//).length, 1);
  assertEquals(fake.manifests.size, 0);
});

Deno.test("pushTree() ends when the registry takes no more of a stream", async () => {
  await using dir = await tempDir();
  await prepare(dir, LARGE);
  const fake = new FakeTarget();
  fake.override(/^PATCH /, ({ signal }) => {
    return new Promise<Response>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  });
  const error = await assertRejects(() => push(dir, fake, { idleMs: 20 }), OverlayError);
  assertEquals(error.code, "network");
  const sessions = fake.requests(/^DELETE /).length;
  assertEquals([fake.requests(/^PATCH /).length, sessions, fake.manifests.size], [5, 5, 0]);
});

Deno.test("pushTree() that is interrupted ends its session, and writes no manifest", async () => {
  await using dir = await tempDir();
  await prepare(dir, LARGE);
  const fake = new FakeTarget();
  const stop = new AbortController();
  fake.override(/^PATCH /, () => {
    stop.abort(new Error("interrupted"));
    return Promise.reject(stop.signal.reason);
  });
  const signal = stop.signal;
  await assertRejects(() => push(dir, fake, { signal }), Error, "interrupted");
  assertEquals([fake.requests(/^DELETE /).length, fake.manifests.size], [1, 0]);
});

Deno.test("pushTree() refuses a registry that keeps another manifest", async () => {
  await using dir = await tempDir();
  await prepare(dir);
  const fake = new FakeTarget();
  fake.override(/^PUT \S+\/manifests\//, () => {
    const headers = { "docker-content-digest": `sha256:${"0".repeat(64)}` };
    return new Response(null, { status: 201, headers });
  });
  const error = await assertRejects(() => push(dir, fake), OverlayError, "keeps the manifest as");
  assertEquals(error.code, "bad-digest");
});

Deno.test("pushTree() uploads a foreign layer that is kept, and names one that is not", async () => {
  await using dir = await tempDir();
  const mediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
  const manifest = (all: Json) => {
    const [layer] = all.layers as object[];
    return { ...all, layers: [{ ...layer, mediaType, urls: ["https://foreign.test/layer"] }] };
  };
  await writeFiles(dir.join("layout"), layoutFiles([{ tar: SMALL }], { manifest }));
  const request = { source: dir.join("layout"), store: dir.join("store"), name: "mine" };
  await importTree({ ...request, ...ATTRIBUTES });
  const fake = new FakeTarget();
  const error = await assertRejects(() => push(dir, fake), OverlayError, digestOf(gzip(SMALL)));
  assertEquals([error.code, fake.manifests.size], ["missing", 0]);
  await importTree({ ...request, keepBlobs: true, ...ATTRIBUTES });
  await push(dir, fake);
  assert(fake.blobs.has(digestOf(gzip(SMALL))));
  const pushed = JSON.parse(new TextDecoder().decode(fake.manifests.get("1")));
  assertEquals(pushed.layers[0].mediaType, mediaType);
  assertEquals(fake.requests(/foreign\.test/), []);
});

Deno.test("pushTree() asks the token server once for blobs that it looks for at the same time", async () => {
  await using dir = await tempDir();
  await prepare(dir, SMALL, archive(file("other", "another layer")));
  const fake = new FakeTarget();
  requireTokens(fake);
  const challenged = Promise.withResolvers<void>();
  let refused = 0;
  fake.override(/^HEAD /, ({ headers }) => {
    if (headers.get("authorization") === null && ++refused === 3) challenged.resolve();
    return undefined;
  });
  fake.override(/tokens\.test/, async () => {
    await challenged.promise;
    await new Promise((resolve) => setTimeout(resolve, 20));
    return Response.json({ token: "token1" });
  });
  await push(dir, fake);
  assertEquals([refused, fake.requests(/tokens\.test/).length], [3, 1]);
  assertKeptSecret(fake);
});
