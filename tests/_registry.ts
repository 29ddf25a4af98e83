/**
 * A real registry for tests: docker-registry on loopback, with storage and configuration of its own.
 *
 * @module
 */
import { exists } from "@std/fs/exists";
import { sh } from "./_temp.ts";
import type { TempDir } from "./_temp.ts";

/** The program, from the Debian package docker-registry. */
const PROGRAM = "/usr/bin/docker-registry";

/** The reason why no registry can be started here, for the name of a test; `null` if one can. */
export const noRegistry: string | null = await exists(PROGRAM)
  ? null
  : " [skipped: docker-registry is not installed]";

/** The user that a registry with authentication knows. */
export const USER = { name: "ruth", password: "pass:word" };

/** A registry that runs until it is disposed of. */
export interface TestRegistry extends AsyncDisposable {
  /** Its host and port. */
  readonly host: string;
  /** Its origin. */
  readonly origin: string;
  /** The directory with the CA, in the form of certs.d; empty for plain http. */
  readonly certs: string;
  /** The directory of its blobs. */
  readonly storage: string;
  /** The token server's origin, where it has one. */
  readonly tokens: string;
}

/** The three ways in which a registry can know its users. */
export type Auth = "plain" | "htpasswd" | "token";

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** A CA, and a certificate for loopback that it has signed; rustls takes no CA for a server. */
interface Certificates {
  readonly ca: string;
  readonly caKey: string;
  readonly cert: string;
  readonly key: string;
}

async function makeCertificates(dir: string, certs: string): Promise<Certificates> {
  const [ca, caKey] = [`${certs}/ca.crt`, `${dir}/ca.pem`];
  const [cert, key, request] = [`${dir}/cert.pem`, `${dir}/key.pem`, `${dir}/request.pem`];
  const made = ["-newkey", "rsa:2048", "-nodes", "-subj"];
  const names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
  await sh("openssl", "req", "-x509", ...made, "/CN=test CA", "-keyout", caKey, "-out", ca);
  await sh(
    ...["openssl", "req", ...made, "/CN=localhost", "-keyout", key, "-out", request] as const,
    ...["-addext", names],
  );
  await sh(
    ...["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", caKey] as const,
    ...["-copy_extensions", "copy", "-out", cert],
  );
  return { ca, caKey, cert, key };
}

async function htpasswd(path: string): Promise<void> {
  const program =
    'print "$ARGV[0]:", crypt($ARGV[1], q($2b$05$) . "abcdefghijklmnopqrstuu"), "\\n"';
  const line = await sh("perl", "-e", program, USER.name, USER.password);
  await Deno.writeTextFile(path, line.replace("$2b$", "$2y$"));
}

/** Starts a registry. */
export async function startRegistry(
  dir: Pick<TempDir, "path">,
  { auth = "plain", tls = false }: { readonly auth?: Auth; readonly tls?: boolean } = {},
): Promise<TestRegistry> {
  const home = await Deno.makeTempDir({ dir: dir.path, prefix: "registry-" });
  const certs = `${home}/certs`;
  await Deno.mkdir(certs);
  const signed = tls || auth === "token" ? await makeCertificates(home, certs) : null;
  const tokens = auth === "token" && signed !== null ? await serveTokens(signed, tls) : null;
  if (auth === "htpasswd") await htpasswd(`${home}/htpasswd`);
  for (let tries = 0;; tries++) {
    const host = `127.0.0.1:${freePort()}`;
    const config = {
      version: 0.1,
      log: { level: "error", accesslog: { disabled: true } },
      // Otherwise it takes no foreign layers.
      validation: { manifests: { urls: { allow: ["^https://"] } } },
      storage: { filesystem: { rootdirectory: `${home}/data` }, delete: { enabled: true } },
      http: {
        addr: host,
        ...(tls ? { tls: { certificate: signed?.cert, key: signed?.key } } : {}),
      },
      ...(auth === "htpasswd"
        ? { auth: { htpasswd: { realm: 'My Registry, the "best"', path: `${home}/htpasswd` } } }
        : {}),
      ...(tokens === null ? {} : {
        auth: {
          token: {
            realm: `${tokens.origin}/token`,
            service: "tests",
            issuer: "tests",
            rootcertbundle: signed?.ca,
          },
        },
      }),
    };
    // JSON is YAML.
    await Deno.writeTextFile(`${home}/config.yml`, JSON.stringify(config));
    const child = new Deno.Command(PROGRAM, {
      args: ["serve", `${home}/config.yml`],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const status = child.status;
    const isUp = await comesUp(host, status);
    if (isUp) {
      const origin = `${tls ? "https" : "http"}://${host}`;
      return {
        ...{ host, origin, certs: tls ? certs : "", storage: `${home}/data` },
        tokens: tokens?.origin ?? "",
        async [Symbol.asyncDispose](): Promise<void> {
          child.kill("SIGKILL");
          await status;
          await tokens?.[Symbol.asyncDispose]();
        },
      };
    }
    if (tries === 5) throw new Error("docker-registry does not start");
  }
}

async function comesUp(host: string, status: Promise<unknown>): Promise<boolean> {
  const [hostname = "", port] = host.split(":");
  let ended = false;
  status.then(() => ended = true);
  for (let waited = 0; waited < 30_000 && !ended; waited += 20) {
    try {
      (await Deno.connect({ hostname, port: Number(port) })).close();
      return true;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  return false;
}

function base64url(bytes: Uint8Array | string): string {
  const raw = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
  return btoa(String.fromCharCode(...raw)).replaceAll("+", "-").replaceAll("/", "_").replace(
    /=+$/,
    "",
  );
}

function pemBody(pem: string): string {
  return pem.replace(/-----[^-]+-----/g, "").replaceAll(/\s/g, "");
}

/** A token server: everybody may pull, the user may push. */
async function serveTokens(
  { ca, caKey, cert, key }: Certificates,
  tls: boolean,
): Promise<AsyncDisposable & { readonly origin: string }> {
  const der = Uint8Array.from(
    atob(pemBody(await Deno.readTextFile(caKey))),
    (c) => c.charCodeAt(0),
  );
  const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  const signer = await crypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
  const x5c = [pemBody(await Deno.readTextFile(ca))];
  const basic = `Basic ${btoa(`${USER.name}:${USER.password}`)}`;
  const how = {
    ...{ hostname: "127.0.0.1", port: 0, onListen(): void {} },
    ...(tls ? { cert: await Deno.readTextFile(cert), key: await Deno.readTextFile(key) } : {}),
  };
  const server = Deno.serve(how, async (request) => {
    const isUser = request.headers.get("authorization") === basic;
    const access = new URL(request.url).searchParams.getAll("scope").map((scope) => {
      const [type, name, actions = ""] = scope.split(":");
      const allowed = actions.split(",").filter((action) => isUser || action === "pull");
      return { type, name, actions: allowed };
    });
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      ...{ iss: "tests", sub: isUser ? USER.name : "", aud: "tests" },
      ...{ exp: now + 60, nbf: now - 5, iat: now - 5, jti: crypto.randomUUID(), access },
    };
    const head = base64url(JSON.stringify({ typ: "JWT", alg: "RS256", x5c }));
    const text = `${head}.${base64url(JSON.stringify(claims))}`;
    const signature = await crypto.subtle.sign(algorithm, signer, new TextEncoder().encode(text));
    return Response.json({ token: `${text}.${base64url(new Uint8Array(signature))}` });
  });
  return {
    origin: `${tls ? "https" : "http"}://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** A way to a registry that is cut. */
export interface CuttingProxy extends AsyncDisposable {
  /** Its own host and port. */
  readonly host: string;
  /** The cuts that are still to come, in bytes of an answer. */
  readonly cuts: number[];
  /** How many bytes of answers went through it. */
  readonly sent: () => number;
}

/** Passes connections on; each cut ends one when so many bytes of answers went through it. */
export function cuttingProxy(to: string, cuts: readonly number[]): CuttingProxy {
  const [hostname = "", port] = to.split(":");
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const left = [...cuts];
  const open = new Set<Deno.Conn>();
  let sent = 0;
  const pass = async (client: Deno.Conn) => {
    const server = await Deno.connect({ hostname, port: Number(port) });
    for (const one of [client, server]) open.add(one);
    const requests = client.readable.pipeTo(server.writable).catch(() => {});
    const writer = client.writable.getWriter();
    let through = 0;
    try {
      for await (const piece of server.readable) {
        const cut = left[0] ?? Infinity;
        const part = piece.subarray(0, Math.max(cut - through, 0));
        await writer.write(part);
        through += part.length;
        sent += part.length;
        if (through < cut) continue;
        left.shift();
        break;
      }
    } catch {
      // The client went away.
    } finally {
      for (const one of [client, server]) {
        open.delete(one);
        try {
          one.close();
        } catch {
          // It is closed.
        }
      }
      await requests;
    }
  };
  const serving = (async () => {
    const passing: Promise<void>[] = [];
    try {
      for await (const client of listener) passing.push(pass(client).catch(() => {}));
    } catch {
      // It is closed.
    }
    await Promise.all(passing);
  })();
  return {
    host: `127.0.0.1:${listener.addr.port}`,
    cuts: left,
    sent: () => sent,
    async [Symbol.asyncDispose](): Promise<void> {
      listener.close();
      for (const one of open) {
        try {
          one.close();
        } catch {
          // It is closed.
        }
      }
      await serving;
    },
  };
}
