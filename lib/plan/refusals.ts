/**
 * Refusals to touch a pod because of its lines and mounts.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { RefusedError } from "../core/errors.ts";
import { isWithin } from "../core/path.ts";
import { appLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { parseMountOptions } from "../overlay/mount_config.ts";
import type { Mount } from "../system/mount_table.ts";
import type { MountState, SeenLine } from "./snapshot.ts";
import { appWords, quote, shellQuote } from "../core/quote.ts";

/**
 * Refuses a rootfs on which another file system is mounted.
 *
 * @throws {RefusedError} If that is the case.
 */
export function refuseForeign(
  verb: "mount" | "unmount",
  line: AppLine,
  state: MountState,
): void {
  if (state !== "foreign") return;
  const where = shellQuote(line.rootfs);
  const { label } = parseMountOptions(line.options);
  const or = label === null ? "" : `, or the same without label ${quote(label)}`;
  throw new RefusedError(
    "foreign-mount",
    `Cannot ${verb} ${quote(line.rootfs)}: something else is mounted there${or}`,
    {
      path: line.rootfs,
      hint: `see what it is with findmnt --mountpoint ${where}, and umount ${where} if it may go`,
    },
  );
}

/**
 * Refuses a pod that has a mount without a line, instead of reporting it as unmounted.
 *
 * @throws {RefusedError} If there is such a mount.
 */
export function refuseUnnamed([first]: readonly Mount[], { pod }: PodLayout): void {
  if (first === undefined) return;
  throw new RefusedError(
    "foreign-mount",
    `Cannot unmount pod ${quote(pod)}: no line of overlay.fstab names what is mounted on ${
      quote(first.target)
    }`,
    {
      path: first.target,
      hint: `to unmount that too: overlay-render unmount --foreign --pod ${shellQuote(pod)}`,
    },
  );
}

/**
 * Refuses to unmount apps lazily while something else is mounted in one: it would be detached with the app.
 *
 * @param mounted The apps.
 * @throws {RefusedError} If that is the case.
 */
export function refuseTakingAway(mounted: readonly SeenLine[]): void {
  const targets = new Set(mounted.map(({ target }) => target));
  for (const { line, inside } of mounted) {
    const other = inside.findLast((target) => !targets.has(target));
    if (other === undefined) continue;
    throw new RefusedError(
      "busy",
      `Cannot unmount ${quote(line.rootfs)}: ${quote(other)} is mounted in it`,
      { path: line.rootfs, hint: `unmount that one first: ${quote(other)}` },
    );
  }
}

/**
 * Refuses an upper or work that is part of a live mount elsewhere, as after a mount by hand.
 *
 * @param line The line of the app, with absolute paths.
 * @param user The other mount that has it, if any.
 * @throws {RefusedError} If there is such an app or mount.
 */
export function refuseLiveUpper(line: AppLine, user: Mount | undefined): void {
  if (user === undefined) return;
  const { upper } = parseMountOptions(line.options);
  throw new RefusedError(
    "in-use",
    `Cannot mount upper ${quote(`${upper}`)}: the mount on ${quote(user.target)} writes into it`,
    {
      ...(upper === null ? {} : { path: upper }),
      hint: `unmount that one first: umount ${shellQuote(user.target)}`,
    },
  );
}

/**
 * Refuses the work of a volatile mount that was not unmounted cleanly, as after a crash. The kernel would
 * refuse it too, without the reason.
 *
 * @throws {RefusedError} If that is the case.
 */
export function refuseVolatile(line: AppLine, mark: string, isThere: boolean): void {
  if (!isThere) return;
  throw new RefusedError(
    "volatile",
    `Cannot mount ${quote(line.rootfs)}: it was mounted with volatile and not unmounted by ` +
      "overlay-render, so what the app wrote may be incomplete",
    { path: mark, hint: `to take it as it is: rm -r ${shellQuote(mark)}` },
  );
}

/**
 * Refuses an app whose rootfs is that of another app of the pod.
 *
 * @param other The other app, if any.
 * @throws {RefusedError} If there is such an app or mount.
 */
export function refuseSameRootfs(line: AppLine, other: AppLine | undefined): void {
  if (other === undefined) return;
  throw new RefusedError(
    "in-use",
    `Cannot mount ${quote(line.rootfs)}: it is the rootfs of ${appWords(other.app)}`,
    { path: line.rootfs, hint: "give the app a --dest of its own" },
  );
}

function isElsewhere(line: AppLine, pod: PodLayout): boolean {
  const { upper } = readLineConfig(line, pod.pod);
  return (upper !== null && !isWithin(upper, pod.overlay)) || isRootfsElsewhere(line, pod);
}

/**
 * Tells whether the rootfs of a line belongs to a pod at another path. Views and copies have no upper to
 * tell it, and a relative upper fits every pod. A line without `inPod` is of an older version, which only had
 * rkt's layout.
 */
function isRootfsElsewhere({ app, tree, rootfs, inPod }: AppLine, { pod }: PodLayout): boolean {
  if (isWithin(rootfs, pod)) return false;
  const inRkt = appLayout(pod, { app, tree, layout: "rkt" }).rootfs;
  return inPod === true || rootfs.endsWith(inRkt.slice(pod.length));
}

/**
 * Refuses a pod whose lines belong to another path: it was moved, copied or named in another way. Its uppers
 * would be taken for others, or be those of another pod.
 *
 * @throws {RefusedError} If that is the case.
 */
export function refuseElsewhere(lines: readonly AppLine[], pod: PodLayout): void {
  const line = lines.find((line) => isElsewhere(line, pod));
  if (line === undefined) return;
  const { upper } = readLineConfig(line, pod.pod);
  const [word, path] = isRootfsElsewhere(line, pod) || upper === null
    ? ["rootfs", line.rootfs]
    : ["upper", upper];
  throw new RefusedError(
    "pod-moved",
    `Cannot use pod ${quote(pod.pod)}: the ${word} of ${appWords(line.app)} is ${quote(path)}`,
    {
      path: pod.pod,
      hint: "a pod cannot be moved, copied or named in two ways: use the name it was made with",
    },
  );
}

/**
 * Refuses a destination in the rootfs of an app that was mounted before this call: its processes can rename
 * the directories that lead to the destination, and mount(2) looks up each of them by name.
 *
 * @param image The app whose rootfs contains the destination, if any.
 * @throws {RefusedError} If there is such an app or mount.
 */
export function refuseLiveImage(line: AppLine, image: AppLine | undefined): void {
  if (image === undefined) return;
  const reason = `it lies in the rootfs of ${appWords(image.app)}, in which something may run`;
  throw new RefusedError("in-use", `Cannot mount ${quote(line.rootfs)}: ${reason}`, {
    path: line.rootfs,
    hint: "unmount the pod first, and render or restore both in one call; " +
      "or say with --live that nothing runs in it",
  });
}

/**
 * Refuses a destination in a rootfs of another pod, for the same reason.
 *
 * @param mount The mount that contains the destination, if it is one of ours.
 * @throws {RefusedError} If there is such an app or mount.
 */
export function refuseLiveRootfs(line: AppLine, mount: Mount | undefined): void {
  if (mount === undefined) return;
  const reason = `it lies in the rootfs ${quote(mount.target)}, in which something may run`;
  throw new RefusedError("in-use", `Cannot mount ${quote(line.rootfs)}: ${reason}`, {
    path: line.rootfs,
    hint: "give it another --dest; or say with --live that nothing runs in it",
  });
}

/**
 * Refuses a mount that would hide the rootfs of another app: the pod's own image is rendered first.
 *
 * @param hidden The other app, if any.
 * @throws {RefusedError} If there is such an app or mount.
 */
export function refuseHiding(line: AppLine, hidden: AppLine | undefined): void {
  if (hidden === undefined) return;
  throw new RefusedError(
    "in-use",
    `Cannot mount ${quote(line.rootfs)}: it would hide the rootfs of ${appWords(hidden.app)}`,
    {
      path: line.rootfs,
      hint: "render the pod's own image before its apps, or give it another --dest",
    },
  );
}
