/**
 * The errors in the answers of a registry (OCI distribution specification, "Error codes").
 *
 * Requires no permissions.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { printable, quote } from "../core/quote.ts";

/** The largest number of characters of a registry's error in a message. */
const WORDS_MAX = 300;

/** Reads the error in an answer: its error codes and messages, or the beginning of its text. */
export function wordsOfAnswer(body: string): string {
  const said = listErrors(body) ?? body.trim();
  return printable(said.length > WORDS_MAX ? `${said.slice(0, WORDS_MAX)}…` : said);
}

function listErrors(body: string): string | null {
  try {
    const { errors } = JSON.parse(body) as { errors?: unknown };
    if (!Array.isArray(errors)) return null;
    const words = errors.map(({ code, message }) => {
      return [code, message].filter((part) => typeof part === "string" && part !== "").join(": ");
    });
    return words.filter((word) => word !== "").join("; ");
  } catch {
    return null;
  }
}

const LOG_IN =
  "log in with skopeo login or podman login, or give --username and --password-stdin; see that the name is right";

/** Returns the error code for a status, and a hint. */
function meaningOf(status: number): readonly [code: ErrorCode, hint: string | undefined] {
  switch (status) {
    case 401:
      return ["unauthorized", LOG_IN];
    case 403:
      return ["denied", "the registry knows who asks, and does not allow it: ask its owner"];
    case 404:
      return ["missing", "see that the name and the tag are right"];
    case 429:
      return ["rate-limited", "wait, or log in: a registry allows its users more"];
    default:
      return ["network", status >= 500 ? "try again later" : undefined];
  }
}

/**
 * Makes the error for an unexpected answer.
 *
 * @param what The action and its object, such as `pull "docker.io/library/debian:12"`.
 */
export function answerError(what: string, status: number, body: string): OverlayError {
  const [code, hint] = meaningOf(status);
  const words = wordsOfAnswer(body);
  const said = words === "" ? "" : `, and said ${quote(words)}`;
  return new OverlayError(code, `Cannot ${what}: the registry answered ${status}${said}`, { hint });
}
