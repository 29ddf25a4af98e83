/**
 * A registry that takes uploads, or does what a test tells it to, in process: it stands in the place of fetch().
 *
 * @module
 */
import type { Fetch } from "../../lib/registry/http.ts";
import { digestOf } from "../_archive.ts";
import { HOST } from "./_fake.ts";

/** One request that was made. */
export interface Sent {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | null;
}

type Answer = (request: Request, tried: number) => Response | Promise<Response> | undefined;

/** A registry that is empty at first. */
export class FakeTarget {
  /** All requests, in their order. */
  readonly asked: Sent[] = [];
  /** The blobs that were put there, by their digests. */
  readonly blobs = new Map<string, Uint8Array<ArrayBuffer>>();
  /** The manifests, by their names. */
  readonly manifests = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #sessions = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #overrides: { readonly pattern: RegExp; readonly answer: Answer; tried: number }[] = [];

  /** Answers requests whose method and URL match; `undefined` goes on as if it were not there. */
  override(pattern: RegExp, answer: Answer): void {
    this.#overrides.unshift({ pattern, answer, tried: 0 });
  }

  /** The methods and URLs of all requests that match. */
  requests(pattern: RegExp): readonly Sent[] {
    return this.asked.filter(({ method, url }) => pattern.test(`${method} ${url}`));
  }

  /** In the place of fetch(). */
  readonly fetch: Fetch = async (url, { client: _, ...init }) => {
    const request = new Request(url, init as RequestInit);
    const { method, headers } = request;
    this.asked.push({ method, url, authorization: headers.get("authorization") });
    for (const override of this.#overrides) {
      if (!override.pattern.test(`${method} ${url}`)) continue;
      const answer = await override.answer(request, ++override.tried);
      if (answer !== undefined) return answer;
    }
    return await this.serve(request);
  };

  /** Answers as a registry does. */
  async serve(request: Request): Promise<Response> {
    const { method } = request;
    const { pathname, searchParams } = new URL(request.url);
    const status = (status: number, headers: HeadersInit = {}) => {
      return new Response(null, { status, headers });
    };
    const name = pathname.replace(/^.*\//, "");
    if (method === "HEAD") return status(this.blobs.has(name) ? 200 : 404);
    if (method === "POST") {
      const session = crypto.randomUUID();
      this.#sessions.set(session, new Uint8Array());
      return status(202, { location: `/session/${session}?_state=a%2Bb~c%20d` });
    }
    const content = new Uint8Array(await request.arrayBuffer());
    if (pathname.includes("/manifests/")) {
      this.manifests.set(name, content);
      return status(201, { "docker-content-digest": digestOf(content) });
    }
    const begun = this.#sessions.get(name);
    if (begun === undefined) return status(404);
    if (method === "PATCH") {
      this.#sessions.set(name, content);
      return status(202, { location: `${pathname}?_state=next` });
    }
    this.#sessions.delete(name);
    if (method === "DELETE") return status(204);
    const blob = begun.length > 0 ? begun : content;
    const digest = searchParams.get("digest") ?? "";
    if (digestOf(blob) !== digest) return status(400);
    this.blobs.set(digest, blob);
    return status(201);
  }
}

/** Answers 401 until the token comes; each time that it ends, the next one counts. */
export function requireTokens(fake: FakeTarget): { readonly end: () => void } {
  let number = 1;
  fake.override(new RegExp(` https://${HOST}/`), (request) => {
    if (request.headers.get("authorization") === `Bearer token${number}`) return undefined;
    const challenge = 'Bearer realm="https://tokens.test/token",service="tests"';
    return new Response("{}", { status: 401, headers: { "www-authenticate": challenge } });
  });
  fake.override(/ https:\/\/tokens\.test\//, () => Response.json({ token: `token${number}` }));
  return { end: () => void number++ };
}
