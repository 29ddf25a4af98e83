/**
 * The texts of the help that no table holds: purpose, usage, examples, permissions.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { CommandName } from "./command_names.ts";
import { RUN_HELP } from "./run_help.ts";
import type { HelpText } from "./help_text.ts";

const RENDER_PERMISSIONS =
  "  overlay-render plan prints the flags of deno run that a request needs.";

/** The texts of each command. */
export const HELP_TEXTS: Readonly<Record<CommandName, HelpText>> = {
  ...RUN_HELP,
  plan: {
    purpose: "Print what a render would do and the flags it needs; touch nothing.",
    usage: "overlay-render plan --lower DIR --pod DIR [FLAGS]",
    examples: `  overlay-render plan --lower /images/debian --pod /run/pods/one --app web
  overlay-render plan --lower /images/debian --pod /run/pods/one --json
  # The flags alone, as in: deno run $(overlay-render plan ... --flags) ...
  overlay-render plan --lower /images/debian --pod /run/pods/one --flags`,
    notes: `The exit status is that of the render, as far as the permissions of plan let it
look.`,
    permissions: `  none; with --image, or --tree of a tree that was imported,
  --allow-read=STORE`,
  },
  prepare: {
    purpose: "Make the directories and print the mount configuration; do not mount.",
    usage: "overlay-render prepare --lower DIR --pod DIR [FLAGS]",
    examples: `  overlay-render prepare --lower /images/debian --pod /run/pods/one --app web
  # Mount it later, from the line that was written:
  mount --fstab /run/pods/one/overlay.fstab \\
    /run/pods/one/apps/web/rootfs`,
    permissions: RENDER_PERMISSIONS,
  },
  render: {
    purpose: "Turn a tree into a writable root filesystem, and print its path.",
    usage: "overlay-render render --lower DIR --pod DIR [FLAGS]",
    examples: `  R=$(overlay-render render --lower /images/debian --pod /run/pods/one)
  # Two layers, top first, and nothing that has to survive a crash:
  overlay-render render --lower /layers/app --lower /layers/base \\
    --pod /run/pods/one --app web --option volatile
  # Without root; the mount lasts as long as the shell:
  overlay-render unshare -- sh -c 'cd "$(overlay-render render \\
    --lower ~/debian --pod ~/pod)" && exec sh'`,
    permissions: RENDER_PERMISSIONS,
  },
  unmount: {
    purpose: `Unmount a pod's apps, or some of them, and print each rootfs that was unmounted.
What the apps wrote is kept, unless they were rendered with --ephemeral: then it
is thrown away, or the unmount fails with the apps unmounted if another mount
uses it, as in another mount namespace; --restorable keeps it. With --pods, a
pod that is damaged or in use is an error, and does not stop the others.`,
    usage: "overlay-render unmount --pod DIR [--app NAME]... | --pods DIR [FLAGS]",
    examples: `  overlay-render unmount --pod /run/pods/one
  overlay-render unmount --pod /run/pods/one --app web --app db
  # As at shutdown; restore mounts all of them again:
  overlay-render unmount --pods /run/pods --restorable`,
    permissions: `  --allow-read=POD --allow-write=POD
  --allow-run=/bin/umount,/bin/findmnt,/bin/find --allow-sys=uid
  and --allow-read=DEST for a destination outside the pod,
  --allow-read=LOWER for a read-only view of one lower; --flags prints also
  what ephemeral apps need`,
  },
  status: {
    purpose: `List the renders of a pod, or of all pods in a directory, whether they are
mounted, and any drift between overlay.fstab and the kernel.`,
    usage: "overlay-render status --pod DIR | --pods DIR [FLAGS]",
    examples: `  overlay-render status --pod /run/pods/one
  overlay-render status --pods /run/pods --size --json
  # For monitoring; nothing on stdout, and exit status 0, if all is as recorded:
  overlay-render status --pods /run/pods --check`,
    permissions: `  --allow-read=POD --allow-run=/bin/findmnt,/bin/find --allow-sys=uid
  and --allow-read=DEST for a destination outside the pod,
  --allow-read=LOWER for a read-only view of one lower`,
  },
  changes: {
    purpose: `List what an app added (A), changed (C) and deleted (D) in its tree, mounted or
not. An entry that was written and is what it was is no change; its time does
not matter. Of a directory that was deleted, only itself is listed.`,
    usage: "overlay-render changes --pod DIR [--app NAME] [FLAGS]",
    examples: `  overlay-render changes --pod /run/pods/one
  overlay-render changes --pod /run/pods/one --app web --all --json`,
    notes: `Paths are in the order of their bytes. A name with control characters is in
quotes; so is one that is not UTF-8, with one character for each byte, and
--json has its bytes in base64.`,
    permissions: `  --allow-read=POD,LOWERS --allow-run=/bin/tar,/bin/find
  --allow-sys=uid
  with the store in place of the lowers of a tree that was imported; --flags
  prints them`,
  },
  reset: {
    purpose: `Throw away what the apps of a pod wrote, or some of them, and keep the apps. An
app that is mounted is unmounted, never lazily, and mounted again afterwards;
one that a process uses stays as it is, and is an error. Prints each rootfs.`,
    usage: "overlay-render reset --pod DIR [--app NAME]... [FLAGS]",
    examples: `  overlay-render reset --pod /run/pods/one --app web
  overlay-render reset --pod /run/pods/one --dry-run`,
    notes: `What a render itself puts into a rootfs, such as etc/mtab, goes too; the next
render makes it again. An app that other apps lie in cannot be reset.`,
    permissions: `  --allow-read=POD --allow-write=POD
  --allow-run=/bin/mount,/bin/umount,/bin/findmnt,/bin/rm,
    /bin/find --allow-sys=uid
  and --allow-read=DEST for a destination outside the pod`,
  },
  restore: {
    purpose: `Mount again what was mounted when the machine stopped, with one mount process
for each pod, and print each rootfs. An app that was unmounted stays unmounted;
an app that cannot be mounted is an error, and does not stop the others.`,
    usage: "overlay-render restore --pod DIR | --pods DIR [FLAGS]",
    examples: "  overlay-render restore --pods /run/pods",
    permissions: `  --allow-read=POD --allow-write=POD
  --allow-run=/bin/mount,/bin/umount,/bin/findmnt,/bin/find
  --allow-sys=uid
  and --allow-read=DEST for a destination outside the pod,
  --allow-read=LOWER for the lowers`,
  },
  doctor: {
    purpose: `Try out in a temporary directory what a render needs, which is overlayfs and its
options, user namespaces, the programs and the permissions. Each line names the
trial, and a hint says what to do if it fails. The exit status is 0 if a render
will work; for a user who is not root, in a user namespace.`,
    usage: "overlay-render doctor [--pod DIR] [FLAGS]",
    examples: `  overlay-render doctor
  overlay-render doctor --pod /run/pods/one --json`,
    permissions: `  where DIR is the pod or the nearest directory above it:
  --allow-read=DIR --allow-write=DIR
  --allow-run=/bin/mount,/bin/umount,/bin/findmnt,/bin/find
  --allow-sys=uid
  and --allow-run=/bin/unshare to try user namespaces`,
  },
  gc: {
    purpose: `Remove pods, with all that their apps wrote. A pod is first set aside, in the
directory garbage beside it, and removed when its grace period is over; until
then --undo brings it back, and after that nothing does.

With --pods, gc collects the pods that were rendered with --ephemeral, and with
--older-than those that were not used for that time. A pod is left alone while a
command works on it, an app of it is mounted, or one is to be restored. With
--pod, gc collects the named pod, whatever it holds: its apps are unmounted
first, never lazily, and it is removed at once. A pod that is kept
(overlay-render keep) is never removed.`,
    usage: "overlay-render gc --pods DIR | --pod DIR | --undo DIR [FLAGS]",
    examples: `  overlay-render gc --pods /run/pods --dry-run
  overlay-render gc --pods /run/pods --older-than 30d
  overlay-render gc --pod /run/pods/one --grace-period 1h
  overlay-render gc --undo /run/pods/one`,
    permissions: `  where DIR is the directory that the pods are in:
  --allow-read=DIR --allow-write=DIR
  --allow-run=/bin/mount,/bin/umount,/bin/findmnt,/bin/rm,
    /bin/find --allow-sys=uid
  and --allow-read=DEST for a destination outside it (with --allow-write=DEST,
  gc removes the directories that a render made there, if they are empty),
  --allow-read=LOWER for a read-only view of one lower,
  --allow-run=/bin/fuser to name the processes that hold a mount`,
  },
  keep: {
    purpose: `Keep a pod, so that gc does not collect it, not even by its name. What an
ephemeral app of it wrote goes all the same when the app is unmounted.`,
    usage: "overlay-render keep --pod DIR [FLAGS]",
    examples: `  overlay-render keep --pod /run/pods/one
  overlay-render gc --pods /run/pods --older-than 30d`,
    permissions: "  --allow-read=POD --allow-write=POD --allow-run=/bin/find --allow-sys=uid",
  },
  unkeep: {
    purpose: "Let gc collect a pod again that was kept.",
    usage: "overlay-render unkeep --pod DIR [FLAGS]",
    examples: `  overlay-render unkeep --pod /run/pods/one
  overlay-render gc --pod /run/pods/one`,
    permissions: "  --allow-read=POD --allow-write=POD --allow-run=/bin/find --allow-sys=uid",
  },
  export: {
    purpose: `Write what an app wrote as a layer of an image (--layer), or the whole root of a
mounted app as an archive (--rootfs), or an image (--to), and print the digest.
The same content gives the same bytes, for any user, time zone and umask.

For an image, the store must have the blobs of the base: import or pull it with
--keep-blobs, or use --squash. The flags that change its config and --squash are
for --to alone.`,
    usage: `overlay-render export --pod DIR [--app NAME] [FLAGS]
         --layer FILE | --rootfs FILE | --to oci:DIR[:REF]`,
    examples: `  overlay-render export --pod /run/pods/one --layer layer.tar.gz
  overlay-render export --pod /run/pods/one --rootfs root.tar
  overlay-render export --pod /run/pods/one --to oci:layout:mine`,
    notes: `A FILE of --rootfs that ends in .erofs, .squashfs or .ext4 becomes a disk image,
made by mkfs.erofs, mksquashfs or mke2fs. The installed script may not run
these; give the flags that it needs:
  deno run $(overlay-render export ... --flags) dist/overlay-render.js ...

SOURCE_DATE_EPOCH in the environment is the latest time that an entry gets.`,
    permissions: `  --allow-read=POD,FILE,LOWERS --allow-write=FILE
  --allow-run=/bin/tar,/bin/find --allow-sys=uid; export --flags prints
  them`,
  },
  commit: {
    purpose: `Make an image of the one that an app was rendered from and of what the app
wrote, put it into the tree store, and print the tree id. The app may be
mounted; it keeps its lowers. An app that writes meanwhile is an error.`,
    usage: "overlay-render commit --pod DIR [--app NAME] --name NAME [FLAGS]",
    examples: `  overlay-render commit --pod /run/pods/one --name mine
  overlay-render commit --pod /run/pods/one --name mine --to oci:layout:mine
  overlay-render commit --pod /run/pods/one --name mine \\
    --to docker://registry.example/mine:1`,
    notes: `With --to docker://REF the image is pushed as by tree push: layers that the
registry has are not sent, and layers of the base that the store does not keep
come from the registry that it was pulled from. If the registry does not take
the image, it is in the store all the same; push it with tree push.

With SOURCE_DATE_EPOCH in the environment, the same content gives the same
digest of the image, with one version of Deno: another one may compress
differently.`,
    permissions: `  --allow-read=POD,STORE --allow-write=STORE
  --allow-run=/bin/ln,/bin/tar,/bin/sync,/bin/rm,/bin/find
  --allow-sys=uid, and for a registry those of tree push; commit --flags
  prints them`,
  },
  systemd: {
    purpose: `Print units of systemd for a directory of pods. One restores the pods at boot
and unmounts them at shutdown, a timer collects ephemeral pods every hour, and
another one removes layers that no tree has every week.`,
    usage: "overlay-render systemd DIR [FLAGS]",
    examples: `  overlay-render systemd /srv/pods
  overlay-render systemd /srv/pods --out /etc/systemd/system
  systemctl daemon-reload
  systemctl enable --now overlay-render-restore@srv-pods.service`,
    notes: `The units start the command that prints them. If that is a script and Deno is
in no directory in which systemd looks, they add its directory to PATH.`,
    permissions: `  none to print them, though without --allow-read the units name
  /usr/bin/overlay-render; with --out, --allow-read=OUT
  --allow-write=OUT --allow-run=/bin/find --allow-sys=uid`,
  },
  completion: {
    purpose: "Print a script that completes command lines in bash, zsh or fish.",
    usage: "overlay-render completion bash | zsh | fish [FLAGS]",
    examples: `  overlay-render completion bash \\
    > /usr/share/bash-completion/completions/overlay-render
  overlay-render completion zsh > /usr/share/zsh/site-functions/_overlay-render
  overlay-render completion fish \\
    > /usr/share/fish/vendor_completions.d/overlay-render.fish
  # In one shell alone:
  source <(overlay-render completion bash)`,
    permissions: "  none",
  },
  tree: {
    purpose: `Keep images as trees that can be rendered. A tree is a stack of layers, each
unpacked once, even if several images have it.`,
    usage: `overlay-render tree import SOURCE [FLAGS]
       overlay-render tree pull REF [FLAGS]
       overlay-render tree push IMAGE REF [FLAGS]
       overlay-render tree list | verify-all | gc | prune [FLAGS]
       overlay-render tree path | inspect | check | remove ID [FLAGS]
       overlay-render tree tag ID NAME | untag NAME [FLAGS]`,
    examples: `  overlay-render tree pull debian:12
  overlay-render tree import debian.tar
  overlay-render tree import layout --ref debian
  docker save debian:12 | overlay-render tree import -
  R=$(overlay-render render --image debian --pod /run/pods/one)`,
    permissions: `  import: --allow-read=SOURCE,STORE --allow-write=STORE
    --allow-run=/bin/ln,/bin/tar,/bin/sync,/bin/rm,/bin/find
    --allow-sys=uid
    and /bin/xz or /bin/zstd for an archive that is compressed so
  pull: the same, with --allow-net for the registry and --allow-env for the
    credentials files; tree pull REF --flags prints them
  push: --allow-read=STORE --allow-write=STORE --allow-sys=uid
    --allow-run=/bin/rm,/bin/find, with --allow-net and --allow-env as
    for pull; tree push IMAGE REF --flags prints them
  list, path, inspect: --allow-read=STORE, and --allow-read=POD for the pods
  check, verify-all: --allow-read=STORE --allow-run=/bin/tar
    (with --quick, --allow-run=/bin/find)
  tag, untag: --allow-read=STORE --allow-write=STORE --allow-run=/bin/find
    --allow-sys=uid
  remove, gc, prune: --allow-read=STORE,PODS --allow-write=STORE,PODS
    --allow-run=/bin/findmnt,/bin/rm,/bin/find --allow-sys=uid`,
  },
};
