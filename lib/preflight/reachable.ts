/**
 * Warns of a rootfs that other users can reach: setuid files and devices of an image then work for them, too.
 *
 * @module
 */
import type { Reporter } from "../system/change_options.ts";
import { ifAny, readMode } from "../system/disk.ts";
import { parent } from "../core/path.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import { quote } from "../core/quote.ts";

const OTHERS_SEARCH = 0o001;

/** Tells whether other users may search a directory; `false` without permission to look at it. */
function isOpen(path: string): boolean {
  const info = ifAny(() => Deno.statSync(path));
  return info !== null && info !== undefined && (readMode(info) & OTHERS_SEARCH) !== 0;
}

function isReachable(path: string): boolean {
  return isOpen(path) && (path === "/" || isReachable(parent(path)));
}

function isHarmless({ options }: MountPlan): boolean {
  return options.includes("nosuid") && options.includes("nodev");
}

/**
 * Warns, once for all apps, where other users can reach a rootfs and its setuid files and devices work.
 *
 * Requires `--allow-read` permission for the directories above a rootfs; without it, none is reachable.
 */
export function warnReachable(
  mounts: readonly MountPlan[],
  warn: NonNullable<Reporter["warn"]>,
): void {
  const open = mounts.filter((mount) => !isHarmless(mount) && isReachable(mount.rootfs));
  const [first] = open;
  if (first === undefined) return;
  const more = open.length === 1 ? "" : `, and ${open.length - 1} more,`;
  const danger = "can be reached by other users, with its setuid files and devices";
  warn(
    `${
      quote(first.rootfs)
    }${more} ${danger}: add --option nosuid,nodev, or close a directory above`,
  );
}
