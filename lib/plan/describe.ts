/**
 * An operation in one line of text, for `plan` and `--verbose`.
 *
 * Requires no permissions.
 *
 * @module
 */
import { formatAppLine } from "../overlay/app_line.ts";
import { formatMode } from "../request/names.ts";
import type { LikeMode, Operation } from "./operation.ts";
import { showName } from "../core/quote.ts";

function describeMode(mode: number | LikeMode): string {
  if (typeof mode === "number") return formatMode(mode);
  const masked = mode.mask === 0o7777 ? "" : ` within ${formatMode(mode.mask)}`;
  return `mode of ${showName(mode.like)}${masked}`;
}

function detail(operation: Operation): string {
  switch (operation.kind) {
    case "require":
      return `must be a ${operation.type}`;
    case "real":
      return "must not lead through a symlink";
    case "trust":
      return "only root and the user of this command may change what is above it";
    case "lock":
      return "";
    case "directory":
      return describeMode(operation.mode) + (operation.force ? ", even if it is there" : "");
    case "group":
      return `group ${operation.group}`;
    case "label":
      return `label ${operation.context}`;
    case "manifest":
      return `${formatMode(operation.mode)}, copy of ${showName(operation.from)}`;
    case "record":
      return showName(formatAppLine(operation.line));
    case "copy":
      return `a copy of ${showName(operation.from)}` + (operation.mtab ? ", with etc/mtab" : "");
    case "mount":
      return `as in ${showName(operation.fstab)}` +
        (operation.orCopy ? ", or a copy where overlayfs cannot be mounted" : "");
    case "touch":
      return "if the image has it";
    case "link":
      return `link to ${showName(operation.to)}`;
    case "use":
      return `says that ${showName(operation.pod)} uses trees of the store`;
    case "mtab":
      return "link to ../proc/self/mounts, unless it is there";
  }
}

/** Describes an operation in one line. */
export function describeOperation(operation: Operation): string {
  return `${operation.kind.padEnd(9)} ${showName(operation.path)}  ${detail(operation)}`.trimEnd();
}
