/**
 * The protocol and the tokens of a registry: the first request is for the image, and finds out both.
 *
 * @module
 */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { exists } from "@std/fs/exists";
import { OverlayError } from "../../lib/core/errors.ts";
import type { Fetch } from "../../lib/registry/http.ts";
import { pullTree } from "../../lib/store/pull_tree.ts";
import { archive, file } from "../_archive.ts";
import { ATTRIBUTES } from "../_image.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { FakeRegistry, HOST } from "./_fake.ts";

const LAYER = { tar: archive(file("hello", "from the registry")) };
const LOCAL = "localhost:5000";
const wait = () => Promise.resolve();

const noTls = () => new Error("received corrupt message of type InvalidContentType");
const refused = () => new Error("Connection refused (os error 111)");

/** Requests to a registry on this machine; a fault ends one before the fake can answer it. */
function localRegistry(fault: (url: string) => Error | null): { asked: string[]; fetch: Fetch } {
  const fake = new FakeRegistry([LAYER]);
  const asked: string[] = [];
  const fetch: Fetch = async (url, init) => {
    asked.push(url);
    const cause = fault(url);
    if (cause !== null) throw new TypeError("fetch failed", { cause });
    return await fake.fetch(url.replace(/^https?:\/\/[^/]+/, `https://${HOST}`), init);
  };
  return { asked, fetch };
}

function pull(dir: TempDir, host: string, fetch: Fetch): Promise<unknown> {
  const request = { reference: `${host}/a/b:1`, store: dir.join("store"), authFile: "/none" };
  return pullTree({ ...request, ...ATTRIBUTES }, { fetch, wait });
}

Deno.test("pullTree() asks a registry on this machine for the manifest, by TLS and then without", async () => {
  await using dir = await tempDir();
  const { asked, fetch } = localRegistry((url) => url.startsWith("https:") ? noTls() : null);
  await pull(dir, LOCAL, fetch);
  const manifest = `://${LOCAL}/v2/a/b/manifests/1`;
  assertEquals(asked.slice(0, 2), [`https${manifest}`, `http${manifest}`]);
  assertEquals(asked.filter((url) => url.startsWith("https:")).length, 1);
  assertEquals(asked.filter((url) => !/\/(manifests|blobs)\//.test(url)), []);
});

Deno.test("pullTree() makes no request without TLS to a registry that has answered with it", async () => {
  await using dir = await tempDir();
  const { asked, fetch } = localRegistry((url) => url.includes("/blobs/") ? refused() : null);
  await assertRejects(() => pull(dir, LOCAL, fetch), OverlayError, "nothing answers there");
  assertEquals(asked.filter((url) => !url.startsWith("https:")), []);
});

Deno.test("pullTree() makes no request without TLS to another machine", async () => {
  await using dir = await tempDir();
  const { asked, fetch } = localRegistry(noTls);
  await assertRejects(() => pull(dir, HOST, fetch), OverlayError, "it does not speak TLS");
  assertEquals(asked.length, 1);
});

Deno.test("pullTree() tells both faults of a registry on this machine that answers in no way", async () => {
  await using dir = await tempDir();
  const { asked, fetch } = localRegistry((url) => url.startsWith("https:") ? noTls() : refused());
  const error = await assertRejects(() => pull(dir, LOCAL, fetch), OverlayError);
  assertEquals(error.code, "network");
  assertMatch(error.message, /does not speak TLS; by plain http: nothing answers there$/);
  assertEquals(asked.length, 2);
});

Deno.test("pullTree() refuses 1.2 MB of headers", async () => {
  await using dir = await tempDir();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    const filler = `x-filler: ${"x".repeat(1000)}\r\n`.repeat(1200);
    const bytes = new TextEncoder().encode(`HTTP/1.1 200 OK\r\n${filler}\r\n`);
    for await (const client of listener) {
      await client.read(new Uint8Array(1 << 16));
      // The client hangs up before it has them all.
      await client.write(bytes).catch(() => {});
      client.close();
    }
  })();
  const host = `127.0.0.1:${listener.addr.port}`;
  const request = { reference: `${host}/a/b:1`, store: dir.join("store"), authFile: "/none" };
  const error = await assertRejects(
    () => pullTree({ ...request, plainHttp: true, ...ATTRIBUTES }, { wait }),
    OverlayError,
  );
  assertEquals(error.code, "network", error.message);
  assertEquals(await exists(dir.join("store")), false);
  listener.close();
  await serving.catch(() => {});
});

Deno.test("pullTree() asks for the scope that a registry wants beside its own", async () => {
  await using dir = await tempDir();
  const fake = new FakeRegistry([LAYER]);
  const wanted = "repository:a/b:pull,read";
  fake.override(new RegExp(` https://${HOST}/`), ({ url, headers }) => {
    const token = headers.get("authorization");
    const isBlob = url.includes("/blobs/");
    if (token === "Bearer better" || (token === "Bearer good" && !isBlob)) return undefined;
    const more = isBlob ? `,error="insufficient_scope",scope="${wanted}"` : "";
    const challenge = `Bearer realm="https://tokens.test/"${more}`;
    return new Response("{}", { status: 401, headers: { "www-authenticate": challenge } });
  });
  fake.override(/tokens\.test/, ({ url }) => {
    const scopes = new URL(url).searchParams.getAll("scope");
    return Response.json({ token: scopes.includes(wanted) ? "better" : "good" });
  });
  const request = { reference: `${HOST}/a/b:1`, store: dir.join("store"), authFile: "/none" };
  await pullTree({ ...request, ...ATTRIBUTES }, { fetch: fake.fetch, wait });
  const scopes = fake.asked.filter(({ url }) => url.includes("tokens.test")).map(({ url }) => {
    return new URL(url).searchParams.getAll("scope");
  });
  assertEquals(scopes, [["repository:a/b:pull"], [wanted, "repository:a/b:pull"]]);
});
