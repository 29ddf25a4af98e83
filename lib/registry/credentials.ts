/**
 * Looks up credentials in the files of podman and docker, and by their helper programs.
 *
 * @module
 */
import { MissingPermissionError, OverlayError } from "../core/errors.ts";
import { printable, quote, shellQuote } from "../core/quote.ts";
import { ifAny } from "../system/disk.ts";
import { isGranted } from "../system/permissions.ts";
import { runWithInput } from "../system/run.ts";
import { findCredentials } from "./auth_file.ts";
import type { Credentials } from "./auth_file.ts";
import type { ImageReference } from "./image_reference.ts";
import { parseObject } from "./json.ts";
import { readRegular } from "../system/regular_file.ts";

/** The environment variables with the paths of the files. */
export const AUTH_VARIABLES: readonly string[] = [
  "REGISTRY_AUTH_FILE",
  "XDG_RUNTIME_DIR",
  "XDG_CONFIG_HOME",
  "DOCKER_CONFIG",
  "HOME",
];

/** The variables that a helper needs to find its credentials. */
const HELPER_VARIABLES: readonly string[] = ["HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/** Reads an environment variable; `undefined` if it is empty or may not be read. */
function readVariable(variable: string): string | undefined {
  return isGranted({ name: "env", variable }) ? Deno.env.get(variable) || undefined : undefined;
}

/** The directories of helper programs: with a bare name, `PATH` would choose the program. */
const HELPERS: readonly string[] = ["/usr/bin", "/usr/local/bin"];

/** The most bytes of a credentials file. */
const FILE_MAX = 1 << 20;

/** The message of a helper that has no credentials for a registry. */
const NOT_FOUND = /credentials not found/i;

/** The user name with which a helper hands out an identity token. */
const TOKEN_USER = "<token>";

/**
 * Lists the credentials files, in the order of the lookup.
 *
 * Requires `--allow-env` permission for {@linkcode AUTH_VARIABLES}; without it, the list has
 * only the given file.
 *
 * @param authFile The file that the user has named, if any.
 */
export function authFiles(authFile?: string): readonly string[] {
  if (authFile !== undefined) return [authFile];
  const named = readVariable("REGISTRY_AUTH_FILE");
  if (named !== undefined) return [named];
  const [runtime, home] = ["XDG_RUNTIME_DIR", "HOME"].map(readVariable);
  const below = (directory: string | undefined, path: string) => {
    return directory?.startsWith("/") ? [`${directory}/${path}`] : [];
  };
  const [config, docker] = ["XDG_CONFIG_HOME", "DOCKER_CONFIG"].map(readVariable);
  return [
    ...below(runtime, "containers/auth.json"),
    ...(config === undefined
      ? below(home, ".config/containers/auth.json")
      : below(config, "containers/auth.json")),
    ...(docker === undefined ? below(home, ".docker/config.json") : below(docker, "config.json")),
  ];
}

/**
 * Looks up the credentials for a repository.
 *
 * Requires `--allow-read` permission for the files, and `--allow-run` for a helper that one of them names.
 *
 * @param files As {@linkcode authFiles} lists them.
 * @returns The credentials; `null` if there are none: the registry is accessed anonymously.
 * @throws {OverlayError} If a file is not JSON, or a helper fails.
 * @throws {MissingPermissionError} If a helper may not be run.
 */
export async function lookUpCredentials(
  reference: ImageReference,
  files: readonly string[],
): Promise<Credentials | null> {
  for (const path of files) {
    const found = findCredentials(await readJson(path), reference);
    if (found?.kind === "credentials") return found.credentials;
    if (found?.kind !== "helper") continue;
    const credentials = await askHelper(found.helper, found.server, path);
    if (credentials !== null) return credentials;
  }
  return null;
}

async function readJson(path: string): Promise<unknown> {
  if (!ifAny(() => Deno.statSync(path))?.isFile) return {};
  const content = await readRegular(path, FILE_MAX, { verb: "read credentials file" });
  try {
    return JSON.parse(new TextDecoder().decode(content));
  } catch {
    // The message of the parser could quote a password.
    throw fileError(path, "it is no JSON");
  }
}

function fileError(path: string, reason: string): OverlayError {
  return new OverlayError("failed", `Cannot use credentials file ${quote(path)}: ${reason}`, {
    path,
    hint: "mend it, or name another one: --authfile FILE",
  });
}

async function askHelper(
  name: string,
  server: string,
  file: string,
): Promise<Credentials | null> {
  if (!/^[\w.-]+$/.test(name)) throw fileError(file, `${quote(name)} is no name of a helper`);
  const program = findHelper(name, file);
  const env = Object.fromEntries(HELPER_VARIABLES.flatMap((variable) => {
    const value = readVariable(variable);
    return value === undefined ? [] : [[variable, value]];
  }));
  const { status, stdout } = await runWithInput(program, ["get"], server, env);
  if (NOT_FOUND.test(stdout)) return null;
  const { Username: username, Secret: secret } = parseObject(stdout);
  if (status !== 0 || typeof username !== "string" || typeof secret !== "string") {
    const said = printable(status === 0 ? "" : stdout.trim().slice(0, 200));
    throw new OverlayError(
      "failed",
      `Cannot get credentials for ${quote(server)}: ${quote(program)} gives none` +
        (said === "" ? "" : `, and said ${quote(said)}`),
      { path: program, hint: `try it by hand: echo ${shellQuote(server)} | ${program} get` },
    );
  }
  const isToken = username === TOKEN_USER;
  return {
    username: isToken ? "" : username,
    password: isToken ? "" : secret,
    identityToken: isToken ? secret : "",
    registryToken: "",
  };
}

/** Finds a helper that may be run, and returns its absolute path. */
function findHelper(name: string, file: string): string {
  const programs = HELPERS.map((directory) => `${directory}/docker-credential-${name}`);
  const granted = programs.filter((command) => isGranted({ name: "run", command }));
  if (granted.length === 0) {
    const flag = `--allow-run=${programs[0]}`;
    throw new MissingPermissionError(
      `Cannot get credentials without Deno permissions: missing ${shellQuote(flag)}`,
      [flag],
      {
        hint: `${quote(file)} names that helper; or name another file: --authfile FILE`,
        path: file,
      },
    );
  }
  return granted.find((program) => ifAny(() => Deno.statSync(program))?.isFile) ?? granted[0] ?? "";
}
