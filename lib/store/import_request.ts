/**
 * The request of an import, and its parser.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import type { LayerPolicy } from "../layer/layer_policy.ts";
import { invalid } from "../core/invalid.ts";
import { parsePath } from "../request/names.ts";
import { storeLayout } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";

/**
 * A part of an image that an import can leave out: the setuid and setgid bits and the capabilities of files,
 * or device nodes.
 */
export type Strippable = "setuid" | "devices";

/** The request of an import. */
export interface ImportRequest {
  /**
   * A directory, an archive of a root file system, an image of `docker save` or of skopeo's `dir:`, or an OCI
   * image layout, each of them a directory or an archive (plain, gzip, xz, zstd); an absolute path, or `-`
   * for stdin.
   */
  readonly source: string;
  /** The tree store. @default {"/var/lib/overlay-render"} */
  readonly store?: string;
  /** The name or the digest of one image, if the source holds several. @default {the only one} */
  readonly ref?: string;
  /** The platform, such as `linux/arm64`. @default {this machine's} */
  readonly platform?: string;
  /** The name for `--image`. @default {the image's own} */
  readonly name?: string;
  /** Parts of the image that are left out. @default {none} */
  readonly strip?: readonly Strippable[];
  /**
   * Set if the tree will be mounted with `userxattr`, which a user namespace needs.
   * @default {unless root imports it outside a user namespace}
   */
  readonly userxattr?: boolean;
  /** Set if the original blobs are kept, as a push of the image may need. @default {false} */
  readonly keepBlobs?: boolean;
  /** The most bytes that the files of an image may have together. @default {64 GiB} */
  readonly maxBytes?: number;
  /** The most entries that its layers may have together. @default {two million} */
  readonly maxEntries?: number;
}

/** A valid request. */
export interface ParsedImport {
  /** The source: an absolute path, or `-`. */
  readonly source: string;
  /** Where everything of the store lies. */
  readonly store: StoreLayout;
  /** The choice of an image. */
  readonly choice: { readonly ref?: string; readonly platform?: string };
  /** The name for the image; `null` for its own. */
  readonly name: string | null;
  /** The policy. */
  readonly policy: LayerPolicy;
  /** Set if the original blobs are kept. */
  readonly keepBlobs: boolean;
}

const MAX_BYTES = 64 * 2 ** 30;
const MAX_ENTRIES = 2_000_000;

/** Tells whether a text can be a name, which must be safe to print and to search for. */
export function isName(value: string): boolean {
  // deno-lint-ignore no-control-regex
  return value !== "" && value.length <= 1000 && !/[\u0000-\u0020\u007f-\u009f]/.test(value);
}

/**
 * Checks a name of an image.
 *
 * @throws {InvalidValueError} If it is invalid.
 */
export function parseName(what: string, value: string): string {
  if (isName(value)) return value;
  throw invalid(what, value, "it must have 1 to 1000 characters, none of them a blank");
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
 * Checks the parts of an image that are to be left out.
 *
 * @throws {InvalidValueError} If one of them is unknown.
 */
function parseStrip(parts: readonly string[]): ReadonlySet<string> {
  const wrong = parts.find((part) => part !== "setuid" && part !== "devices");
  if (wrong === undefined) return new Set(parts);
  throw invalid("strip", wrong, "it must be setuid or devices, or both with a comma between them");
}

/**
 * Parses a request.
 *
 * @throws {InvalidValueError} If a part of it is invalid; the message quotes the part.
 */
export function parseImport(request: ImportRequest): ParsedImport {
  const { source, ref, platform, name } = request;
  if (source === "") {
    throw new InvalidValueError("usage", "Cannot import without a source: none was given", {
      hint: "give a directory, an archive, or - for stdin",
    });
  }
  const strip = parseStrip(request.strip ?? []);
  return {
    source: source === "-" ? source : parsePath("source", source),
    store: storeLayout(request.store),
    choice: {
      ...(ref === undefined ? {} : { ref: parseName("reference", ref) }),
      ...(platform === undefined ? {} : { platform: parsePlatform(platform) }),
    },
    name: name === undefined ? null : parseName("name", name),
    policy: {
      devices: !strip.has("devices"),
      setuid: !strip.has("setuid"),
      attributes: request.userxattr ? "user" : "trusted",
      whiteouts: true,
      maxBytes: parseLimit("maximal size", request.maxBytes ?? MAX_BYTES),
      maxEntries: parseLimit("maximal entries", request.maxEntries ?? MAX_ENTRIES),
    },
    keepBlobs: request.keepBlobs ?? false,
  };
}
