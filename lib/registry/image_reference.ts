/**
 * References to images in registries, in the form of docker:
 * `[docker://][registry[:port]/]path[:tag][@digest]`.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";

/** A full reference. */
export interface ImageReference {
  /** The registry in its usual form, with a port if it has one, such as `docker.io`. */
  readonly registry: string;
  /** The path of the repository, such as `library/debian`. */
  readonly repository: string;
  /** The tag; `null` if only a digest is given. */
  readonly tag: string | null;
  /** The digest; `null` if only a tag is given. */
  readonly digest: string | null;
}

const HOST =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/;
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;
const IDENTIFIER = /^[0-9a-f]{64}$/;

/** The longest name: the registry and the path together. */
const NAME_MAX = 255;

/** The name of Docker Hub in references, and the host that speaks its protocol. */
const HUB = "docker.io";
const HUB_HOST = "registry-1.docker.io";

function bad(text: string, reason: string): InvalidValueError {
  return new InvalidValueError("bad-reference", `Cannot use reference ${quote(text)}: ${reason}`, {
    hint: "write it like debian:12, ghcr.io/owner/name:tag or registry.example:5000/name@sha256:…",
  });
}

/** Tells whether a text can be the digest of a blob or a manifest. */
export function isDigest(text: string): boolean {
  return DIGEST.test(text);
}

/**
 * Parses a reference.
 *
 * @throws {InvalidValueError} If it is invalid.
 */
export function parseImageReference(text: string): ImageReference {
  const rest = text.replace(/^docker:\/\//, "");
  const at = rest.indexOf("@");
  const [named, digest] = at < 0 ? [rest, null] : [rest.slice(0, at), rest.slice(at + 1)];
  if (digest !== null && !isDigest(digest)) throw bad(text, `${quote(digest)} is no digest`);
  const colon = named.indexOf(":", named.lastIndexOf("/") + 1);
  const [name, given] = colon < 0 ? [named, null] : [named.slice(0, colon), named.slice(colon + 1)];
  if (given !== null && !TAG.test(given)) throw bad(text, `${quote(given)} is no tag`);
  const { registry, repository } = splitName(text, name);
  const tag = given ?? (digest === null ? "latest" : null);
  return { registry, repository, tag, digest };
}

/** Splits a name. The first part is a registry if it cannot be part of a path. */
function splitName(text: string, name: string): Pick<ImageReference, "registry" | "repository"> {
  if (IDENTIFIER.test(name)) throw bad(text, "64 hexadecimal digits are the id of an image");
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isRegistry = /[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase();
  const registry = !isRegistry || first === "index.docker.io" ? HUB : first;
  const path = isRegistry ? name.slice(slash + 1) : name;
  if (!HOST.test(registry)) throw bad(text, `${quote(registry)} is no registry`);
  const repository = registry === HUB && !path.includes("/") ? `library/${path}` : path;
  const wrong = repository.split("/").find((part) => !COMPONENT.test(part));
  if (wrong !== undefined) {
    throw bad(text, `${quote(wrong)} cannot be a part of a repository's name`);
  }
  const length = registry.length + 1 + repository.length;
  if (length > NAME_MAX) {
    throw bad(text, `its name has ${length} characters, and may have ${NAME_MAX}`);
  }
  return { registry, repository };
}

/** Formats a full reference: the registry, the path, and the tag and the digest, if any. */
export function formatImageReference(reference: ImageReference): string {
  const { registry, repository, tag, digest } = reference;
  return `${registry}/${repository}${tag === null ? "" : `:${tag}`}` +
    (digest === null ? "" : `@${digest}`);
}

/** Returns the host that serves a registry, with its port if it has one. */
export function hostOfRegistry(registry: string): string {
  return registry === HUB ? HUB_HOST : registry;
}
