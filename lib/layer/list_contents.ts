/**
 * Lists the entries of a directory with the digests of their contents, in the form of the records that an
 * import writes.
 *
 * @module
 */
import { archiveDirectory } from "./archive.ts";
import type { ArchiveOptions } from "./archive.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import type { Entries } from "./quick_listing.ts";
import { loadHash } from "../system/hash.ts";
import type { StartHash } from "../system/hash.ts";
import { pathInLayer } from "../tar/entry_name.ts";
import { formatEntryLine, parseLines } from "../tar/mtree.ts";
import { TarReader } from "../tar/tar_reader.ts";

/** The options of {@linkcode listWithContents}. */
export type ListOptions =
  & Pick<ChangeOptions, "trace" | "signal">
  & Pick<ArchiveOptions, "exclude" | "only">;

/**
 * Lists a directory with contents, in the form of the records.
 *
 * Requires `--allow-run` permission for tar.
 *
 * @throws {OverlayError} If tar cannot read an entry.
 */
export async function listWithContents(root: string, options: ListOptions): Promise<Entries> {
  const createHash = await loadHash();
  const lines: string[] = [];
  let open: { line: (digest?: string) => string; hash: ReturnType<StartHash> } | null = null;
  const reader = new TarReader({
    entry: ({ name, ...entry }) => {
      const line = (digest?: string) => formatEntryLine(pathInLayer(name), entry, digest);
      open = entry.type === "file" ? { line, hash: createHash("sha256") } : null;
      if (open === null) lines.push(line());
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
