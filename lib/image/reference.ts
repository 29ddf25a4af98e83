/**
 * Names of images by the rules of docker: `debian` is `docker.io/library/debian:latest`.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The name of Docker Hub in references. */
export const HUB = "docker.io";

const DIGEST = /^@?((?:sha256:[0-9a-f]{64})|(?:sha512:[0-9a-f]{128}))$/;

/** The parts of a reference. */
export interface ReferenceParts {
  /** The registry, such as `docker.io`. */
  readonly registry: string;
  /** The path of the repository, such as `library/debian`. */
  readonly path: string;
  /** The tag; `null` if there is none. */
  readonly tag: string | null;
  /** The digest; `null` if there is none. */
  readonly digest: string | null;
}

/** Splits a reference. None of its parts is checked. */
export function splitReference(reference: string): ReferenceParts {
  const at = reference.indexOf("@");
  const [named, digest] = at < 0
    ? [reference, null]
    : [reference.slice(0, at), reference.slice(at + 1)];
  const colon = named.indexOf(":", named.lastIndexOf("/") + 1);
  const [name, tag] = colon < 0 ? [named, null] : [named.slice(0, colon), named.slice(colon + 1)];
  return { ...splitName(name), tag, digest };
}

/** Splits a name. Its first part is a registry if it cannot be part of a repository's name. */
function splitName(name: string): Pick<ReferenceParts, "registry" | "path"> {
  const slash = name.indexOf("/");
  const first = name.slice(0, Math.max(slash, 0));
  const isRegistry = /[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase();
  const [registry, path] = isRegistry ? [first, name.slice(slash + 1)] : [HUB, name];
  if (registry !== HUB && registry !== "index.docker.io") return { registry, path };
  return { registry: HUB, path: path.includes("/") ? path : `library/${path}` };
}

/** A reference in the form in which it is compared with others. */
interface Reference extends Pick<ReferenceParts, "tag" | "digest"> {
  /** The full registry and repository. */
  readonly repository: string;
}

function parse(reference: string): Reference {
  const { registry, path, tag, digest } = splitReference(reference);
  return { repository: `${registry}/${path}`, tag, digest };
}

/** Expands a name to its full form, which is the same for all names of an image. */
export function expandName(name: string): string {
  const { repository, tag, digest } = parse(name);
  const tagged = tag === null && digest !== null ? repository : `${repository}:${tag ?? "latest"}`;
  return digest === null ? tagged : `${tagged}@${digest}`;
}

/** An image with its names. */
export interface Named {
  /** Its names. */
  readonly names: readonly string[];
  /** Its digest. */
  readonly digest: string;
}

/**
 * Finds the images of a reference: a name, a name with a digest, or a digest alone. Exact names take
 * precedence over full forms.
 */
export function findNamed<T extends Named>(all: readonly T[], reference: string): readonly T[] {
  const [, digest] = DIGEST.exec(reference) ?? [];
  if (digest !== undefined) return all.filter((one) => one.digest === digest);
  const exact = all.filter(({ names }) => names.includes(reference));
  return exact.length > 0 ? exact : all.filter((one) => isMeant(one, parse(reference)));
}

function isMeant({ names, digest: is }: Named, { repository, tag, digest }: Reference): boolean {
  if (digest !== null && digest !== is) return false;
  if (digest !== null && names.length === 0) return true;
  return names.map(parse).some((name) => {
    if (name.repository !== repository) return false;
    if (digest !== null && tag === null) return true;
    return (name.tag ?? "latest") === (tag ?? "latest");
  });
}

/** Chooses the name of an image that matches a reference, or its first name; `null` if it has none. */
export function chooseName(names: readonly string[], reference: string | undefined): string | null {
  const [first = null] = names;
  if (reference === undefined || names.includes(reference)) return reference ?? first;
  return names.find((name) => expandName(name) === expandName(reference)) ?? first;
}
