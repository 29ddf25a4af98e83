/**
 * Refusals to render an app in another way than it was rendered before.
 *
 * Requires no permissions.
 *
 * @module
 */
import { appWords, quote, shellQuote } from "../core/quote.ts";
import type { AppLine } from "../overlay/app_line.ts";
import type { PodLayout } from "../request/layout.ts";
import { RefusedError } from "../core/errors.ts";
import type { MountConfig } from "../overlay/mount_config.ts";
import { escapeOption } from "../overlay/escape.ts";
import { readLineConfig } from "../overlay/app_line.ts";

/**
 * Refuses a render that would give an app another lower, upper or work: the content of its upper belongs
 * to the lower over which it was written.
 *
 * @param old The line of the same app.
 * @throws {RefusedError} If they differ.
 */
export function refuseOtherPaths(old: AppLine, line: AppLine, pod: PodLayout): void {
  const [was, is] = [readLineConfig(old, pod.pod), readLineConfig(line, pod.pod)];
  const pairs = [
    ["lower", was.lower.map(escapeOption).join(":"), is.lower.map(escapeOption).join(":")],
    ["upper", was.upper ?? "none", is.upper ?? "none"],
  ] as const;
  const other = pairs.find(([, a, b]) => a !== b);
  if (other === undefined) return;
  const [word, a, b] = other;
  throw new RefusedError(
    "different",
    `Cannot render ${appWords(line.app)} with ${word} ${quote(b)}: it has ${word} ${quote(a)}`,
    { path: line.rootfs, hint: hintForOther(was) },
  );
}

export function hintForOther(was: MountConfig): string {
  if (was.upper === null) {
    return "the app is a read-only view: render it as one, or use another --app";
  }
  return "use another --app or another --pod; what this app wrote is kept";
}

/**
 * Refuses a render that would change an existing mount.
 *
 * @throws {RefusedError} If the mounted line differs.
 */
export function refuseOtherMount(old: AppLine, line: AppLine, pod: PodLayout): void {
  if (old.options === line.options && old.rootfs === line.rootfs) return;
  const [what, was, is] = old.rootfs === line.rootfs
    ? ["options", old.options, line.options]
    : ["rootfs", old.rootfs, line.rootfs];
  throw new RefusedError(
    "different",
    `Cannot render ${appWords(line.app)} with ${what} ${quote(is)}: it is mounted with ${
      quote(was)
    }`,
    {
      path: old.rootfs,
      hint: `unmount it first: overlay-render unmount --pod ${shellQuote(pod.pod)} ` +
        `--app ${shellQuote(line.app)}`,
    },
  );
}

/**
 * Refuses a mounted app whose lower is another directory by now, as after `mv new image`: its mount still
 * shows the old one.
 *
 * @param now The directories that the lowers are, see `identifyLowers`.
 * @throws {RefusedError} If one was replaced.
 */
export function refuseReplacedLower(old: AppLine, now: string | undefined, pod: PodLayout): void {
  const { app, rootfs, lowerIds } = old;
  if (lowerIds === undefined || now === undefined || lowerIds === now) return;
  const lower = quote(replacedLower(old, now, pod));
  throw new RefusedError(
    "different",
    `Cannot render ${
      appWords(app)
    }: lower ${lower} was replaced by another directory, and the old one is mounted`,
    {
      path: rootfs,
      hint: "put the old one back; or unmount the app, and render it over the new one: " +
        `overlay-render unmount --pod ${shellQuote(pod.pod)} --app ${shellQuote(app)}`,
    },
  );
}

/** Finds the first lower of a line that is another directory by now. */
export function replacedLower(old: AppLine, now: string, pod: PodLayout): string {
  const [was, is] = [(old.lowerIds ?? "").split("+"), now.split("+")];
  const { lower } = readLineConfig(old, pod.pod);
  return lower[is.findIndex((id, at) => id !== was[at])] ?? lower[0] ?? "";
}
