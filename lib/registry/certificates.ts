/**
 * The certificates for a registry, in the directories of podman and docker:
 * `certs.d/<host>[:<port>]/`, with `*.crt` of authorities, and `*.cert` and `*.key` of the client.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { child } from "../core/path.ts";
import { quote } from "../core/quote.ts";
import { attempt, entriesIn, ifAny } from "../system/disk.ts";

const DIRECTORIES: readonly string[] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/** Lists the directories that are searched for a registry; the first that is not empty is used. */
export function certificateDirectories(host: string, given?: string): readonly string[] {
  return given === undefined ? DIRECTORIES.map((directory) => child(directory, host)) : [given];
}

/**
 * Makes an HTTP client with the certificates for a registry.
 *
 * Requires `--allow-read` permission for the directories.
 *
 * @param directories As {@linkcode certificateDirectories} lists them.
 * @param withKey Set if the client authenticates with its key, which only the registry itself may ask for.
 * @returns The client, which the caller closes; `null` if there are no certificates.
 * @throws {OverlayError} If one of them cannot be read or used.
 */
export function makeClient(
  directories: readonly string[],
  withKey: boolean,
): Deno.HttpClient | null {
  const directory = directories.find((path) => ifAny(() => Deno.statSync(path))?.isDirectory);
  if (directory === undefined) return null;
  const names = entriesIn(directory).map(({ name }) => name).sort();
  const read = (name: string) => {
    const path = child(directory, name);
    return attempt("read", path, () => Deno.readTextFileSync(path));
  };
  const caCerts = names.filter((name) => name.endsWith(".crt")).map(read);
  const cert = withKey ? names.find((name) => name.endsWith(".cert")) : undefined;
  if (caCerts.length === 0 && cert === undefined) return null;
  return open(
    directory,
    { caCerts, ...(cert === undefined ? {} : pair(directory, names, cert)) },
    read,
  );
}

/** Pairs the client's certificate with its key, which has the same name. */
function pair(
  directory: string,
  names: readonly string[],
  cert: string,
): { readonly cert: string; readonly key: string } {
  const key = cert.replace(/cert$/, "key");
  if (names.includes(key)) return { cert, key };
  const message = `Cannot use certificate ${quote(child(directory, cert))}: its key is not there`;
  throw new OverlayError("missing", message, {
    path: directory,
    hint: `put the key beside it: ${quote(key)}`,
  });
}

function open(
  directory: string,
  { caCerts, cert, key }: {
    readonly caCerts: string[];
    readonly cert?: string;
    readonly key?: string;
  },
  read: (name: string) => string,
): Deno.HttpClient {
  try {
    return cert === undefined || key === undefined
      ? Deno.createHttpClient({ caCerts })
      : Deno.createHttpClient({ caCerts, cert: read(cert), key: read(key) });
  } catch (error) {
    if (error instanceof OverlayError) throw error;
    throw new OverlayError("untrusted-tls", `Cannot use the certificates in ${quote(directory)}`, {
      path: directory,
      cause: error,
      hint: "they must be in PEM format: openssl x509 -in FILE -text",
    });
  }
}
