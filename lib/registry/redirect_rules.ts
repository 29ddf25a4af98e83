/**
 * The rules for redirects of a registry. A server must not make this machine access its own services or those
 * of its network, or send credentials to other hosts.
 *
 * Requires no permissions.
 *
 * @module
 */
import { RefusedError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";

/** The largest number of redirects that are followed. */
export const HOPS_MAX = 5;

/** Tells whether a host is this machine itself. */
export function isLoopback(host: string): boolean {
  const name = bare(host);
  return name === "localhost" || name.endsWith(".localhost") || /^127\./.test(name) ||
    name === "::1" || /^::ffff:(127\.|7f)/.test(name);
}

/** Tells whether a host has a link-local or unspecified address, where a cloud serves its secrets. */
function isLinkLocal(host: string): boolean {
  const name = bare(host);
  return /^169\.254\./.test(name) || /^fe[89ab][0-9a-f]:/.test(name) || name === "0.0.0.0" ||
    name === "::" || /^::ffff:(169\.254\.|a9fe)/.test(name);
}

function bare(host: string): string {
  return host.toLowerCase().replace(/^\[|\]$/g, "").replace(/\.$/, "");
}

function refuse(url: URL, what: string, reason: string): never {
  throw new RefusedError(
    "redirect-refused",
    `Cannot follow ${what} ${quote(url.href)}: ${reason}`,
    {
      hint: "the registry, or what answers in its place, is not to be trusted",
    },
  );
}

/**
 * Checks a URL that a server refers to: a redirect, the realm of a challenge, or the location of an upload.
 *
 * @param what The word for it in an error, such as `redirect`.
 * @param from The URL whose answer refers to it.
 * @param registry The registry's own origin.
 * @throws {RefusedError} If it leads from https to http, to another scheme, or from another host to this
 * machine or its link.
 */
export function checkLeadsTo(what: string, to: URL, from: URL, registry: URL): void {
  if (to.protocol !== "https:" && to.protocol !== "http:") refuse(to, what, "it is not http");
  if (to.protocol === "http:" && from.protocol === "https:") {
    refuse(to, what, "it leads from https to http");
  }
  if (to.username !== "" || to.password !== "") refuse(to, what, "it holds a user name");
  if (to.origin === registry.origin) return;
  if (isLinkLocal(to.hostname)) refuse(to, what, "it leads to an address of this machine's link");
  if (isLoopback(to.hostname) && !isLoopback(registry.hostname)) {
    refuse(to, what, "it leads to this machine itself");
  }
}
