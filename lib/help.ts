/**
 * The help texts.
 *
 * Requires no permissions.
 *
 * @module
 */

const OVERVIEW = `overlay-render turns a read-only image tree into a writable root filesystem.

Usage: overlay-render COMMAND [FLAGS]

Examples:
  # What would happen, and which Deno permissions it takes:
  overlay-render plan --lower /images/debian --pod /run/pods/one --app web
  # A writable root filesystem:
  R=$(overlay-render render --lower /images/debian --pod /run/pods/one)
  # Take it away again, and keep what was written:
  overlay-render unmount --pod /run/pods/one

Commands:
  plan     print what a render would do and the flags it needs; touch nothing
  prepare  make the directories; print the mount configuration; do not mount
  render   prepare and mount
  unmount  unmount a pod's apps, or one app
  status   what is rendered, and what is mounted

  overlay-render COMMAND --help says more; --version prints the version.
`;

const VOICE = `  --json             one JSON object on stdout, errors included
  -q, --quiet        no warnings
  --verbose          each operation and each command run, on stderr
  -h, --help         this text
`;

const EXIT = `
Exit status:
  0 done   2 usage or invalid value
  1 the operation failed; what a render had made was taken back
  3 refused by a safety check, nothing touched
  4 a Deno permission is missing, nothing touched
  130, 143 interrupted, undone
`;

const RENDER_FLAGS = `
Flags:
  --lower DIR        a lower, top first; may be given several times
  --tree ID          a tree of the store, STORE/tree/ID/rootfs; with --lower,
                     the name the tree gets
                     (default: from the path of the lower)
  --store DIR        the tree store (default: /var/lib/overlay-render)
  --pod DIR          the pod; required
  --app NAME         the app (default: empty, the pod's own image)
  --dest DIR         the destination, which receives rootfs (default:
                     <pod>/stage1/rootfs/opt/stage2/<app>, or <pod>/stage1)
  --profile NAME     rootfs-mode, fixed-mode or manifest (default: rootfs-mode)
  --dir-mode OCTAL   mode of the directories (default: the profile's)
  --group GID|NAME   group that may read the image directory (default: none)
  --label CONTEXT    SELinux mount label (default: none)
  --manifest FILE    copied to <dest>/manifest, mode 0640 (default: none)
  -o, --option OPT   a further mount option; may be given several times:
                     volatile, userxattr, nodev, nosuid, noexec,
                     index=on|off, metacopy=on|off, nfs_export=on|off,
                     redirect_dir=on|off|follow|nofollow, xino=on|off|auto
  --read-only        a view without upper and work
  -n, --dry-run      the same as plan
`;

const RENDER_PERMISSIONS = `
Permissions:
  overlay-render plan prints the flags of deno run that a request needs.
`;

const TEXTS: Readonly<Record<string, string>> = {
  plan: `Print what a render would do and the flags it needs; touch nothing.

Usage: overlay-render plan --lower DIR --pod DIR [FLAGS]

Examples:
  overlay-render plan --lower /images/debian --pod /run/pods/one --app web
  overlay-render plan --lower /images/debian --pod /run/pods/one --json
${RENDER_FLAGS}${VOICE}
Permissions: none.
${EXIT}`,

  prepare: `Make the directories and print the mount configuration; do not mount.

Usage: overlay-render prepare --lower DIR --pod DIR [FLAGS]

Examples:
  overlay-render prepare --lower /images/debian --pod /run/pods/one --app web
  # Mount it later, from the line that was written:
  mount --fstab /run/pods/one/overlay.fstab \\
    /run/pods/one/stage1/rootfs/opt/stage2/web/rootfs
${RENDER_FLAGS}${VOICE}${RENDER_PERMISSIONS}${EXIT}`,

  render: `Turn a tree into a writable root filesystem, and print its path.

Usage: overlay-render render --lower DIR --pod DIR [FLAGS]

Examples:
  R=$(overlay-render render --lower /images/debian --pod /run/pods/one)
  # Two layers, top first, and nothing that has to survive a crash:
  overlay-render render --lower /layers/app --lower /layers/base \\
    --pod /run/pods/one --app web --option volatile
  # Without root; the mount lasts as long as the shell:
  unshare --user --map-root-user --mount sh -c 'R=$(overlay-render render \\
    --lower ~/debian --pod ~/pod --option userxattr) && cd "$R" && exec sh'
${RENDER_FLAGS}${VOICE}${RENDER_PERMISSIONS}${EXIT}`,

  unmount: `Unmount a pod's apps, or one app, and print each rootfs that was unmounted.
What the apps wrote is kept.

Usage: overlay-render unmount --pod DIR [--app NAME] [FLAGS]

Examples:
  overlay-render unmount --pod /run/pods/one
  overlay-render unmount --pod /run/pods/one --app web

Flags:
  --pod DIR          the pod; required
  --app NAME         the app, "" for the pod's own image (default: all)
${VOICE}
Permissions:
  --allow-read=POD --allow-write=POD
  --allow-run=/usr/bin/umount,/usr/bin/findmnt
  and --allow-read=DEST for a destination outside the pod,
  --allow-read=LOWER for a read-only view of one lower
${EXIT}`,

  status: `Say what is rendered in a pod, and what of it is mounted.

Usage: overlay-render status --pod DIR [FLAGS]

Examples:
  overlay-render status --pod /run/pods/one
  overlay-render status --pod /run/pods/one --json

Flags:
  --pod DIR          the pod; required
${VOICE}
Permissions:
  --allow-read=POD --allow-run=/usr/bin/findmnt
  and --allow-read=DEST for a destination outside the pod,
  --allow-read=LOWER for a read-only view of one lower
${EXIT}`,
};

/** The help of a command, or of all of it. */
export function helpText(topic: string | null): string {
  return topic === null ? OVERVIEW + EXIT : TEXTS[topic] ?? OVERVIEW + EXIT;
}
