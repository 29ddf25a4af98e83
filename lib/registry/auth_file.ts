/**
 * The credentials files of docker and podman: `config.json` and `auth.json`.
 *
 * Requires no permissions.
 *
 * @module
 */
import { asObject } from "./json.ts";
import type { ImageReference } from "./image_reference.ts";

/** The credentials for a registry. */
export interface Credentials {
  /** The user; empty with a token. */
  readonly username: string;
  /** The password; empty with a token. */
  readonly password: string;
  /** A refresh token of OAuth2; empty without one. */
  readonly identityToken: string;
  /** A token that is sent to the registry unchanged; empty without one. */
  readonly registryToken: string;
}

/** The place of credentials: the file, or a helper program. */
export type Found =
  | { readonly kind: "credentials"; readonly credentials: Credentials }
  | { readonly kind: "helper"; readonly helper: string; readonly server: string };

/** The key of Docker Hub in files that docker writes. */
const HUB_KEY = "https://index.docker.io/v1/";

/**
 * Lists the keys of credentials for a repository, the most specific first: the registry with the path, with
 * each parent of the path, and the registry alone.
 */
export function credentialKeys({ registry, repository }: ImageReference): readonly string[] {
  const parts = repository.split("/");
  const paths = parts.map((_, at) => `${registry}/${parts.slice(0, parts.length - at).join("/")}`);
  return [...paths, registry, ...(registry === "docker.io" ? [HUB_KEY, "index.docker.io"] : [])];
}

function textIn(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** Removes the scheme and the path of an API from a key, as podman does. */
function plainKey(key: string): string {
  return key.replace(/^https?:\/\//, "").replace(/\/v[12]\/?$|\/$/, "");
}

/** Reads an entry; `null` if it is empty, which means that a helper has the credentials. */
function readEntry(value: unknown): Credentials | null {
  const entry = asObject(value);
  const decoded = decodeBasic(textIn(entry.auth));
  const credentials = {
    username: decoded?.[0] ?? textIn(entry.username),
    password: decoded?.[1] ?? textIn(entry.password),
    identityToken: textIn(entry.identitytoken),
    registryToken: textIn(entry.registrytoken),
  };
  const { username, identityToken, registryToken } = credentials;
  return username + identityToken + registryToken === "" ? null : credentials;
}

/** Decodes the user and the password, separated by the first colon; `null` if the text is invalid. */
function decodeBasic(auth: string): readonly [username: string, password: string] | null {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(auth)) return null;
  try {
    const bytes = Uint8Array.from(atob(auth), (char) => char.charCodeAt(0));
    const text = new TextDecoder().decode(bytes).replace(/\0+$/, "");
    const colon = text.indexOf(":");
    return colon < 0 ? null : [text.slice(0, colon), text.slice(colon + 1)];
  } catch {
    return null;
  }
}

/**
 * Finds the credentials for a repository in a file.
 *
 * @param file The value of its JSON.
 * @returns The most specific credentials; `null` if the file has none.
 */
export function findCredentials(file: unknown, reference: ImageReference): Found | null {
  const { auths, credHelpers, credsStore } = asObject(file);
  const entries = asObject(auths);
  const byPlainKey = new Map(Object.entries(entries).map(([key, value]) => [plainKey(key), value]));
  const helper = textIn(asObject(credHelpers)[reference.registry]);
  if (helper !== "") return { kind: "helper", helper, server: reference.registry };
  for (const key of credentialKeys(reference)) {
    const credentials = readEntry(entries[key] ?? byPlainKey.get(plainKey(key)));
    if (credentials !== null) return { kind: "credentials", credentials };
  }
  const store = textIn(credsStore);
  if (store === "") return null;
  const server = reference.registry === "docker.io" ? HUB_KEY : reference.registry;
  return { kind: "helper", helper: store, server };
}
