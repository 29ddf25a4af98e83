/**
 * The progress of an import or a push: on a terminal a line of each layer that is kept up to date, elsewhere a line
 * every ten seconds, and one when a layer is done.
 *
 * Requires no permissions.
 *
 * @module
 */
import { showName } from "../core/quote.ts";
import { formatSize } from "../core/size.ts";
import type { ImportProgress } from "../store/stage_layer.ts";
import type { PushedLayer, PushProgress } from "../store/push_tree.ts";

/** The stream that progress is written to. */
export interface ProgressOutput {
  /** Writes text. */
  readonly write: (text: string) => void;
  /** Set if a line that was written can be written again. */
  readonly isTerminal: boolean;
  /** Returns a time in milliseconds from any start. */
  readonly now: () => number;
}

/** The time between two updates of a terminal, in milliseconds. */
const EVERY_MS = 100;

/** The time between two lines elsewhere, as in the log of a job that must not seem to hang. */
const LINE_MS = 10_000;

/** A layer that is being read. */
interface Reading {
  readonly begun: number;
  read: number;
}

function formatName(layer: number, { name }: PushedLayer): string {
  const short = name.replace(/^(sha\d+:[0-9a-f]{12})[0-9a-f]+$/, "$1");
  return `layer ${layer + 1} ${showName(short)}`;
}

/** Formats the progress of a layer: bytes, rate, and the estimated time left. */
export function progressLine(
  layer: number,
  blob: PushedLayer,
  { read, ms }: { readonly read: number; readonly ms: number },
): string {
  const rate = ms > 0 ? read / ms * 1000 : 0;
  const left = rate > 0 ? Math.ceil((blob.size - read) / rate) : null;
  const of = blob.size > 0 ? ` of ${formatSize(blob.size)}` : "";
  const time = left === null || blob.size === 0 ? "" : `, ${left} s left`;
  return `${formatName(layer, blob)}: ${formatSize(read)}${of}, ${formatSize(rate)}/s${time}`;
}

/** Reports the progress of an import or a push until it ends. */
export interface Progress extends ImportProgress, PushProgress {
  /** Takes the line away that is still kept up to date, as of an import that failed. */
  readonly end: () => void;
}

/** Makes a reporter of the progress of an import or a push. */
export function progressTo({ write, isTerminal, now }: ProgressOutput): Progress {
  const readings = new Map<number, Reading>();
  const every = isTerminal ? EVERY_MS : LINE_MS;
  let shown = isTerminal ? -Infinity : now();
  let open = "";
  /** The one line that is kept up to date is that of the layer that was read last. */
  const put = (line: string, ends: boolean) => {
    const clear = open === "" ? "" : "\r\x1b[K";
    write(`${clear}${line}${ends ? "\n" : ""}`);
    open = ends ? "" : line;
  };
  const onRead = (layer: number, bytes: number, blob: PushedLayer) => {
    const reading = readings.get(layer) ?? { begun: now(), read: 0 };
    reading.read += bytes;
    readings.set(layer, reading);
    if (now() - shown < every) return;
    shown = now();
    const line = progressLine(layer, blob, { read: reading.read, ms: now() - reading.begun });
    put(line, !isTerminal);
  };
  const tell = (layer: number, blob: PushedLayer, what: string) => {
    put(`${formatName(layer, blob)}: ${what}`, true);
  };
  return {
    onHave: (layer, blob) => tell(layer, blob, "is there already"),
    onPresent: (layer, blob) => tell(layer, blob, "is there already"),
    onMounted: (layer, blob) => tell(layer, blob, "taken from another repository"),
    onPushed: (layer, blob) => tell(layer, blob, `${formatSize(blob.size)} sent`),
    onRead,
    onSent: onRead,
    onUnpacked: (layer, blob, { summary }) => {
      const { entries, bytes } = summary;
      put(`${formatName(layer, blob)}: ${entries} entries, ${formatSize(bytes)}`, true);
    },
    end: () => {
      if (open !== "") write("\r\x1b[K");
      open = "";
    },
  };
}

/** Runs an import or a push, and reports its progress on stderr unless it is to be quiet. */
export async function withProgress<T>(
  { err, quiet }: { readonly err: (text: string) => void; readonly quiet: boolean },
  act: (progress: ImportProgress & PushProgress) => Promise<T>,
): Promise<T> {
  if (quiet) return await act({});
  const isTerminal = Deno.stderr.isTerminal();
  const progress = progressTo({ write: err, isTerminal, now: () => performance.now() });
  try {
    return await act(progress);
  } finally {
    progress.end();
  }
}
