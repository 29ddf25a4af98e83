/**
 * The process that the config of an image describes (OCI image specification, "Image Configuration").
 *
 * Requires no permissions.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";

/** The process that an image describes. */
export interface ImageProcess {
  /** The words before the command. */
  readonly entrypoint: readonly string[];
  /** The command, or the arguments of the entry point. */
  readonly cmd: readonly string[];
  /** The variables, each as `NAME=VALUE`. */
  readonly env: readonly string[];
  /** The working directory; empty for `/`. */
  readonly workdir: string;
  /** The user, as `USER[:GROUP]`, each a name or an id; empty for root. */
  readonly user: string;
}

/** The process of an image without a config. */
const NONE: ImageProcess = { entrypoint: [], cmd: [], env: [], workdir: "", user: "" };

function badConfig(reason: string): OverlayError {
  return new OverlayError("bad-image", `Cannot use the config of the image: ${reason}`, {
    hint: "overlay-render tree inspect shows it",
  });
}

function readText(name: string, value: unknown): string {
  if (typeof value === "string" && !value.includes("\0")) return value;
  throw badConfig(`its ${name} is no text`);
}

function readWords(name: string, value: unknown): readonly string[] {
  if (Array.isArray(value)) return value.map((word) => readText(name, word));
  throw badConfig(`its ${name} is no list of words`);
}

function parse(config: string): Readonly<Record<string, unknown>> {
  try {
    const value = JSON.parse(config)?.config ?? {};
    if (typeof value === "object" && !Array.isArray(value)) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw badConfig(`it is no JSON: ${quote(error.message)}`);
  }
  throw badConfig("its part config is no object");
}

/**
 * Reads the process of an image. A part that is absent or null has its default.
 *
 * @param config The config as JSON; `null` if the image has none.
 * @throws {OverlayError} If a part is of another type.
 */
export function readImageProcess(config: string | null): ImageProcess {
  if (config === null) return NONE;
  const { Entrypoint, Cmd, Env, WorkingDir, User } = parse(config);
  return {
    entrypoint: readWords("Entrypoint", Entrypoint ?? []),
    cmd: readWords("Cmd", Cmd ?? []),
    env: readWords("Env", Env ?? []),
    workdir: readText("WorkingDir", WorkingDir ?? ""),
    user: readText("User", User ?? ""),
  };
}
