/**
 * An operation in one line of text, for `plan` and `--verbose`.
 *
 * Requires no permissions.
 *
 * @module
 */
import { formatAppLine } from "../overlay/app_line.ts";
import { formatMode } from "../request/names.ts";
import type { Kind, LikeMode, Operation, OperationOf } from "./operation.ts";
import { showName } from "../core/quote.ts";

function describeMode(mode: number | LikeMode): string {
  if (typeof mode === "number") return formatMode(mode);
  const masked = mode.mask === 0o7777 ? "" : ` within ${formatMode(mode.mask)}`;
  return `mode of ${showName(mode.like)}${masked}`;
}

/** The words for each kind of operation, to follow its path. */
const DETAILS: { readonly [K in Kind]: (operation: OperationOf<K>) => string } = {
  require: ({ type }) => `must be a ${type}`,
  real: () => "must not lead through a symlink",
  trust: () => "only root and the user of this command may change what is above it",
  lock: () => "",
  look: () => "for what is recorded and mounted there",
  open: () => "locked, if only root and the user of this command may change it",
  directory: ({ mode, force }) => describeMode(mode) + (force ? ", even if it is there" : ""),
  group: ({ group }) => `group ${group}`,
  label: ({ context }) => `label ${context}`,
  manifest: ({ mode, from }) => `${formatMode(mode)}, copy of ${showName(from)}`,
  record: ({ line }) => showName(formatAppLine(line)),
  copy: ({ from, mtab }) => `a copy of ${showName(from)}` + (mtab ? ", with etc/mtab" : ""),
  mount: ({ fstab, orCopy }) =>
    `as in ${showName(fstab)}` + (orCopy ? ", or a copy where overlayfs cannot be mounted" : ""),
  unmount: ({ lazy }) => lazy ? "also if it is in use" : "unless it is in use",
  volatile: () => "removed, if it is there",
  reset: () => "is emptied: what the app wrote is removed",
  touch: () => "if the image has it",
  link: ({ to }) => `link to ${showName(to)}`,
  use: ({ pod }) => `says that ${showName(pod)} uses trees of the store`,
  mtab: () => "link to ../proc/self/mounts, unless it is there",
  idle: ({ orStays }) =>
    orStays
      ? "stays, if it is part of a mount"
      : "must be part of no mount, in any mount namespace",
  free: () => "nothing may be mounted in it, or be made of what is in it",
  unused: () => "must use nothing of what is removed",
  "set-aside": ({ to }) => `as ${showName(to)}`,
  "put-back": ({ to }) => `as ${showName(to)}`,
  grace: () => "its grace period begins now",
  rmdir: () => "unless something is in it",
  remove: () => "with all that is in it",
  keep: ({ kept }) => kept ? "gc does not collect the pod" : "is removed: gc may collect the pod",
};

function detail<K extends Kind>(operation: OperationOf<K>): string {
  return DETAILS[operation.kind as K](operation);
}

/** Describes an operation in one line. */
export function describeOperation(operation: Operation): string {
  return `${operation.kind.padEnd(9)} ${showName(operation.path)}  ${detail(operation)}`.trimEnd();
}
