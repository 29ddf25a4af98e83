/**
 * Names of images as docker reads them: `debian` is `docker.io/library/debian:latest`.
 *
 * Requires no permissions.
 *
 * @module
 */

const DIGEST = /^@?((?:sha256:[0-9a-f]{64})|(?:sha512:[0-9a-f]{128}))$/;

/** The parts of a reference. */
interface Reference {
  /** The registry and the repository, both in full. */
  readonly repository: string;
  readonly tag: string | null;
  readonly digest: string | null;
}

function parse(reference: string): Reference {
  const at = reference.indexOf("@");
  const [findNamed, digest] = at < 0
    ? [reference, null]
    : [reference.slice(0, at), reference.slice(at + 1)];
  const colon = findNamed.indexOf(":", findNamed.lastIndexOf("/") + 1);
  const [path, tag] = colon < 0
    ? [findNamed, null]
    : [findNamed.slice(0, colon), findNamed.slice(colon + 1)];
  return { repository: fullPath(path), tag, digest };
}

/** A first part is a registry where it could be no part of a repository's name. */
function fullPath(path: string): string {
  const slash = path.indexOf("/");
  const first = path.slice(0, Math.max(slash, 0));
  const isRegistry = /[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase();
  const [registry, rest] = isRegistry ? [first, path.slice(slash + 1)] : ["docker.io", path];
  if (registry !== "docker.io" && registry !== "index.docker.io") return `${registry}/${rest}`;
  return `docker.io/${rest.includes("/") ? rest : `library/${rest}`}`;
}

/** A name in full: two names mean the same image when this is the same of both. */
export function expandName(name: string): string {
  const { repository, tag, digest } = parse(name);
  const tagged = tag === null && digest !== null ? repository : `${repository}:${tag ?? "latest"}`;
  return digest === null ? tagged : `${tagged}@${digest}`;
}

/** An image that a reference may mean. */
export interface Named {
  /** Its names. */
  readonly names: readonly string[];
  /** Its digest. */
  readonly digest: string;
}

/**
 * Those that a reference means: a name, a name with a digest, or a digest alone. One whose name is the very
 * same goes before those of which it is the same in full.
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

/** The name of an image that a reference has found, or its first one; `null` when it has none. */
export function chooseName(names: readonly string[], reference: string | undefined): string | null {
  const [first = null] = names;
  if (reference === undefined || names.includes(reference)) return reference ?? first;
  return names.find((name) => expandName(name) === expandName(reference)) ?? first;
}
