/**
 * What an import is asked for, and the same parsed.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "./errors.ts";
import type { LayerPolicy } from "./layer_filter.ts";
import { invalid, parsePath } from "./names.ts";
import { storeLayout } from "./store.ts";
import type { StoreLayout } from "./store.ts";

/** What an import is asked for. */
export interface ImportRequest {
  /**
   * A directory, an archive of a root file system, an image of `docker save` or of skopeo's `dir:`, or an OCI
   * image layout, each of them a directory or an archive (plain, gzip, xz, zstd); an absolute path, or `-`
   * for stdin.
   */
  readonly source: string;
  /** The tree store. @default {"/var/lib/overlay-render"} */
  readonly store?: string;
  /** Which of several images is meant, by its name or its digest. @default {the only one} */
  readonly ref?: string;
  /** The platform, such as `linux/arm64`. @default {this machine's} */
  readonly platform?: string;
  /** The name that `--image` is to find it by. @default {the image's own} */
  readonly name?: string;
  /** Whether device nodes are made. @default {false} */
  readonly devices?: boolean;
  /** Whether files keep setuid, setgid and capabilities. @default {false} */
  readonly setuid?: boolean;
  /** Whether it is to be mounted with `userxattr`, as in a user namespace. @default {false} */
  readonly userxattr?: boolean;
  /** The most bytes that the files of an image may have together. @default {64 GiB} */
  readonly maxBytes?: number;
  /** The most entries that its layers may have together. @default {two million} */
  readonly maxEntries?: number;
}

/** A request whose every part is known to be usable. */
export interface ParsedImport {
  /** The source: an absolute path, or `-`. */
  readonly source: string;
  /** Where everything of the store lies. */
  readonly store: StoreLayout;
  /** Which image is meant. */
  readonly choice: { readonly ref?: string; readonly platform?: string };
  /** The name it gets; `null` for its own. */
  readonly name: string | null;
  /** What is let through. */
  readonly policy: LayerPolicy;
}

const MAX_BYTES = 64 * 2 ** 30;
const MAX_ENTRIES = 2_000_000;

/** A name is told on terminals and looked for; more is not asked of it. */
function parseName(what: string, value: string): string {
  // deno-lint-ignore no-control-regex
  if (value === "" || value.length > 1000 || /[\u0000-\u0020\u007f-\u009f]/.test(value)) {
    throw invalid(what, value, "it must have 1 to 1000 characters, none of them a blank");
  }
  return value;
}

function parsePlatform(value: string): string {
  if (/^[a-z0-9]+\/[a-z0-9_]+(\/[a-z0-9]+)?$/.test(value)) return value;
  throw invalid("platform", value, "it must be such as linux/amd64 or linux/arm/v7");
}

function parseLimit(what: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw invalid(what, String(value), "it must be a whole number above 0");
}

/**
 * Parses a request.
 *
 * @throws {InvalidValueError} If a part of it is not usable; the message quotes the part.
 */
export function parseImport(request: ImportRequest): ParsedImport {
  const { source, ref, platform, name } = request;
  if (source === "") {
    throw new InvalidValueError("usage", "Cannot import without a source: none was given", {
      hint: "give a directory, an archive, or - for stdin",
    });
  }
  return {
    source: source === "-" ? source : parsePath("source", source),
    store: storeLayout(request.store),
    choice: {
      ...(ref === undefined ? {} : { ref: parseName("reference", ref) }),
      ...(platform === undefined ? {} : { platform: parsePlatform(platform) }),
    },
    name: name === undefined ? null : parseName("name", name),
    policy: {
      devices: request.devices ?? false,
      setuid: request.setuid ?? false,
      attributes: request.userxattr ? "user" : "trusted",
      whiteouts: true,
      maxBytes: parseLimit("maximal size", request.maxBytes ?? MAX_BYTES),
      maxEntries: parseLimit("maximal entries", request.maxEntries ?? MAX_ENTRIES),
    },
  };
}
