/**
 * Registries that are damaged, busy or hostile: a pull ends with an error that says so, the store is as it
 * was, and no credential reaches another origin.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import { pullTree } from "../../lib/store/pull_tree.ts";
import type { PullRequest } from "../../lib/store/pull_tree.ts";
import { importTree } from "../../lib/store/tree.ts";
import { archive, digestOf, file, gzip } from "../_archive.ts";
import { ATTRIBUTES } from "../_image.ts";
import { exists } from "@std/fs/exists";
import { snapshot, tempDir } from "../_temp.ts";
import { FakeRegistry, HOST, requireToken } from "./_fake.ts";

const LAYER = { tar: archive(file("hello", "from the registry")) };
const BLOBS = / \S+\/blobs\//;
const MANIFESTS = / \S+\/manifests\//;

/** A body without length that never ends. */
function endless(): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1 << 16)) });
}

type Json = Readonly<Record<string, unknown>>;

/** Changes the descriptor of the first layer. */
function withLayer(more: Json): (manifest: Json) => Json {
  return (manifest) => {
    const [first, ...rest] = manifest.layers as Record<string, unknown>[];
    return { ...manifest, layers: [{ ...first, ...more }, ...rest] };
  };
}

function redirect(location: string, status = 307): Response {
  return new Response(null, { status, headers: { location } });
}

interface Case {
  readonly name: string;
  readonly fake?: () => FakeRegistry;
  readonly act?: (fake: FakeRegistry) => void;
  readonly request?: (fake: FakeRegistry) => Partial<PullRequest>;
  readonly code: string;
  readonly says: RegExp;
}

const made = (changes = {}) => () => new FakeRegistry([LAYER], changes);
const manifestOf = (change: (manifest: Json) => unknown) => {
  return made({ manifest: change });
};

const CASES: readonly Case[] = [
  {
    name: "another manifest than the digest says",
    act: (fake) => fake.override(MANIFESTS, () => new Response(`${"x".repeat(10)}`)),
    request: (fake) => ({ reference: `${HOST}/a/b@${fake.digest}` }),
    code: "bad-digest",
    says: /sends a manifest with the digest/,
  },
  {
    name: "a config that is another one",
    act: (fake) => {
      const { config } = JSON.parse(new TextDecoder().decode(fake.manifest));
      fake.override(BLOBS, ({ url }) => {
        return url.includes(config.digest) ? new Response("x".repeat(config.size)) : undefined;
      });
    },
    code: "bad-image",
    says: /has the digest/,
  },
  {
    name: "a layer that is another one",
    act: (fake) => {
      const [{ digest = "", size = 0 } = {}] = fake.layers;
      fake.override(BLOBS, ({ url }) => {
        return url.includes(digest) ? new Response("\x1f\x8b".padEnd(size, "x")) : undefined;
      });
    },
    code: "bad-",
    says: /Cannot/,
  },
  {
    name: "a layer with other content of the same size",
    act: (fake) => {
      const [{ digest = "", size = 0 } = {}] = fake.layers;
      fake.override(BLOBS, ({ url }) => {
        return url.includes(digest) ? new Response(new Uint8Array(size)) : undefined;
      });
    },
    code: "bad-digest",
    says: /its digest is .*, and must be/,
  },
  {
    name: "a layer that is too short each time",
    act: (fake) => {
      const [{ digest = "" } = {}] = fake.layers;
      fake.override(BLOBS, ({ url }) => {
        return url.includes(digest) ? new Response("short") : undefined;
      });
    },
    code: "bad-digest",
    says: /has fewer bytes than the \d+ it must have/,
  },
  {
    name: "a layer that is too long",
    act: (fake) => {
      const [{ digest = "" } = {}] = fake.layers;
      fake.override(BLOBS, ({ url }) => {
        return url.includes(digest) ? new Response("x".repeat(10_000)) : undefined;
      });
    },
    code: "bad-digest",
    says: /has more bytes than the \d+ it must have/,
  },
  {
    name: "a layer that never ends",
    act: (fake) => {
      const [{ digest = "" } = {}] = fake.layers;
      fake.override(BLOBS, ({ url }) => url.includes(digest) ? new Response(endless()) : undefined);
    },
    code: "bad-digest",
    says: /has more bytes than/,
  },
  {
    name: "a manifest that never ends",
    act: (fake) => fake.override(MANIFESTS, () => new Response(endless())),
    code: "too-large",
    says: /has more than 4194304 bytes/,
  },
  {
    name: "a manifest of 9 MB",
    act: (fake) => fake.override(MANIFESTS, () => new Response(" ".repeat(9_000_000))),
    code: "too-large",
    says: /has more than 4194304 bytes/,
  },
  {
    name: "a manifest that is no JSON",
    act: (fake) => fake.override(MANIFESTS, () => new Response("<html>")),
    code: "bad-image",
    says: /is no JSON/,
  },
  {
    name: "a manifest that is an index too (CVE-2021-41190)",
    fake: manifestOf((manifest) => ({ ...manifest, manifests: [] })),
    code: "bad-image",
    says: /is an index and a manifest at once/,
  },
  {
    name: "a header that calls the manifest something else (CVE-2021-41190)",
    fake: manifestOf((manifest) => {
      return { ...manifest, mediaType: "application/vnd.oci.image.index.v1+json" };
    }),
    code: "bad-image",
    says: /and it calls itself/,
  },
  {
    name: "a manifest of schema 1",
    fake: manifestOf(() => ({ schemaVersion: 1, fsLayers: [] })),
    code: "bad-image",
    says: /schema 1/,
  },
  {
    name: "an artifact",
    fake: manifestOf((manifest) => ({
      ...manifest,
      config: {
        ...manifest.config as object,
        mediaType: "application/vnd.cncf.helm.config.v1+json",
      },
    })),
    code: "bad-image",
    says: /is no image, but an artifact/,
  },
  {
    name: "a digest that leads out of its directory (CVE-2024-3727)",
    fake: manifestOf(withLayer({ digest: "sha256:../../../../etc/passwd" })),
    code: "bad-image",
    says: /which is no digest/,
  },
  {
    name: "a layer whose size is beyond all (GHSA-f36w-mj3v-6jqv)",
    fake: manifestOf(withLayer({ size: 2 ** 50 })),
    code: "too-large",
    says: /its layers have 1125899906842624 bytes/,
  },
  {
    name: "a layer that lies elsewhere (CVE-2020-15157, GHSA-qvqc-4c52-x6qp)",
    fake: manifestOf(
      withLayer({ digest: digestOf(new Uint8Array(1)), urls: ["https://evil.test/x"] }),
    ),
    code: "missing",
    says: /answered 404/,
  },
  {
    name: "a body that comes encoded",
    act: (fake) => {
      fake.override(BLOBS, () => {
        return new Response(gzip(new Uint8Array(9)), { headers: { "content-encoding": "gzip" } });
      });
    },
    code: "network",
    says: /where no encoding was asked for/,
  },
  ...[
    ["http", "http://cdn.test/x", /from https to http/],
    ["this machine", "https://127.0.0.1/x", /to this machine itself/],
    ["this machine by name", "https://localhost:5000/x", /to this machine itself/],
    ["its link", "https://169.254.169.254/latest/meta-data", /of this machine's link/],
    ["a file", "file:///etc/passwd", /it is not http/],
  ].map(([what, location, says]) => ({
    name: `a redirect to ${what}`,
    act: (fake: FakeRegistry) => fake.override(BLOBS, () => redirect(String(location))),
    code: "redirect-refused",
    says: says as RegExp,
  })),
  {
    name: "redirects without end",
    act: (fake) => fake.override(BLOBS, ({ url }) => redirect(`${url}x`)),
    code: "network",
    says: /sent on without end/,
  },
  {
    name: "a redirect that is no URL",
    act: (fake) => fake.override(BLOBS, () => redirect("https://[")),
    code: "network",
    says: /is no URL/,
  },
  ...[
    ["link", "https://169.254.169.254/token", /of this machine's link/],
    ["loopback", "https://127.0.0.1/token", /to this machine itself/],
    ["plain http", "http://tokens.test/", /from https to http/],
    ["user name", "https://me@tokens.test/", /holds a user name/],
  ].map(([what, realm, says]) => ({
    name: `a token server at ${what} (CVE-2026-48978)`,
    act: (fake: FakeRegistry) => requireToken(fake, String(realm)),
    code: "redirect-refused",
    says: says as RegExp,
  })),
  {
    name: "a token server that gives none",
    act: (fake) => {
      requireToken(fake, "https://tokens.test/");
      fake.override(/tokens\.test/, () => Response.json({ token: 'bad\n"' }));
    },
    code: "network",
    says: /gives no token/,
  },
  {
    name: "a token server that refuses",
    act: (fake) => {
      requireToken(fake, "https://tokens.test/");
      fake.override(/tokens\.test/, () => new Response("{}", { status: 401 }));
    },
    code: "unauthorized",
    says: /answered 401/,
  },
  {
    name: "a token server that sends on",
    act: (fake) => {
      requireToken(fake, "https://tokens.test/");
      fake.override(/tokens\.test/, () => redirect("https://evil.test/"));
    },
    code: "network",
    says: /answered 307/,
  },
  {
    name: "a token server that answers without end",
    act: (fake) => {
      requireToken(fake, "https://tokens.test/");
      fake.override(/tokens\.test/, () => new Response(endless()));
    },
    code: "too-large",
    says: /has more than 1048576 bytes/,
  },
  {
    name: "a CDN that asks for credentials",
    act: (fake) => {
      fake.override(BLOBS, () => redirect("https://cdn.test/x"));
      fake.override(/cdn\.test/, () => {
        const headers = { "www-authenticate": 'Basic realm="give"' };
        return new Response("", { status: 401, headers });
      });
    },
    code: "unauthorized",
    says: /answered 401/,
  },
  {
    name: "a wait that is too long",
    act: (fake) => {
      const headers = { "retry-after": "3600" };
      fake.override(MANIFESTS, () => new Response("", { status: 429, headers }));
    },
    code: "rate-limited",
    says: /wants no request before \d{4}-/,
  },
  {
    name: "errors without end",
    act: (fake) => fake.override(MANIFESTS, () => new Response("", { status: 503 })),
    code: "network",
    says: /answered 503/,
  },
  {
    name: "a name it does not know",
    request: () => ({ reference: `${HOST}/a/b:2` }),
    code: "missing",
    says: /answered 404, and said "UNKNOWN"/,
  },
];

/** Asserts that nobody was given a credential but the registry, and the token server where it was asked. */
function assertNoLeak({ asked }: FakeRegistry): void {
  const given = asked.filter(({ authorization }) => authorization !== null);
  const allowed = (url: string) => {
    return url.startsWith(`https://${HOST}/`) || url.startsWith("https://tokens.test/");
  };
  assertEquals(given.filter(({ url }) => !allowed(url)), []);
}

const USER = { username: "ruth", password: "secret" };
const wait = () => Promise.resolve();

for (const { name, fake: make = made(), act, request, code, says } of CASES) {
  Deno.test(`pullTree() refuses ${name}`, async () => {
    await using dir = await tempDir();
    const fake = make();
    act?.(fake);
    const store = dir.join("store");
    await Deno.mkdir(dir.join("image"));
    await Deno.writeTextFile(dir.join("image/other"), "is there");
    await importTree({ source: dir.join("image"), store, name: "other", ...ATTRIBUTES });
    const before = await snapshot(store);
    const wanted = {
      reference: `${HOST}/a/b:1`,
      store,
      ...USER,
      ...ATTRIBUTES,
      ...request?.(fake),
    };

    const error = await assertRejects(
      () => pullTree(wanted, { fetch: fake.fetch, wait }),
      OverlayError,
    );

    assert(error.code.startsWith(code), `${error.code}: ${error.message}`);
    assertMatch(error.message, says);
    assertMatch(error.message, /^Cannot /);
    assertEquals(await snapshot(store), before);
    assertNoLeak(fake);
    assert(!fake.asked.some(({ url }) => url.includes("evil.test")));
  });
}

Deno.test("pullTree() hands credentials to the registry, and to no host that it leads to", async () => {
  await using dir = await tempDir();
  const fake = new FakeRegistry([LAYER]);
  requireToken(fake, "https://tokens.test/");
  fake.override(/tokens\.test/, ({ headers }) => {
    assertEquals(headers.get("authorization"), `Basic ${btoa("ruth:secret")}`);
    return Response.json({ access_token: "good" });
  });
  fake.override(BLOBS, ({ url, headers }) => {
    if (headers.get("authorization") !== "Bearer good") return undefined;
    return redirect(url.replace(HOST, "cdn.test"));
  });
  fake.override(/cdn\.test/, ({ url, headers }) => {
    assertEquals(headers.get("authorization"), null);
    return new Response(fake.blob(url.split("/").pop() ?? ""));
  });

  const request = { reference: `${HOST}/a/b:1`, store: dir.join("store"), ...USER, ...ATTRIBUTES };
  const tree = await pullTree(request, { fetch: fake.fetch, wait });

  assertEquals([tree.image, tree.digest], [`${HOST}/a/b:1`, fake.digest]);
  assertNoLeak(fake);
  assert(fake.asked.some(({ url }) => url.startsWith("https://cdn.test/")));
});

Deno.test("pullTree() sends no credentials to another port of the registry (GHSA-vh4v-2xq2-g5cg)", async () => {
  await using dir = await tempDir();
  const fake = new FakeRegistry([LAYER]);
  fake.override(new RegExp(` https://${HOST}/`), ({ url, headers }) => {
    if (headers.get("authorization") === null) {
      const asks = { "www-authenticate": 'Basic realm="The \\"best\\", of all"' };
      return new Response("", { status: 401, headers: asks });
    }
    return url.includes("/blobs/") ? redirect(url.replace(HOST, `${HOST}:8443`)) : undefined;
  });
  fake.override(new RegExp(`${HOST}:8443`), ({ url }) => {
    return new Response(fake.blob(url.split("/").pop() ?? ""));
  });
  const request = { reference: `${HOST}/a/b:1`, store: dir.join("store"), ...USER, ...ATTRIBUTES };
  await pullTree(request, { fetch: fake.fetch, wait });
  const elsewhere = fake.asked.filter(({ url }) => url.includes(":8443"));
  assertEquals(elsewhere.map(({ authorization }) => authorization), [null, null]);
  assertNoLeak(fake);
});

Deno.test("pullTree() waits as long as it is asked to, and asks again", async () => {
  await using dir = await tempDir();
  const fake = new FakeRegistry([LAYER]);
  fake.override(MANIFESTS, (_, tried) => {
    const headers = { "retry-after": "7" };
    return tried === 1 ? new Response("", { status: 429, headers }) : undefined;
  });
  fake.override(BLOBS, (_, tried) => {
    return tried % 2 === 1 ? new Response("", { status: 502 }) : undefined;
  });
  const waits: number[] = [];

  await pullTree({ reference: `${HOST}/a/b:1`, store: dir.join("store"), ...ATTRIBUTES }, {
    fetch: fake.fetch,
    wait: (ms) => {
      waits.push(ms);
      return Promise.resolve();
    },
  });

  assertEquals(waits[0], 7000);
  assertEquals(waits.length, 3);
  for (const ms of waits.slice(1)) assert(ms >= 500 && ms <= 1000);
});

Deno.test("pullTree() asks once for a tag that names what it named, and fetches no layer twice", async () => {
  await using dir = await tempDir();
  const fake = new FakeRegistry([LAYER]);
  const request = { reference: `${HOST}/a/b:1`, store: dir.join("store"), ...ATTRIBUTES };
  const first = await pullTree(request, { fetch: fake.fetch, wait });
  fake.asked.length = 0;

  const second = await pullTree(request, { fetch: fake.fetch, wait });

  assertEquals(second, { ...first, changed: false });
  assertEquals(fake.asked.map(({ method }) => method), ["HEAD"]);
  fake.asked.length = 0;

  await pullTree({ ...request, name: "mine" }, { fetch: fake.fetch, wait });

  const [{ digest = "" } = {}] = fake.layers;
  assertEquals(fake.asked.filter(({ url }) => url.includes(digest)), []);
});

/** Serves a registry on this machine by a handler. */
function serve(handler: (request: Request) => Response | Promise<Response>): Deno.HttpServer {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen(): void {} }, handler);
}

for (const silent of ["headers", "body"] as const) {
  Deno.test(`pullTree() does not wait without end for a registry that sends no ${silent}`, async () => {
    await using dir = await tempDir();
    const ended = Promise.withResolvers<Response>();
    const server = serve(({ url }) => {
      if (!url.includes("/manifests/")) return new Response("{}");
      if (silent === "headers") return ended.promise;
      return new Response(new ReadableStream({ start: (it) => it.enqueue(new Uint8Array(9)) }));
    });
    try {
      const reference = `127.0.0.1:${(server.addr as Deno.NetAddr).port}/a/b:1`;
      const request = { reference, store: dir.join("store"), authFile: "/none", plainHttp: true };
      const patience = { headersMs: 100, idleMs: 100, wait };

      const error = await assertRejects(() => pullTree({ ...request, ...ATTRIBUTES }, patience));

      assert(error instanceof OverlayError);
      assertEquals(error.code, "network");
      assertMatch(error.message, /nothing came for 0\.1 s/);
      assertEquals(await exists(dir.join("store")), false);
    } finally {
      ended.resolve(new Response("late"));
      await server.shutdown();
    }
  });
}
