/**
 * References to images in registries, in the form of docker:
 * `[docker://][registry[:port]/]path[:tag][@digest]`.
 *
 * Requires no permissions.
 *
 * @module
 */
import { isDigest } from "../core/digest.ts";
import { InvalidValueError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import { HUB, splitReference } from "../image/reference.ts";

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
const IDENTIFIER = /^library\/[0-9a-f]{64}$/;

/** The longest name: the registry and the path together. */
const NAME_MAX = 255;

/** The host that serves Docker Hub. */
const HUB_HOST = "registry-1.docker.io";

function bad(text: string, reason: string): InvalidValueError {
  return new InvalidValueError("bad-reference", `Cannot use reference ${quote(text)}: ${reason}`, {
    hint: "write it like debian:12, ghcr.io/owner/name:tag or registry.example:5000/name@sha256:…",
  });
}

/**
 * Parses a reference.
 *
 * @throws {InvalidValueError} If it is invalid.
 */
export function parseImageReference(text: string): ImageReference {
  const { registry, path, tag, digest } = splitReference(text.replace(/^docker:\/\//, ""));
  if (digest !== null && !isDigest(digest)) throw bad(text, `${quote(digest)} is no digest`);
  if (tag !== null && !TAG.test(tag)) throw bad(text, `${quote(tag)} is no tag`);
  if (IDENTIFIER.test(path)) throw bad(text, "64 hexadecimal digits are the id of an image");
  if (!HOST.test(registry)) throw bad(text, `${quote(registry)} is no registry`);
  const wrong = path.split("/").find((part) => !COMPONENT.test(part));
  if (wrong !== undefined) {
    throw bad(text, `${quote(wrong)} cannot be a part of a repository's name`);
  }
  const length = registry.length + 1 + path.length;
  if (length > NAME_MAX) {
    throw bad(text, `its name has ${length} characters, and may have ${NAME_MAX}`);
  }
  return { registry, repository: path, tag: tag ?? (digest === null ? "latest" : null), digest };
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
