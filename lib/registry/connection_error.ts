/**
 * The errors of connections.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { printable, quote } from "../core/quote.ts";

/** A connection that failed: the request may be made again. */
export class ConnectionError extends OverlayError {
  static {
    this.prototype.name = "ConnectionError";
  }
  /** Set if the server does not speak TLS: it may be a registry with plain HTTP. */
  readonly isPlain: boolean;
  /** The reason, which is the end of the message. */
  readonly reason: string;

  /** Makes an error from the beginning of the message and a reason. */
  constructor(
    before: string,
    fault: {
      readonly cause: unknown;
      readonly reason: string;
      readonly hint: string;
      readonly isPlain: boolean;
    },
  ) {
    super("network", before + fault.reason, fault);
    this.isPlain = fault.isPlain;
    this.reason = fault.reason;
  }
}

/** The meanings of Deno's messages about connections (versions 2.4 to 2.9). */
const FAULTS = [
  {
    words: /InvalidContentType|corrupt message|wrong version number/i,
    isPlain: true,
    reason: "it does not speak TLS",
    hint: "if it is a registry by plain http: --plain-http",
  },
  {
    words: /connection refused/i,
    isPlain: true,
    reason: "nothing answers there",
    hint: "see that the registry runs, and that its port is right",
  },
  {
    words: /dns error|failed to lookup/i,
    isPlain: false,
    reason: "its name is not known",
    hint: "see that the name of the registry is right, and that this machine has a network",
  },
] as const;

const UNTRUSTED = /UnknownIssuer|invalid peer certificate|certificate/i;

/**
 * Makes the error for a failed connection.
 *
 * @param what The action and its object, such as `pull "docker.io/library/debian:12"`.
 */
export function connectionError(error: unknown, what: string, url: URL): unknown {
  if (error instanceof OverlayError || error instanceof Deno.errors.NotCapable) return error;
  const words = [error, error instanceof Error ? error.cause : null]
    .flatMap((one) => one instanceof Error ? one.message : []).join(": ");
  const before = `Cannot ${what}: cannot ask ${quote(url.host)}: `;
  if (UNTRUSTED.test(words)) {
    const hint = `put its CA into /etc/containers/certs.d/${url.host}/ca.crt, or give deno run ` +
      `--unsafely-ignore-certificate-errors=${url.hostname}`;
    return new OverlayError("untrusted-tls", `${before}its certificate is not trusted`, {
      cause: error,
      hint,
    });
  }
  const fault = FAULTS.find((one) => one.words.test(words));
  return new ConnectionError(before, {
    cause: error,
    reason: fault?.reason ?? printable(words.slice(0, 300)),
    hint: fault?.hint ?? "try again",
    isPlain: fault?.isPlain ?? false,
  });
}
