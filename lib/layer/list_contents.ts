/**
 * Lists the entries of a directory with the digests of their contents, in the form of the records that an
 * import writes.
 *
 * @module
 */
import { archiveDirectory, changedError } from "./archive.ts";
import type { ArchiveOptions } from "./archive.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { quoteBytes } from "../core/quote.ts";
import type { Entries } from "./quick_listing.ts";
import { loadHash } from "../system/hash.ts";
import type { StartHash } from "../system/hash.ts";
import { pathInLayer } from "../tar/entry_name.ts";
import { formatEntryLine, parseLines } from "../tar/mtree.ts";
import { TarReader } from "../tar/tar_reader.ts";

/** The options of {@linkcode listWithContents}. */
export type ListOptions =
  & Pick<ChangeOptions, "trace" | "signal">
  & Pick<ArchiveOptions, "exclude" | "only">
  & {
    /** Set if there is no file to be read, so that no digest is loaded: one that appears is an error. */
    readonly noFiles?: boolean;
  };

/**
 * Lists a directory with contents, in the form of the records.
 *
 * Requires `--allow-run` permission for tar.
 *
 * @throws {OverlayError} If tar cannot read an entry.
 */
export async function listWithContents(root: string, options: ListOptions): Promise<Entries> {
  const createHash = options.noFiles ? null : await loadHash();
  const lines: string[] = [];
  let open: { line: (digest?: string) => string; hash: ReturnType<StartHash> } | null = null;
  const reader = new TarReader({
    entry: ({ name, ...entry }) => {
      const line = (digest?: string) => formatEntryLine(pathInLayer(name), entry, digest);
      if (entry.type !== "file") return void lines.push(line());
      if (createHash === null) throw changedError(root, `${quoteBytes(name)} is a file now`);
      open = { line, hash: createHash("sha256") };
    },
    data: (bytes) => void open?.hash.update(bytes),
    end: () => {
      if (open !== null) lines.push(open.line(open.hash.digest("hex")));
      open = null;
    },
  });
  for await (const piece of archiveDirectory(root, { ...options, dereferenceHardLinks: true })) {
    options.signal?.throwIfAborted();
    reader.push(piece);
  }
  reader.end();
  return parseLines(lines.join(""));
}
