/**
 * A registry that does what a test tells it to, in process: it stands in the place of fetch().
 *
 * @module
 */
import type { Fetch } from "../../lib/registry/http.ts";
import { digestOf, layoutFiles } from "../_archive.ts";
import type { Changes, RawLayer } from "../_archive.ts";

/** One request that was made. */
export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | null;
  readonly range: string | null;
}

type Answer = (
  request: Request,
  tried: number,
) => Response | undefined | Promise<Response | undefined>;

/** The host that the image is at; there is no such host. */
export const HOST = "registry.test";

/** A registry with one image, `a/b:1`. */
export class FakeRegistry {
  /** All requests, in their order. */
  readonly asked: Asked[] = [];
  /** The bytes of the manifest, and what it says. */
  readonly manifest: Uint8Array<ArrayBuffer>;
  readonly #blobs = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #overrides: { readonly pattern: RegExp; readonly answer: Answer; tried: number }[] = [];

  constructor(layers: readonly RawLayer[], changes: Changes = {}) {
    const files = layoutFiles(layers, changes);
    for (const [path, content] of files) {
      if (path.startsWith("blobs/")) this.#blobs.set(path.slice(6).replace("/", ":"), content);
    }
    const index = JSON.parse(new TextDecoder().decode(files.get("index.json")));
    this.manifest = this.blob(index.manifests[0].digest);
  }

  /** The digest of the manifest. */
  get digest(): string {
    return digestOf(this.manifest);
  }

  /** The descriptors of the layers. */
  get layers(): readonly { readonly digest: string; readonly size: number }[] {
    return JSON.parse(new TextDecoder().decode(this.manifest)).layers;
  }

  /** The bytes of a blob. */
  blob(digest: string): Uint8Array<ArrayBuffer> {
    return this.#blobs.get(digest) ?? new Uint8Array();
  }

  /** Answers requests whose method and URL match; `undefined` goes on as if it were not there. */
  override(pattern: RegExp, answer: Answer): void {
    this.#overrides.unshift({ pattern, answer, tried: 0 });
  }

  /** In the place of fetch(). */
  readonly fetch: Fetch = async (url, { client: _, ...init }) => {
    const request = new Request(url, init as RequestInit);
    const { method, headers } = request;
    const [authorization, range] = ["authorization", "range"].map((name) => headers.get(name));
    this.asked.push({ method, url, authorization: authorization ?? null, range: range ?? null });
    for (const override of this.#overrides) {
      if (!override.pattern.test(`${method} ${url}`)) continue;
      const answer = await override.answer(request, ++override.tried);
      if (answer !== undefined) return answer;
    }
    return this.#serve(method, new URL(url));
  };

  #serve(method: string, { host, pathname }: URL): Response {
    const notFound = () => Response.json({ errors: [{ code: "UNKNOWN" }] }, { status: 404 });
    if (host !== HOST) return notFound();
    const [, kind, name = ""] = /^\/v2\/a\/b\/(manifests|blobs)\/(.+)$/.exec(pathname) ?? [];
    const isTag = kind === "manifests" && name === "1";
    const content = isTag ? this.manifest : this.#blobs.get(name);
    if (content === undefined || kind === undefined) return notFound();
    const headers = {
      "content-length": String(content.length),
      ...(kind === "manifests"
        ? {
          "content-type": "application/vnd.oci.image.manifest.v1+json",
          "docker-content-digest": digestOf(content),
        }
        : { "content-type": "application/octet-stream" }),
    };
    return new Response(method === "HEAD" ? null : content, { headers });
  }
}

/** Answers 401 until a token comes that the token server at this URL gives. */
export function requireToken(fake: FakeRegistry, realm: string): void {
  fake.override(new RegExp(` https://${HOST}/`), (request) => {
    if (request.headers.get("authorization") === "Bearer good") return undefined;
    const challenge = `Bearer realm="${realm}",service="tests",scope="repository:a/b:pull"`;
    return new Response("{}", { status: 401, headers: { "www-authenticate": challenge } });
  });
}
