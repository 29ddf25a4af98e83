/**
 * The changes of an app: reads its upper, and compares it with its lowers.
 *
 * @module
 */
import type { AttributeClass } from "../layer/layer_policy.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { compareUpper, listHidden } from "../layer/upper_changes.ts";
import type { EntryChange, LowerView } from "../layer/upper_changes.ts";
import { asOpaque, isRedirected, mayBeSame } from "../layer/upper_entry.ts";
import { listQuickly } from "../layer/quick_listing.ts";
import type { Entries } from "../layer/quick_listing.ts";
import { listWithContents } from "../layer/list_contents.ts";
import { RefusedError } from "../core/errors.ts";
import { quote, quoteBytes } from "../core/quote.ts";
import { look } from "../system/disk.ts";
import { readLowers, viewLowers } from "./lower_view.ts";
import { changedError, isUnlistable } from "../layer/archive.ts";

/** An app whose changes are listed. */
export interface ComparedApp {
  /** The id of its tree. */
  readonly tree: string;
  /** Its lowers, top first. */
  readonly lower: readonly string[];
  /** Its upper. */
  readonly upper: string;
  /** The class of the attributes of overlayfs. */
  readonly attributes: AttributeClass;
  /** Finds its rootfs, if it is mounted; otherwise `null`. */
  readonly findRootfs: () => Promise<string | null>;
}

/** The changes of an app, and the records of its upper. */
export interface AppChanges {
  /** The changes, in the order of the bytes of their paths. */
  readonly changes: readonly EntryChange[];
  /** The records of the upper; those of content that lies elsewhere are of the rootfs. */
  readonly upper: Entries;
}

type Options = Pick<ChangeOptions, "trace" | "signal">;

/**
 * Lists the changes of an app.
 *
 * Requires `--allow-read` permission for the lowers, see `lowerPaths`, and `--allow-run` for find and tar.
 *
 * @throws {OverlayError} If an entry cannot be read, or changes while it is read.
 * @throws {RefusedError} If the content of an entry lies elsewhere, and the app is not mounted.
 */
export async function listChanges(app: ComparedApp, options: Options): Promise<AppChanges> {
  const { attributes } = app;
  // A reset that was ended in between leaves none, and a render makes it again.
  if (look(app.upper) === null) return { changes: [], upper: new Map() };
  const listing = listQuickly(app.upper, options);
  // Read while find runs.
  const [seen, lowers] = await Promise.all([listing, readLate(() => readLowers(app))]);
  const view = await viewLowers(lowers, { paths: new Set(seen.keys()), upper: seen }, options);
  const read = await readEntries(app.upper, seen, view, options);
  const upper = await followRedirects(read, app, options);
  const hidden = listHidden(upper, attributes);
  if (upper === read && hidden.size === 0) {
    return { changes: compareUpper(upper, view, attributes), upper };
  }
  const query = { paths: new Set(upper.keys()), parents: hidden, upper };
  const lower = await viewLowers(lowers, query, options);
  return { changes: compareUpper(upper, lower, attributes), upper };
}

/** Reads after other work was begun, and rejects where reading fails. */
async function readLate<T>(read: () => T): Promise<T> {
  await undefined;
  return read();
}

/**
 * Reads what find(1) does not show of entries: attributes, device numbers, and the content of files that may be
 * those of the lowers. Other files have changed, whatever is in them.
 *
 * @throws {OverlayError} If an entry changes or goes meanwhile.
 */
async function readEntries(
  root: string,
  seen: Entries,
  lower: LowerView,
  options: Options,
): Promise<Entries> {
  const changed = [...seen].filter(([path, record]) => {
    if (record.get("type") !== "file") return false;
    const below = lower.get(path);
    return below === undefined || !mayBeSame(record, below);
  });
  const exclude = changed.map(([path]) => path);
  const files = [...seen.values()].filter((record) => record.get("type") === "file");
  const noFiles = files.length === changed.length && !exclude.some(isUnlistable);
  const read = await listWithContents(root, { ...options, exclude, noFiles });
  const unread = new Set(exclude);
  return new Map([...seen].map(([path, record]) => {
    const found = read.get(path);
    if (found !== undefined) return [path, found];
    if (unread.has(path) || record.get("type") === "socket") return [path, record];
    throw changedError(root, `${quoteBytes(path)} is gone`);
  }));
}

/**
 * Takes entries whose content lies elsewhere from the rootfs: files, and directories with all that is in them.
 *
 * @throws {RefusedError} If there are any, and the app is not mounted.
 */
async function followRedirects(
  upper: Entries,
  { attributes, upper: root, findRootfs }: ComparedApp,
  options: Options,
): Promise<Entries> {
  const away = new Map([...upper].filter(([, record]) => isRedirected(record, attributes)));
  const [first] = away.keys();
  if (first === undefined) return upper;
  const rootfs = await findRootfs();
  if (rootfs === null) throw redirectedError(root, first);
  const isAway = (path: string) => isWithinAny(path, away);
  const merged = await listQuickly(rootfs, options);
  const exclude = [...merged].filter(([path, record]) => {
    return record.get("type") !== "dir" && !isAway(path);
  }).map(([path]) => path);
  const read = await listWithContents(rootfs, { ...options, exclude });
  const found = [...merged].filter(([path]) => isAway(path)).map(([path, record]) => {
    const full = read.get(path) ?? record;
    return [path, away.has(path) ? asOpaque(full, attributes) : full] as const;
  });
  return new Map([...[...upper].filter(([path]) => !isAway(path)), ...found]);
}

/** Tells whether a path is one of these, or lies in one. */
function isWithinAny(path: string, paths: ReadonlyMap<string, unknown>): boolean {
  const parts = path.split("/");
  return parts.some((_, at) => paths.has(parts.slice(0, at + 1).join("/")));
}

function redirectedError(upper: string, path: string): RefusedError {
  const reason = `${
    quoteBytes(path)
  } was renamed by redirect_dir, and what is in it lies elsewhere`;
  return new RefusedError("upper-redirected", `Cannot read upper ${quote(upper)}: ${reason}`, {
    path: upper,
    hint: "render or restore the app first: its content is only seen while it is mounted",
  });
}
