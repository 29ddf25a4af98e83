/**
 * A repository of a registry (OCI distribution specification): its manifests and blobs.
 *
 * @module
 */
import type { OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import type { Answer } from "./answer.ts";
import type { Credentials } from "./auth_file.ts";
import { Http, resolveUrl } from "./http.ts";
import type { HttpOptions, HttpRequest } from "./http.ts";
import { formatImageReference, hostOfRegistry } from "./image_reference.ts";
import type { ImageReference } from "./image_reference.ts";
import { checkLeadsTo, isLoopback } from "./redirect_rules.ts";
import { answerError } from "./registry_error.ts";
import { Authorization } from "./token.ts";
import type { Scope } from "./token.ts";

/** The largest size of a manifest, in bytes (4 MiB in the specification). */
export const MANIFEST_MAX = 4 << 20;

/** The supported types of documents; a registry converts or refuses others. */
const ACCEPT = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
].join(", ");

/** The options of a connection to a registry. */
export interface RegistryOptions extends HttpOptions {
  /** Set if it is accessed without TLS. @default {false} */
  readonly plainHttp?: boolean | undefined;
  /** The credentials. @default {anonymous} */
  readonly credentials?: Credentials | null | undefined;
}

/** A manifest or an index, in the original bytes. */
export interface Manifest {
  /** Its bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The media type of the header, without parameters; empty without a header. */
  readonly mediaType: string;
}

/** A request within a repository. */
type Wanted = Omit<HttpRequest, "what" | "url" | "authorization"> & {
  readonly url: string | URL;
  readonly scopes: readonly Scope[];
};

/** A repository that can be accessed. */
export class Repository {
  /** The repository; its tag and digest are ignored. */
  readonly reference: ImageReference;
  readonly #http: Http;
  readonly #authorization: Authorization;
  readonly #what: string;

  /** Takes a connection; `what` is the action and its object, for errors. */
  constructor(reference: ImageReference, http: Http, how: {
    readonly credentials: Credentials | null;
    readonly what: string;
  }) {
    this.reference = reference;
    this.#http = http;
    this.#authorization = new Authorization(http, how.credentials);
    this.#what = how.what;
  }

  /** The action and its object, for errors. */
  get what(): string {
    return this.#what;
  }

  /** The scope of actions in this repository, such as `pull`. */
  scope(actions: string): Scope {
    return `repository:${this.reference.repository}:${actions}`;
  }

  /** The URL of a path in this repository. */
  url(path: string): URL {
    return new URL(`/v2/${this.reference.repository}/${path}`, this.#http.registry);
  }

  /** Makes a request with the authorization that it needs. */
  async ask({ url, scopes, ...request }: Wanted): Promise<Answer> {
    const what = this.#what;
    for (let asked = 0;; asked++) {
      // The first answer may change the protocol.
      const at = url instanceof URL ? url : this.url(url);
      const authorization = this.#authorization.headerFor(scopes);
      const answer = await this.#http.send({ ...request, what, url: at, authorization });
      const challenge = answer.header("www-authenticate");
      // Other hosts get no credentials, and a second refusal is final.
      const mayAnswer = asked === 0 && answer.url.origin === this.#http.registry.origin;
      if (answer.status !== 401 || challenge === null || !mayAnswer) return answer;
      if (!await this.#authorization.answer(challenge, scopes, what)) return answer;
      // What the server took of a body is not known: the caller begins again.
      if (request.stream !== undefined) return answer;
      await answer.drop();
    }
  }

  /** Waits before a request is repeated, at least for the time that an answer asks for. */
  pause(tried: number, answer: Answer | null = null): Promise<void> {
    return this.#http.pause(this.#what, tried, answer);
  }

  /**
   * Returns the location of an answer, which is relative to the URL that answered.
   *
   * @throws {RefusedError} If it leads to a forbidden host.
   * @throws {OverlayError} If the answer has none.
   */
  locationIn(answer: Answer): URL {
    const url = resolveUrl(answer.header("location") ?? "//", answer.url, this.#what);
    checkLeadsTo("location", url, answer.url, this.#http.registry);
    return url;
  }

  /**
   * Makes the error for an unexpected answer.
   */
  async refuse(answer: Answer): Promise<OverlayError> {
    return answerError(this.#what, answer.status, await answer.readError());
  }

  /** Asks for the digest that a tag names; `null` if the registry does not tell it. */
  async digestOfTag(tag: string): Promise<string | null> {
    const answer = await this.ask({
      method: "HEAD",
      url: `manifests/${tag}`,
      headers: { accept: ACCEPT },
      scopes: [this.scope("pull")],
    });
    await answer.drop();
    if (answer.status === 200) return answer.header("docker-content-digest");
    if (answer.status === 405) return null;
    throw answerError(this.#what, answer.status, "");
  }

  /**
   * Fetches a manifest or an index, without checking its digest.
   *
   * @param name A tag or a digest.
   */
  async manifest(name: string): Promise<Manifest> {
    const answer = await this.ask({
      method: "GET",
      url: `manifests/${name}`,
      headers: { accept: ACCEPT },
      scopes: [this.scope("pull")],
    });
    if (answer.status !== 200) throw await this.refuse(answer);
    const bytes = await answer.readAll(MANIFEST_MAX);
    const [type = ""] = (answer.header("content-type") ?? "").split(";");
    return { bytes, mediaType: type.trim().toLowerCase() };
  }

  /** Requests a blob, starting at a byte. Redirects are followed without the authorization. */
  async blob(digest: string, from: number): Promise<Answer> {
    const headers = from === 0 ? {} : { range: `bytes=${from}-` };
    const scopes = [this.scope("pull")];
    return await this.ask({ method: "GET", url: `blobs/${digest}`, headers, scopes });
  }

  /**
   * Requests a foreign layer at a URL that its image gives, starting at a byte: by https, and without
   * credentials.
   *
   * @throws {RefusedError} If it is not https, or leads to this machine or its link.
   */
  async foreign(url: string, from: number): Promise<Answer> {
    const to = checkForeign(this.#what, url, this.#http.registry);
    const headers = from === 0 ? {} : { range: `bytes=${from}-` };
    return await this.#http.send({ what: this.#what, method: "GET", url: to, headers });
  }
}

/** Checks the URL of a foreign layer, which the image chooses. */
function checkForeign(what: string, url: string, registry: URL): URL {
  const to = resolveUrl(url, registry, what);
  const from = new URL("https://foreign.invalid");
  checkLeadsTo("URL of a foreign layer", to, from, registry);
  return to;
}

/**
 * Connects to the registry of a reference: by https, or without TLS on request, or if the registry is on this
 * machine and does not speak TLS. It makes no request.
 *
 * @param verb The action, such as `pull`.
 */
export function openRepository(
  verb: string,
  reference: ImageReference,
  { plainHttp = false, credentials = null, ...options }: RegistryOptions,
): Repository {
  const what = `${verb} ${quote(formatImageReference(reference))}`;
  const url = new URL(`${plainHttp ? "http" : "https"}://${hostOfRegistry(reference.registry)}`);
  const http = new Http(url, options, !plainHttp && isLoopback(url.hostname));
  return new Repository(reference, http, { credentials, what });
}
