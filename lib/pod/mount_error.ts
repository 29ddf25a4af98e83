/**
 * The error of an app that could not be mounted: the message of mount(8), and the likely cause.
 *
 * @module
 */
import { toMountPlan } from "../overlay/app_line.ts";
import type { AppLine, MountPlan } from "../overlay/app_line.ts";
import { MountError } from "../core/errors.ts";
import { FactsCache } from "../preflight/disk_facts.ts";
import { DMESG, FORBIDDEN, KernelProbe } from "../preflight/kernel_probe.ts";
import { extractMessage } from "./mount_output.ts";
import type { Mounting } from "./mount_context.ts";
import { DENIALS } from "../preflight/kernel_rules.ts";
import { quote } from "../core/quote.ts";
import type { ProgramResult } from "../system/run.ts";
import { lookThoroughly } from "../preflight/diagnose_mount.ts";
import type { FoundMount } from "./verify.ts";

/** The message of mount(8) for every EINVAL, whatever the cause. */
const ANYTHING = /wrong fs type, bad option/;

/** The message of mount(8) for EBUSY; it can name an overlay that has nothing to do with it. */
const IN_USE = /already mounted|is busy/;

/** The causes behind the messages of mount(8) that have a clear meaning. */
const MEANINGS: readonly (readonly [text: RegExp, cause: string])[] = [
  [
    /superuser|permission denied/i,
    "run as root, or inside: unshare --user --map-root-user --mount " +
    "(where the options metacopy and redirect_dir are not allowed)",
  ],
  [
    /any subsequent operation failed/,
    "give the options that the file system of the lower is mounted with, such as " +
    "--option nosuid --option nodev",
  ],
  [
    /special device overlay does not exist/,
    "a lower, the upper or the work is missing, or cannot be reached",
  ],
  [
    /Too many levels of symbolic links/,
    "a lower is given twice, or a lower, the upper or the work lies in another of them",
  ],
  [
    IN_USE,
    "a process uses them still, perhaps in another mount namespace: end what was started in the app, " +
    "and run this again",
  ],
  [/unknown filesystem type/, "this kernel has no overlayfs: modprobe overlay, or --overlay never"],
];

/** Describes the causes that remain when no check has found one, the likeliest first. */
function remaining(mount: MountPlan): string {
  const upper = mount.upper === null ? "" : "the file system of the pod cannot hold an upper, or ";
  return `${upper}that of a lower no lower; the kernel's own words are at the end of: ${DMESG}`;
}

/** The hint for a label with which the kernel refuses an overlay, while it takes one without. */
const NOT_RELABELLED =
  "the SELinux policy does not let this process mount with that label: run in a " +
  `domain that may relabel file systems, or give another --label; ${DENIALS}`;

/** Finds the causes, the likeliest first: causes that were seen come before guesses. */
async function causesOf(
  line: AppLine,
  said: string,
  pod: string,
  known: { readonly cache: FactsCache; readonly probe: KernelProbe },
): Promise<readonly string[]> {
  const [, meaning] = MEANINGS.find(([text]) => text.test(said)) ?? [];
  if (meaning !== undefined && !said.includes("Too many levels")) return [meaning];
  const mount = toMountPlan(line, pod);
  const { findings } = await lookThoroughly(mount, known);
  const isDenied = mount.label !== null && FORBIDDEN.test(said) &&
    await known.probe.kernel() === "takes it";
  return [
    ...(isDenied ? [NOT_RELABELLED] : []),
    ...findings.flatMap(({ code, sentence, hint }) => {
      // A label that is left out cannot be the cause.
      if (code === "label-left-out") return [];
      return [code === "conflicting-options" ? hint : `${sentence}; ${hint}`];
    }),
    meaning ?? remaining(mount),
  ];
}

/** The hint for a machine on which SELinux is enabled, but mount(8) takes it for disabled. */
const LABEL_DROPPED =
  "mount(8) keeps a label only while /etc/selinux/config exists and selinuxfs can be " +
  "written: mend that, or render without --label";

function wordsOf(said: string): string {
  if (ANYTHING.test(said)) return "the kernel refused it as invalid";
  if (IN_USE.test(said)) return "its upper or its work is in use";
  return `mount failed: "${said}"`;
}

/** The errors of the apps that one mount process could not mount. */
export async function mountErrors(
  failed: readonly FoundMount[],
  result: ProgramResult,
  mounting: Mounting,
): Promise<readonly { readonly line: AppLine; readonly error: MountError }[]> {
  const { argv, status, stderr } = result;
  const known = { cache: new FactsCache(), probe: new KernelProbe(mounting.programs) };
  const errors = [];
  for (const { line, lostLabel } of failed) {
    const said = extractMessage(result, line.rootfs);
    const words = lostLabel === null
      ? wordsOf(said)
      : `mount left out label ${quote(lostLabel)}, which the kernel takes`;
    const [cause] = lostLabel === null
      ? await causesOf(line, said, mounting.pod.pod, known)
      : [LABEL_DROPPED];
    const error = new MountError(
      IN_USE.test(said) ? "busy" : "mount-failed",
      `Cannot mount overlay at ${quote(line.rootfs)}: ${words}, ` +
        `with options ${quote(line.options)}`,
      { path: line.rootfs, hint: cause, failure: { argv, status, stderr } },
    );
    errors.push({ line, error });
  }
  return errors;
}
