/**
 * The registries that the blobs of a push come from if the store does not keep them.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import type { HttpOptions } from "../registry/http.ts";
import type { ImageReference } from "../registry/image_reference.ts";
import type { OpenBlob } from "../registry/push_blob.ts";
import type { Repository } from "../registry/registry.ts";
import { formatPlace } from "./push_image.ts";
import type { PushedBlob } from "./push_image.ts";
import { connect } from "./registry_access.ts";
import type { AccessOptions, AccessRequest } from "./registry_access.ts";

type ConnectOptions = AccessOptions & Pick<HttpOptions, "signal" | "trace">;

/** Returns the access to the registry of a source; the credentials of a request are for its own registry only. */
export function accessFor(
  source: ImageReference,
  target: ImageReference,
  request: AccessRequest,
): AccessRequest {
  return source.registry === target.registry ? request : { authFile: request.authFile };
}

/** The registries that images were pulled from, connected when they are needed. */
export class Sources implements Disposable {
  readonly #target: ImageReference;
  readonly #request: AccessRequest;
  readonly #options: ConnectOptions;
  readonly #connections = new Map<string, ReturnType<typeof connect>>();
  readonly #open: Disposable[] = [];

  constructor(target: ImageReference, request: AccessRequest, options: ConnectOptions) {
    this.#target = target;
    this.#request = request;
    this.#options = options;
  }

  /** Connects to the source of a blob, and returns the function that fetches its bytes. */
  async open({ digest, source }: PushedBlob): Promise<OpenBlob> {
    if (source === null) throw new OverlayError("failed", `Cannot push: ${digest} has no source`);
    const place = formatPlace(source);
    const access = accessFor(source, this.#target, this.#request);
    const begun = this.#connections.get(place) ?? connect("pull", source, access, this.#options);
    this.#connections.set(place, begun);
    const connection = await begun;
    this.#open.push(connection);
    return () => fetchPieces(connection.repository, digest);
  }

  [Symbol.dispose](): void {
    for (const connection of new Set(this.#open)) connection[Symbol.dispose]();
  }
}

async function* fetchPieces(repository: Repository, digest: string): ReturnType<OpenBlob> {
  const answer = await repository.blob(digest, 0);
  if (answer.status !== 200) throw await repository.refuse(answer);
  // They are sent later.
  for await (const piece of answer.pieces()) yield piece.slice();
}
