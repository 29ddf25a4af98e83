/**
 * Uploads blobs to a repository (OCI distribution specification, "Pushing blobs").
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import type { Answer } from "./answer.ts";
import { ConnectionError } from "./connection_error.ts";
import { REDIRECTS } from "./http.ts";
import type { Repository } from "./registry.ts";
import { isPassing, TRIES } from "./retry.ts";
import type { Scope } from "./token.ts";

/** The largest blob that is sent in one request, in bytes. */
const SMALL = 8 << 20;

/** Opens the bytes of a blob, from the beginning. */
export type OpenBlob = () => AsyncGenerator<Uint8Array<ArrayBuffer>>;

/** A blob that is uploaded. */
export interface UploadedBlob {
  /** Its digest. */
  readonly digest: string;
  /** Its size, in bytes. */
  readonly size: number;
}

/** A request to upload that failed, and may be made again in a new session. */
interface Fault {
  readonly error: OverlayError;
  readonly answer: Answer | null;
}

/** The answer of a registry that another session may mend. */
class AnswerError extends Error {
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(fault.error.message);
    this.fault = fault;
  }
}

function pushScopes(repository: Repository): readonly Scope[] {
  return [repository.scope("pull,push")];
}

/**
 * Tells whether a repository has a blob. A registry that redirects to the storage of the blob has it, and the
 * storage is not asked.
 */
export async function hasBlob(repository: Repository, digest: string): Promise<boolean> {
  const request = {
    method: "HEAD",
    url: `blobs/${digest}`,
    scopes: pushScopes(repository),
  } as const;
  let answer = await repository.ask({ ...request, follow: false });
  await answer.drop();
  if (REDIRECTS.includes(answer.status)) {
    if (repository.locationIn(answer).pathname !== answer.url.pathname) return true;
    answer = await repository.ask(request);
    await answer.drop();
  }
  if (answer.status === 200) return true;
  if (answer.status === 404 || answer.status === 405) return false;
  throw await repository.refuse(answer);
}

/** The statuses of a registry that does not mount a blob: it is uploaded. */
const UNMOUNTED: readonly number[] = [400, 401, 403, 404, 405];

/**
 * Asks the registry to take a blob from another of its repositories.
 *
 * @param from The path of that repository.
 * @returns `true` if it is there now; otherwise the location of an upload, or `false` without one.
 */
export async function mountBlob(
  repository: Repository,
  digest: string,
  from: string,
): Promise<boolean | URL> {
  const url = repository.url("blobs/uploads/");
  url.search = `?mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(from)}`;
  const scopes = [...pushScopes(repository), `repository:${from}:pull`];
  try {
    const answer = await repository.ask({ method: "POST", url, scopes });
    await answer.drop();
    if (answer.status === 201) return true;
    if (answer.status === 202) return repository.locationIn(answer);
    if (UNMOUNTED.includes(answer.status)) return false;
    throw await repository.refuse(answer);
  } catch (error) {
    // A token server may refuse the second scope.
    if (error instanceof OverlayError && /^(unauthorized|denied)$/.test(error.code)) return false;
    throw error;
  }
}

/**
 * Uploads a blob, and begins again in a new session if a request fails.
 *
 * @param open Opens its bytes, once for each attempt.
 * @param session The location of an upload that has begun; `null` if there is none.
 * @param onSent Called with the number of bytes that were sent, repeatedly.
 * @throws {OverlayError} If the registry does not take it.
 */
export async function uploadBlob(
  repository: Repository,
  blob: UploadedBlob,
  open: OpenBlob,
  { session, onSent }: {
    readonly session: URL | null;
    readonly onSent: (bytes: number) => void;
  },
): Promise<void> {
  for (let [tried, begun] = [1, session];; tried++, begun = null) {
    const fault = await tryUpload(repository, blob, open, { session: begun, onSent });
    if (fault === null) return;
    if (tried >= TRIES) throw fault.error;
    await repository.pause(tried, fault.answer);
    // The answer may be lost, and the blob be there.
    if (await hasBlob(repository, blob.digest)) return;
  }
}

/** Ends the session of an upload that is not made. A failure is no error: registries forget sessions by themselves. */
export async function endSession(repository: Repository, url: URL): Promise<void> {
  try {
    const request = {
      method: "DELETE",
      url,
      scopes: pushScopes(repository),
      clears: true,
    } as const;
    await (await repository.ask(request)).drop();
  } catch {
    // The error that ended the upload is the cause.
  }
}

async function tryUpload(
  repository: Repository,
  blob: UploadedBlob,
  open: OpenBlob,
  how: { readonly session: URL | null; readonly onSent: (bytes: number) => void },
): Promise<Fault | null> {
  let at: URL | null = null;
  try {
    at = how.session ?? await startSession(repository);
    const pieces = () => measurePieces(repository, blob, open(), how.onSent);
    if (blob.size <= SMALL) {
      const body = new Uint8Array(await new Blob(await Array.fromAsync(pieces())).arrayBuffer());
      await closeSession(repository, at, blob.digest, body);
    } else {
      at = await sendStream(repository, at, pieces);
      await closeSession(repository, at, blob.digest);
    }
    return null;
  } catch (error) {
    if (at !== null) await endSession(repository, at);
    if (error instanceof AnswerError) return error.fault;
    if (error instanceof ConnectionError && !error.isPlain) return { error, answer: null };
    throw error;
  }
}

async function startSession(repository: Repository): Promise<URL> {
  const url = "blobs/uploads/";
  const answer = await repository.ask({ method: "POST", url, scopes: pushScopes(repository) });
  if (answer.status !== 202) throw await repository.refuse(answer);
  await answer.drop();
  return repository.locationIn(answer);
}

const BYTES = { "content-type": "application/octet-stream" };

/** Sends a blob in one streamed request; several would be lost on some registries. Returns the next location. */
async function sendStream(
  repository: Repository,
  url: URL,
  pieces: OpenBlob,
): Promise<URL> {
  // A redirect opens the blob a second time.
  const opened: ReturnType<OpenBlob>[] = [];
  let fault: unknown = null;
  const stream = (onPiece: () => void) => {
    const source = pieces();
    opened.push(source);
    return new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller): Promise<void> {
        try {
          const { value, done } = await source.next();
          onPiece();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          fault = error;
          controller.error(error);
        }
      },
      cancel: async () => void await source.return(undefined),
    });
  };
  try {
    const how = { headers: BYTES, scopes: pushScopes(repository), stream };
    const answer = await repository.ask({ method: "PATCH", url, ...how });
    await checkTaken(repository, answer);
    return repository.locationIn(answer);
  } catch (error) {
    throw fault ?? error;
  } finally {
    // An answer may come before all bytes are sent.
    for (const source of opened) await source.return(undefined);
  }
}

/** Ends an upload: the registry checks the digest. */
async function closeSession(
  repository: Repository,
  session: URL,
  digest: string,
  body?: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const url = new URL(session);
  // The query is the registry's own, and stays as it is.
  url.search += `${url.search === "" ? "?" : "&"}digest=${encodeURIComponent(digest)}`;
  const how = { headers: BYTES, scopes: pushScopes(repository), once: true };
  const content = body === undefined ? {} : { body };
  await checkTaken(repository, await repository.ask({ method: "PUT", url, ...how, ...content }));
}

/** The statuses that a new session may mend: the token has ended, or the session is forgotten. */
const MENDABLE: readonly number[] = [401, 404, 416];

async function checkTaken(repository: Repository, answer: Answer): Promise<void> {
  const { status } = answer;
  if (status >= 200 && status < 300) return await answer.drop();
  const error = await repository.refuse(answer);
  if (!isPassing(status) && !MENDABLE.includes(status)) throw error;
  throw new AnswerError({ error, answer });
}

/** Passes the bytes of a blob on, and checks their number. */
async function* measurePieces(
  repository: Repository,
  { digest, size }: UploadedBlob,
  pieces: ReturnType<OpenBlob>,
  onSent: (bytes: number) => void,
): ReturnType<OpenBlob> {
  let sent = 0;
  for await (const piece of pieces) {
    sent += piece.length;
    if (sent > size) break;
    yield piece;
    onSent(piece.length);
  }
  if (sent === size) return;
  const reason = `its blob ${quote(digest)} has not the ${size} bytes that it must have`;
  throw new OverlayError("bad-digest", `Cannot ${repository.what}: ${reason}`, {
    hint: "get the image again; overlay-render tree check ID tells what is damaged",
  });
}

/**
 * Writes a manifest.
 *
 * @param name A tag or a digest.
 */
export async function putManifest(
  repository: Repository,
  name: string,
  manifest: {
    readonly mediaType: string;
    readonly bytes: Uint8Array<ArrayBuffer>;
    readonly digest: string;
  },
): Promise<void> {
  const answer = await repository.ask({
    method: "PUT",
    url: `manifests/${name}`,
    headers: { "content-type": manifest.mediaType },
    body: manifest.bytes,
    scopes: pushScopes(repository),
  });
  if (answer.status < 200 || answer.status >= 300) throw await repository.refuse(answer);
  await answer.drop();
  const is = answer.header("docker-content-digest");
  if (is === null || is === manifest.digest) return;
  const reason = `the registry keeps the manifest as ${quote(is)}, and it is ${manifest.digest}`;
  throw new OverlayError("bad-digest", `Cannot ${repository.what}: ${reason}`, {
    hint: "the registry, or what answers in its place, changes images",
  });
}
