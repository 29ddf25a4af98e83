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
  unmount  unmount a pod's apps, or some of them
  status   what is rendered, and what is mounted
  restore  mount again what was mounted, as after a reboot
  gc       unmount and remove pods
  keep     keep a pod: gc does not collect it
  unkeep   let a pod go that was kept
  doctor   what this machine can do, and what to do about the rest
  tree     images as trees: import, list, path, check, verify-all, remove, gc

  overlay-render COMMAND --help says more; --version prints the version.
`;

const VOICE = `  --json             one JSON object on stdout, errors included
  -q, --quiet        no warnings
  --verbose          each operation and each command run, on stderr
  -h, --help         this text
`;

const WAIT = `  --wait TIME        how long to wait for another command on the same pod
                     (default: 10s)
`;

const EXIT = `
Exit status:
  0 done   2 usage or invalid value
  1 the operation failed; what a render had made was taken back, unless only
    its result could not be written
  3 refused by a safety check, nothing touched
  4 a Deno permission is missing, nothing touched
  130, 143 interrupted, undone
`;

const RENDER_FLAGS = `
Flags:
  --lower DIR        a lower, top first; may be given several times
  --tree ID          a tree of the store; with --lower, the name the tree gets
                     (default: from the path of the lower)
  --image NAME       the tree of the store that has this image
  --store DIR        the tree store (default: /var/lib/overlay-render)
  --pod DIR          the pod; required
  --app NAME         the app (default: empty, the pod's own image)
  --dest DIR         the destination, which receives rootfs (default:
                     <pod>/apps/<app>; the pod for the empty app)
  --layout NAME      the place of destinations in the pod: default, or rkt:
                     <pod>/stage1/rootfs/opt/stage2/<app>, or <pod>/stage1
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
  --overlay MODE     always; never: a copy of the tree instead of a mount; auto:
                     a copy where overlayfs cannot be mounted (default: always)
  --no-overlay       the same as --overlay never
  --mtab             make etc/mtab in the rootfs a link to ../proc/self/mounts,
                     where etc is a directory and has none
  --live             nothing runs in the image that the destination lies in, so
                     the app may be rendered into it though it is mounted
  --ephemeral        gc may collect the pod, with all that its apps wrote, once
                     it is unmounted; otherwise gc takes it only by name or age
  --spec FILE        many apps of a pod from a file of JSON, - for stdin;
                     instead of the flags above
  -n, --dry-run      the same as plan
`;

const SPEC = `
Spec:
  {"pod": DIR, "apps": [{"app": NAME, "lower": [DIR]}, ...]}
  A pod may have group, layout, profile, dirMode, label, ephemeral and store; an
  app tree, image, dest, manifest, label, options (a list), readOnly, overlay,
  mtab, live and ephemeral. They mean what the flags mean. All apps are mounted
  by one mount process, or none is.
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
${RENDER_FLAGS}${WAIT}${VOICE}${SPEC}
It ends as the render would, as far as its permissions let it look.

Permissions: none; with --image, or --tree of what was imported,
  --allow-read=STORE.
${EXIT}`,

  prepare: `Make the directories and print the mount configuration; do not mount.

Usage: overlay-render prepare --lower DIR --pod DIR [FLAGS]

Examples:
  overlay-render prepare --lower /images/debian --pod /run/pods/one --app web
  # Mount it later, from the line that was written:
  mount --fstab /run/pods/one/overlay.fstab \\
    /run/pods/one/apps/web/rootfs
${RENDER_FLAGS}${WAIT}${VOICE}${SPEC}${RENDER_PERMISSIONS}${EXIT}`,

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
${RENDER_FLAGS}${WAIT}${VOICE}${SPEC}${RENDER_PERMISSIONS}${EXIT}`,

  unmount: `Unmount a pod's apps, or some of them, and print each rootfs that was unmounted.
What the apps wrote is kept.

Usage: overlay-render unmount --pod DIR [--app NAME]... [FLAGS]

Examples:
  overlay-render unmount --pod /run/pods/one
  overlay-render unmount --pod /run/pods/one --app web --app db

Flags:
  --pod DIR          the pod; required
  --app NAME         an app, "" for the pod's own image; may be given several
                     times (default: all)
  --lazy             take away what is in use too; the kernel unmounts it when
                     nothing uses it any more, and until then the app can be
                     neither rendered nor collected
  --foreign          unmount all of the pod, and what no line of overlay.fstab
                     names too, as when the file was damaged
${WAIT}${VOICE}
Permissions:
  --allow-read=POD --allow-write=POD
  --allow-run=/usr/bin/umount,/usr/bin/findmnt,/usr/bin/find --allow-sys=uid
  and --allow-read=DEST for a destination outside the pod,
  --allow-read=LOWER for a read-only view of one lower
${EXIT}`,

  status: `Say what is rendered in a pod, or in all pods of a directory, what of it is
mounted, and where overlay.fstab and the kernel differ.

Usage: overlay-render status --pod DIR | --pods DIR [FLAGS]

Examples:
  overlay-render status --pod /run/pods/one
  overlay-render status --pods /run/pods --size --json

Flags:
  --pod DIR          the pod
  --pods DIR         a directory of pods
  --size             measure what each upper takes on the disk
${VOICE}
Permissions:
  --allow-read=POD --allow-run=/usr/bin/findmnt,/usr/bin/find --allow-sys=uid
  and --allow-read=DEST for a destination outside the pod,
  --allow-read=LOWER for a read-only view of one lower
${EXIT}`,

  restore: `Mount again what was mounted when the machine stopped, in one mount process a
pod, and print each rootfs. What was unmounted is left alone; what cannot be
mounted is an error, and does not keep the rest from it.

Usage: overlay-render restore --pod DIR | --pods DIR [FLAGS]

Examples:
  overlay-render restore --pods /run/pods

Flags:
  --pod DIR          the pod
  --pods DIR         a directory of pods
  --live             nothing runs in an image that is mounted, so an app whose
                     destination lies in it may be mounted again
${WAIT}${VOICE}
Permissions:
  --allow-read=POD --allow-write=POD
  --allow-run=/usr/bin/mount,/usr/bin/umount,/usr/bin/findmnt,/usr/bin/find
  --allow-sys=uid
  and --allow-read=DEST for a destination outside the pod,
  --allow-read=LOWER for the lowers
${EXIT}`,

  doctor: `Find out what a render needs and whether it works here, by trying it in a
temporary directory: overlayfs and its options, user namespaces, the tools, the
permissions. Says how each was found out, and what to do about what does not
work. The exit status is 0 when a render will work.

Usage: overlay-render doctor [--pod DIR] [FLAGS]

Examples:
  overlay-render doctor
  overlay-render doctor --pod /run/pods/one --json

Flags:
  --pod DIR          the pod that is to be rendered into; it need not be there
                     (default: /tmp)
${VOICE}
Permissions, where DIR is the pod or the nearest directory above it:
  --allow-read=DIR --allow-write=DIR
  --allow-run=/usr/bin/mount,/usr/bin/umount,/usr/bin/findmnt,/usr/bin/find
  --allow-sys=uid
  and --allow-run=/usr/bin/unshare to try user namespaces
${EXIT}`,

  gc: `Remove pods, with all that their apps wrote. A pod is first set aside, in the
directory garbage beside it, and removed when its grace period is over; until
then --undo brings it back, and after that nothing does.

With --pods, gc collects the pods that were rendered with --ephemeral, and with
--older-than those that were not used for that time. A pod is left alone while a
command works on it, an app of it is mounted, or one is to be restored. With
--pod, gc collects the pod that is named, whatever it holds: its apps are
unmounted first, never lazily, and it is removed at once. A pod that is kept
(overlay-render keep) is left alone in any case.

Usage: overlay-render gc --pods DIR | --pod DIR | --undo DIR [FLAGS]

Examples:
  overlay-render gc --pods /run/pods --dry-run
  overlay-render gc --pods /run/pods --older-than 30d
  overlay-render gc --pod /run/pods/one --grace-period 1h
  overlay-render gc --undo /run/pods/one

Flags:
  --pods DIR         a directory of pods; they are put into DIR/garbage
  --pod DIR          one pod
  --older-than TIME  with --pods: also pods that are not ephemeral, if their
                     overlay.fstab has not changed for this time: no render,
                     unmount or restore
  --undo DIR         bring back a pod that is set aside, by its own path or the
                     one in the garbage; restore mounts its apps again
  --mark             only put aside
  --sweep            only remove what is aside
  --grace-period TIME
                     how long a pod is aside before it is removed
                     (default: 30m; 0 with --pod)
  --ignore-missing   a pod or directory that is not there is no error
  -n, --dry-run      say what would go, and touch nothing
${WAIT}${VOICE}
Permissions, where DIR is the directory that the pods are in:
  --allow-read=DIR --allow-write=DIR
  --allow-run=/usr/bin/mount,/usr/bin/umount,/usr/bin/findmnt,/usr/bin/rm,
    /usr/bin/find --allow-sys=uid
  and --allow-read=DEST for a destination outside it (with --allow-write=DEST,
  gc removes the directories that a render made there, if they are empty),
  --allow-read=LOWER for a read-only view of one lower,
  --allow-run=/usr/bin/fuser to name the processes that hold a mount
${EXIT}`,

  keep: `Keep a pod, so that gc does not collect it, not even by its name.

Usage: overlay-render keep --pod DIR [FLAGS]

Examples:
  overlay-render keep --pod /run/pods/one
  overlay-render gc --pods /run/pods --older-than 30d

Flags:
  --pod DIR          the pod; required
${WAIT}${VOICE}
Permissions:
  --allow-read=POD --allow-write=POD --allow-run=/usr/bin/find --allow-sys=uid
${EXIT}`,

  unkeep: `Let a pod go that was kept, so that gc may collect it again.

Usage: overlay-render unkeep --pod DIR [FLAGS]

Examples:
  overlay-render unkeep --pod /run/pods/one
  overlay-render gc --pod /run/pods/one

Flags:
  --pod DIR          the pod; required
${WAIT}${VOICE}
Permissions:
  --allow-read=POD --allow-write=POD --allow-run=/usr/bin/find --allow-sys=uid
${EXIT}`,
};

const TREE = `Keep images as trees that can be rendered. A tree is a stack of layers, each
unpacked once, whatever images have it.

Usage: overlay-render tree import SOURCE [FLAGS]
       overlay-render tree list | verify-all | gc [FLAGS]
       overlay-render tree path | check | remove ID [FLAGS]

Examples:
  overlay-render tree import debian.tar
  skopeo copy docker://debian:12 oci:layout:debian
  overlay-render tree import layout --ref debian
  docker save debian:12 | overlay-render tree import -
  R=$(overlay-render render --image debian --pod /run/pods/one)

Commands:
  import SOURCE  from a directory, an archive of a root file system, an image of
                 docker save or skopeo's dir:, or an OCI image layout, each a
                 directory or an archive (plain, gzip, xz, zstd); - is stdin.
                 Prints the tree id.
  list           the trees: id, images, layers, size, the pods that use them
  path ID        its lowers, top first, one a line
  check ID       whether it is as it was imported; exits with 1 when it is not
  verify-all     the same of all trees
  remove ID      take a tree away that no pod uses; its layers stay until gc
  gc             take away the layers that no tree has
  An ID may also be the name of an image.

Flags:
  --store DIR        the tree store (default: /var/lib/overlay-render)
  --ref NAME         import: which of several images, by name or digest
  --platform P       import: such as linux/arm64 (default: this machine's)
  --name NAME        import: what --image finds it by (default: the image's own)
  --strip PARTS      import: leave out setuid (setuid and setgid bits, and
                     capabilities), devices, or both: --strip setuid,devices
  --userxattr        import: mount it with userxattr (default in a user
                     namespace)
  --max-size SIZE    import: the most that the files of an image may have
                     together (default: 64G)
  --max-entries N    import: the most entries its layers may have together
                     (default: 2000000)
  --quick            check, verify-all: without contents, devices and attributes
  -n, --dry-run      gc: say what would go, and touch nothing
  --wait TIME        import, remove, gc: how long to wait for another command on
                     the same store (default: 10m)
${VOICE}
Permissions:
  import: --allow-read=SOURCE,STORE --allow-write=STORE
    --allow-run=/usr/bin/ln,/usr/bin/tar,/usr/bin/sync,/usr/bin/rm,/usr/bin/find
    --allow-sys=uid
    and /usr/bin/xz or /usr/bin/zstd for an archive that is compressed so
  list, path: --allow-read=STORE, and --allow-read=POD for the pods
  check, verify-all: --allow-read=STORE --allow-run=/usr/bin/tar
    (with --quick, --allow-run=/usr/bin/find)
  remove, gc: --allow-read=STORE,PODS --allow-write=STORE,PODS
    --allow-run=/usr/bin/findmnt,/usr/bin/rm,/usr/bin/find --allow-sys=uid
${EXIT}`;

/** The help of a command, or of all of it. */
export function helpText(topic: string | null): string {
  if (topic === "tree") return TREE;
  return topic === null ? OVERVIEW + EXIT : TEXTS[topic] ?? OVERVIEW + EXIT;
}
