/**
 * Requests to registries by fetch(), with checked redirects, timeouts, and clear errors.
 *
 * @module
 */
import { MissingPermissionError, OverlayError } from "../core/errors.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { Answer, Timeout } from "./answer.ts";
import { ConnectionError, connectionError } from "./connection_error.ts";
import { checkLeadsTo, HOPS_MAX } from "./redirect_rules.ts";
import { isPassing, parseRetryAfter, TRIES, WAIT_MAX, waitAfter } from "./retry.ts";

/** The part of fetch() that is used. */
export type Fetch = (
  url: string,
  init: RequestInit & { readonly client?: Deno.HttpClient },
) => Promise<Response>;

/** The options of requests. */
export interface HttpOptions {
  /** Makes a request. @default {fetch} */
  readonly fetch?: Fetch | undefined;
  /** The client with the certificates and the key. */
  readonly client?: Deno.HttpClient | undefined;
  /** The client for other hosts, which has no key. @default {that of the registry} */
  readonly otherClient?: Deno.HttpClient | undefined;
  /** Ends requests. */
  readonly signal?: AbortSignal | undefined;
  /** Called with each request before it is made. */
  readonly trace?: ((line: string) => void) | undefined;
  /** Waits for a time in milliseconds. @default {by setTimeout()} */
  readonly wait?: ((ms: number, signal: AbortSignal | undefined) => Promise<void>) | undefined;
  /** The longest time in milliseconds until the headers come. @default {30000} */
  readonly headersMs?: number | undefined;
  /** The longest time in milliseconds between two pieces of a body. @default {60000} */
  readonly idleMs?: number | undefined;
}

/** One request. */
export interface HttpRequest {
  /** The action and its object, for an error: `pull "docker.io/library/debian:12"`. */
  readonly what: string;
  /** The method. */
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** The URL. */
  readonly url: URL;
  /** Its headers, besides the authorization. */
  readonly headers?: Readonly<Record<string, string>>;
  /** A body that can be sent again. */
  readonly body?: Uint8Array<ArrayBuffer> | string;
  /** Opens a body that is sent piece by piece; `onPiece` is called with each piece. */
  readonly stream?: (onPiece: () => void) => ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Set if it is not repeated here, since what it changes must be looked at first. @default {false} */
  readonly once?: boolean;
  /** Set if it clears away after a failure: it is made after a signal, too, and only once. @default {false} */
  readonly clears?: boolean;
  /** The `Authorization` header, sent only to the registry's own origin, or only to the URL without redirects. */
  readonly authorization?: string | null;
  /** Set if redirects are followed. @default {true} */
  readonly follow?: boolean;
}

/** The longest wait for the headers of an answer, in milliseconds. */
const HEADERS_MS = 30_000;

/** The factor for a PUT, since a registry may read the whole blob again before it answers. */
const PUT_FACTOR = 5;

/** The longest wait for the answer to a request that clears away, in milliseconds. */
const CLEAR_MS = 5000;

/** The statuses of redirects. */
export const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];

/** The protocol of a registry: fixed, or TLS until a request shows that the registry does not speak it. */
type Protocol = "fixed" | "unknown" | "plain";

/** Makes requests to one registry and to the hosts that it refers to. */
export class Http {
  #registry: URL;
  #protocol: Protocol;
  readonly #options: HttpOptions;

  /**
   * Sets up a client, without a request.
   *
   * @param mayBePlain Set if the registry is accessed without TLS where it does not speak TLS.
   */
  constructor(registry: URL, options: HttpOptions, mayBePlain = false) {
    this.#registry = registry;
    this.#protocol = mayBePlain ? "unknown" : "fixed";
    this.#options = options;
  }

  /** The registry's own origin, which the first request may change from https to http. */
  get registry(): URL {
    return this.#registry;
  }

  /**
   * Makes a request, and repeats it if the connection fails or the server is busy.
   *
   * Requires `--allow-net` permission for each host that it is redirected to.
   *
   * @throws {MissingPermissionError} If a host may not be accessed.
   * @throws {RefusedError} If a redirect leads to a forbidden host.
   * @throws {OverlayError} If there is no answer, or the server asks for a wait above the limit.
   */
  async send(request: HttpRequest): Promise<Answer> {
    const tries = request.once || request.clears || request.stream !== undefined ? 1 : TRIES;
    for (let tried = 1;; tried++) {
      const answer = await this.#follow(request).catch((error) => {
        if (error instanceof ConnectionError && !error.isPlain && tried < tries) return null;
        throw error;
      });
      if (answer !== null && (!isPassing(answer.status) || tried >= tries)) return answer;
      await answer?.drop();
      await this.pause(request.what, tried, answer);
    }
  }

  /**
   * Waits before a request is repeated: for the time that the server asks for, or longer each time.
   *
   * @throws {OverlayError} If the server asks for a wait above the limit.
   */
  async pause(what: string, tried: number, answer: Answer | null = null): Promise<void> {
    const asked = parseRetryAfter(answer?.header("retry-after") ?? null, Date.now());
    if (asked !== null && asked > WAIT_MAX) {
      const when = new Date(Date.now() + asked).toISOString();
      const code = answer?.status === 429 ? "rate-limited" : "network";
      throw new OverlayError(code, `Cannot ${what}: the registry wants no request before ${when}`, {
        hint: "try again then, or log in: a registry allows its users more",
      });
    }
    const wait = this.#options.wait ?? pause;
    this.#options.signal?.throwIfAborted();
    await wait(asked ?? waitAfter(tried, Math.random()), this.#options.signal);
  }

  /** Makes a request once, and follows its redirects. */
  async #follow(request: HttpRequest): Promise<Answer> {
    const mayFollow = request.follow !== false;
    let [url, method] = [request.url, request.method];
    for (let hops = 0; hops <= HOPS_MAX; hops++) {
      const answer = await this.#fetchByProtocol({ ...request, method, url });
      const location = answer.header("location");
      if (!mayFollow || location === null || !REDIRECTS.includes(answer.status)) return answer;
      await answer.drop();
      const next = resolveUrl(location, answer.url, request.what);
      checkLeadsTo("redirect", next, answer.url, this.#registry);
      if (answer.status === 303 && method !== "HEAD") method = "GET";
      url = next;
    }
    throw new OverlayError("network", `Cannot ${request.what}: it is sent on without end`);
  }

  /** Makes a request, and makes it again by plain http if the registry may do without TLS and does not speak it. */
  async #fetchByProtocol(request: HttpRequest): Promise<Answer> {
    const { url } = request;
    const isOwn = url.protocol === "https:" && url.host === this.#registry.host;
    try {
      const answer = await this.#fetch(request);
      // From now on a registry that speaks TLS gets no request without it.
      if (isOwn && this.#protocol === "unknown") this.#protocol = "fixed";
      return answer;
    } catch (error) {
      const isPlain = error instanceof ConnectionError && error.isPlain;
      if (!isOwn || !isPlain || this.#protocol === "fixed") throw error;
      const answer = await this.#fetch({ ...request, url: toPlain(url) }).catch((fault) => {
        throw joinFaults(error, fault);
      });
      this.#registry = toPlain(this.#registry);
      this.#protocol = "plain";
      return answer;
    }
  }

  #longestWait({ method, clears }: HttpRequest): number {
    const wait = this.#options.headersMs ?? HEADERS_MS;
    return clears ? Math.min(wait, CLEAR_MS) : method === "PUT" ? wait * PUT_FACTOR : wait;
  }

  async #fetch(request: HttpRequest): Promise<Answer> {
    const { what, method, url, headers, authorization, follow } = request;
    checkHost(what, url);
    // A signed URL has a secret in its query.
    this.#options.trace?.(`${method} ${url.origin}${url.pathname}`);
    const mayKnow = follow === false || url.origin === this.#registry.origin;
    const signal = request.clears ? undefined : this.#options.signal;
    const timeout = new Timeout(signal, this.#options.idleMs);
    let isAnswered = false;
    // A body may take long to send, but each piece of it must be taken.
    const stream = request.stream?.(() => isAnswered || timeout.start(timeout.idleMs));
    const content = method === "GET" ? undefined : stream ?? request.body;
    const { client: own, otherClient = own } = this.#options;
    const client = url.origin === this.#registry.origin ? own : otherClient;
    try {
      if (stream === undefined) timeout.start(this.#longestWait(request));
      const response = await (this.#options.fetch ?? fetch)(url.href, {
        method,
        redirect: "manual",
        // Without this, a body could arrive decompressed, and with another digest.
        headers: {
          "accept-encoding": "identity",
          ...headers,
          ...(mayKnow && authorization ? { authorization } : {}),
        },
        ...(content === undefined ? {} : { body: content }),
        ...(client === undefined ? {} : { client }),
        signal: timeout.signal,
      });
      return await checkEncoding(new Answer(response, { what, url, timeout }), what);
    } catch (error) {
      signal?.throwIfAborted();
      throw connectionError(error, what, url);
    } finally {
      isAnswered = true;
      timeout.stop();
    }
  }
}

/** Returns a URL with plain http in the place of https. */
function toPlain(url: URL): URL {
  const plain = new URL(url);
  plain.protocol = "http:";
  return plain;
}

/** Makes the error for a registry that answers neither by TLS nor without. */
function joinFaults(tls: ConnectionError, plain: unknown): unknown {
  if (!(plain instanceof ConnectionError && plain.isPlain)) return plain;
  return new OverlayError("network", `${tls.message}; by plain http: ${plain.reason}`, {
    hint: tls.hint ?? undefined,
  });
}

async function checkEncoding(answer: Answer, what: string): Promise<Answer> {
  const encoding = answer.header("content-encoding") ?? "";
  if (encoding === "" || encoding === "identity") return answer;
  await answer.drop();
  const reason = `${quote(answer.url.host)} sends ${
    quote(encoding)
  } where no encoding was asked for`;
  throw new OverlayError("network", `Cannot ${what}: ${reason}`);
}

/** Resolves a `Location` header, which may be relative. */
export function resolveUrl(location: string, from: URL, what: string): URL {
  const url = URL.parse(location, from);
  if (url !== null) return url;
  throw new OverlayError("network", `Cannot ${what}: ${quote(location)} is no URL`);
}

/** Returns the value of `--allow-net` for the host of a URL. */
export function netValue({ protocol, hostname, port }: URL): string {
  return `${hostname}:${port || (protocol === "https:" ? "443" : "80")}`;
}

/** Checks that a host may be accessed, before anything is sent to it. */
function checkHost(what: string, url: URL): void {
  const host = netValue(url);
  if (Deno.permissions.querySync({ name: "net", host }).state === "granted") return;
  const flag = `--allow-net=${host}`;
  throw new MissingPermissionError(
    `Cannot ${what} without Deno permissions: missing ${shellQuote(flag)}`,
    [flag],
    { hint: "add that host to --allow-net" },
  );
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}
