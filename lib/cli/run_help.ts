/**
 * The texts of the help of what runs a command.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { HelpText } from "./help_text.ts";

/** The texts of `run` and `unshare`. */
export const RUN_HELP: Readonly<Record<"run" | "unshare", HelpText>> = {
  run: {
    purpose: `Runs a command in the rootfs of an app, in the foreground, and ends with its
exit status. With an image, a tree or a lower, the app is rendered as by render;
with a pod alone, it is one that was rendered before.`,
    usage: "overlay-render run [FLAGS] [-- COMMAND [ARGUMENT...]]",
    examples: `  # From a name to a process; nothing is left afterwards:
  overlay-render run --image debian:12 --pull missing -- cat /etc/os-release
  # Keep what it writes, and list it:
  overlay-render run --image debian:12 --pod /srv/pods/one -- touch /new
  overlay-render changes --pod /srv/pods/one
  # Once more in the same rootfs, with a directory of the host:
  overlay-render run --pod /srv/pods/one --bind "$PWD:/mnt:ro" -w /mnt -- ls`,
    notes: `What is not given is taken from the config of the image: the command, the
environment, the working directory, the user. What run mounts it unmounts at the
end.

The command sees neither the processes nor the files of the host, except those
of --bind and /etc/resolv.conf. It has the capabilities of a container, and
gains none (no_new_privs). It shares the network of the host unless --network
none. Signals are handed on to it. Without --tty it has no controlling terminal:
a command could type into it, where dev.tty.legacy_tiocsti is 1.

run ends with the exit status of the command, or 128 and the number of the
signal that ended it; with 125, and not 1 to 4, if run itself fails; with 126 if
the command cannot be executed, and 127 if the rootfs does not have it.`,
    permissions: `  overlay-render run --flags prints the flags of deno run that a request needs.
  setpriv starts the runtime, and can start any program.`,
  },
  unshare: {
    purpose: `Run a command as root of a user namespace, with the ids of /etc/subuid and
/etc/subgid, and with mounts of its own that end with it. Files of other
ids of your range can be read, changed and removed there. Root stays root, and
gets only the mounts.`,
    usage: "overlay-render unshare [FLAGS] [--] COMMAND [ARGUMENT]...",
    examples: `  overlay-render unshare -- sh -c 'cd "$(overlay-render render \\
    --image debian --pod ~/pod)" && exec sh'
  overlay-render unshare rm -r /home/me/pod`,
    notes: `The exit status is that of the command; 128 and the number of a signal that
ended it; 127 if there is no such command, 126 if it cannot be executed, and
125, not 1 to 4, if unshare itself fails. Signals are handed on. The variables
LD_* are not.`,
    permissions: `  --allow-read=/etc/subuid,/etc/subgid,/etc/passwd
  --allow-run=/bin/unshare --allow-sys=uid; --flags prints them`,
  },
};
