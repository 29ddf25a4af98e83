/**
 * Authorization at a registry: basic, or a token of its token server.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import type { Answer } from "./answer.ts";
import type { Credentials } from "./auth_file.ts";
import { parseChallenges } from "./challenge.ts";
import type { Challenge } from "./challenge.ts";
import { resolveUrl } from "./http.ts";
import type { Http } from "./http.ts";
import { checkLeadsTo } from "./redirect_rules.ts";
import { answerError } from "./registry_error.ts";
import { parseObject } from "./json.ts";

/** The largest answer of a token server, in bytes. */
const ANSWER_MAX = 1 << 20;

/** The default lifetime of a token, in seconds. */
const LIFE = 60;

/** The time before its end from which a token is no longer used, in milliseconds. */
const MARGIN = 5000;

interface Token {
  readonly header: string;
  readonly ends: number;
}

/** A scope of authorization, such as `repository:library/debian:pull`. */
export type Scope = string;

/** The authorization of requests to one registry, kept only in memory. */
export class Authorization {
  readonly #http: Http;
  readonly #credentials: Credentials | null;
  readonly #tokens = new Map<string, Token>();
  readonly #answering = new Map<string, Promise<boolean>>();

  constructor(http: Http, credentials: Credentials | null) {
    this.#http = http;
    this.#credentials = credentials;
  }

  /** Returns the known header for requests with these scopes; `null` without one. */
  headerFor(scopes: readonly Scope[]): string | null {
    const token = this.#tokens.get(scopes.join(" ")) ?? this.#tokens.get("");
    return token !== undefined && token.ends > Date.now() ? token.header : null;
  }

  /**
   * Answers a challenge. Requests that are challenged at the same time share the answer.
   *
   * @param header The `WWW-Authenticate` header of a 401 of the registry itself.
   * @returns `false` if there is no answer to it.
   * @throws {RefusedError} If the token server is on a forbidden host.
   * @throws {OverlayError} If the token server does not answer.
   */
  async answer(header: string, scopes: readonly Scope[], what: string): Promise<boolean> {
    const key = [...scopes, header].join(" ");
    const begun = this.#answering.get(key) ?? this.#answer(header, scopes, what);
    this.#answering.set(key, begun);
    try {
      return await begun;
    } finally {
      this.#answering.delete(key);
    }
  }

  async #answer(header: string, scopes: readonly Scope[], what: string): Promise<boolean> {
    for (const challenge of parseChallenges(header)) {
      if (challenge.scheme === "bearer" && challenge.parameters.has("realm")) {
        this.#tokens.set(scopes.join(" "), await this.#fetchToken(challenge, scopes, what));
        return true;
      }
      const basic = challenge.scheme === "basic" ? this.#basic() : null;
      if (basic !== null) {
        this.#tokens.set("", { header: basic, ends: Infinity });
        return true;
      }
    }
    return false;
  }

  #basic(): string | null {
    const { username = "", password = "" } = this.#credentials ?? {};
    return username === "" ? null : `Basic ${toBase64(`${username}:${password}`)}`;
  }

  async #fetchToken(
    { parameters }: Challenge,
    scopes: readonly Scope[],
    what: string,
  ): Promise<Token> {
    const { registryToken = "", identityToken = "" } = this.#credentials ?? {};
    if (registryToken !== "") return { header: `Bearer ${registryToken}`, ends: Infinity };
    const realm = resolveUrl(parameters.get("realm") ?? "", this.#http.registry, what);
    checkLeadsTo("realm", realm, this.#http.registry, this.#http.registry);
    const service = parameters.get("service") ?? "";
    const asked = parameters.get("error") === "insufficient_scope"
      ? [parameters.get("scope") ?? "", ...scopes]
      : scopes;
    const wanted = [...new Set(asked.filter((scope) => scope !== ""))];
    const answer = identityToken === ""
      ? await this.#get(realm, service, wanted, what)
      : await this.#refresh(realm, service, { wanted, identityToken, what });
    return await this.#readToken(answer, what);
  }

  async #get(
    realm: URL,
    service: string,
    scopes: readonly Scope[],
    what: string,
  ): Promise<Answer> {
    const url = new URL(realm);
    if (service !== "") url.searchParams.set("service", service);
    for (const scope of scopes) url.searchParams.append("scope", scope);
    return await this.#http.send({
      ...{ what, method: "GET", url },
      authorization: this.#basic(),
      follow: false,
    });
  }

  /** Refreshes a token. Some servers support only the older request by GET. */
  async #refresh(
    realm: URL,
    service: string,
    { wanted, identityToken, what }: {
      readonly wanted: readonly Scope[];
      readonly identityToken: string;
      readonly what: string;
    },
  ): Promise<Answer> {
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      client_id: "overlay-render",
      service,
      scope: wanted.join(" "),
      refresh_token: identityToken,
    });
    const answer = await this.#http.send({
      what,
      method: "POST",
      url: realm,
      follow: false,
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: form.toString(),
    });
    if (answer.status !== 404 && answer.status !== 405) return answer;
    await answer.drop();
    return await this.#get(realm, service, wanted, what);
  }

  async #readToken(answer: Answer, what: string): Promise<Token> {
    if (answer.status !== 200) {
      throw answerError(what, answer.status, await answer.readError());
    }
    const bytes = await answer.readAll(ANSWER_MAX);
    const { token, access_token: access, expires_in: life } = parseObject(bytes);
    const is = [token, access].find((one) => typeof one === "string" && one !== "");
    if (typeof is !== "string" || /[^\x21-\x7e]/.test(is)) {
      const reason = `the token server ${quote(answer.url.host)} gives no token`;
      throw new OverlayError("network", `Cannot ${what}: ${reason}`);
    }
    const seconds = typeof life === "number" && life > 0 ? life : LIFE;
    return { header: `Bearer ${is}`, ends: Date.now() + seconds * 1000 - MARGIN };
  }
}

function toBase64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
