/**
 * The access to a registry: its hosts, credentials and certificates, and the permissions for them.
 *
 * @module
 */
import { invalid } from "../core/invalid.ts";
import type { Credentials } from "../registry/auth_file.ts";
import { certificateDirectories, makeClient } from "../registry/certificates.ts";
import { AUTH_VARIABLES, authFiles, lookUpCredentials } from "../registry/credentials.ts";
import { netValue } from "../registry/http.ts";
import type { Fetch, HttpOptions } from "../registry/http.ts";
import { hostOfRegistry } from "../registry/image_reference.ts";
import type { ImageReference } from "../registry/image_reference.ts";
import { openRepository } from "../registry/registry.ts";
import type { Repository } from "../registry/registry.ts";
import type { RequiredPermissions } from "../system/permissions.ts";

/** The part of a request that concerns the registry. */
export interface RegistryRequest {
  /** The image in its registry, such as `debian:12` or `ghcr.io/owner/name@sha256:…`. */
  readonly reference: string;
  /** The credentials file. @default {those of podman and docker} */
  readonly authFile?: string;
  /** The user at the registry. @default {from the credentials files} */
  readonly username?: string;
  /** The user's password. */
  readonly password?: string;
  /** The directory with the certificates for the registry. @default {those of podman and docker} */
  readonly certDir?: string;
  /** Set if the registry is accessed without TLS. @default {only on this machine} */
  readonly plainHttp?: boolean;
}

/** A request without its reference. */
export type AccessRequest = {
  readonly [K in keyof Omit<RegistryRequest, "reference">]?: RegistryRequest[K] | undefined;
};

/** The options of requests to a registry. */
export interface AccessOptions {
  /** Makes HTTP requests. @default {fetch} */
  readonly fetch?: Fetch;
  /** Waits before a request is made again. @default {by setTimeout()} */
  readonly wait?: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
  /** The longest time in milliseconds until the headers of an answer come. @default {30000} */
  readonly headersMs?: number;
  /** The longest time in milliseconds between two pieces of a body. @default {60000} */
  readonly idleMs?: number;
}

/** A repository that can be accessed until it is disposed of. */
export interface Connection extends Disposable {
  /** The repository. */
  readonly repository: Repository;
}

/** Lists the hosts that are accessed for a reference, as far as they are known in advance. */
function hostsOf({ registry }: ImageReference, plainHttp: boolean | undefined): readonly string[] {
  const scheme = plainHttp ? "http" : "https";
  const hosts = [netValue(new URL(`${scheme}://${hostOfRegistry(registry)}`))];
  return registry === "docker.io" ? [...hosts, "auth.docker.io:443"] : hosts;
}

/** Computes the permissions for the access to a registry, as far as they are known in advance. */
export function accessPermissions(
  reference: ImageReference,
  request: AccessRequest,
): RequiredPermissions {
  const host = hostOfRegistry(reference.registry);
  const known = request.username !== undefined;
  return {
    read: [
      ...certificateDirectories(host, request.certDir),
      ...(known ? [] : authFiles(request.authFile)),
    ],
    write: [],
    run: [],
    net: hostsOf(reference, request.plainHttp),
    env: known || request.authFile !== undefined ? [] : AUTH_VARIABLES,
  };
}

/** Finds the credentials, in the request or in the files. */
async function findCredentials(
  reference: ImageReference,
  { username, password, authFile }: AccessRequest,
): Promise<Credentials | null> {
  if (username === undefined) return await lookUpCredentials(reference, authFiles(authFile));
  if (password !== undefined) return { username, password, identityToken: "", registryToken: "" };
  throw invalid("user name", username, "no password goes with it", {
    hint: "give --password-stdin",
  });
}

/**
 * Connects to the registry of a reference, with its credentials and certificates.
 *
 * @param verb The action, such as `pull`.
 */
export async function connect(
  verb: string,
  reference: ImageReference,
  request: AccessRequest,
  options: AccessOptions & Pick<HttpOptions, "signal" | "trace">,
): Promise<Connection> {
  const directories = certificateDirectories(hostOfRegistry(reference.registry), request.certDir);
  const client = makeClient(directories, true);
  const otherClient = makeClient(directories, false);
  const close = () => {
    client?.close();
    otherClient?.close();
  };
  try {
    const repository = openRepository(verb, reference, {
      ...options,
      client: client ?? undefined,
      otherClient: otherClient ?? undefined,
      plainHttp: request.plainHttp,
      credentials: await findCredentials(reference, request),
    });
    return { repository, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}
