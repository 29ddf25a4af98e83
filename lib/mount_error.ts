/**
 * The error of an app that mount could not mount: what was said, and why it is likely so.
 *
 * @module
 */
import { mountOfLine } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";
import { MountError } from "./errors.ts";
import { Looked } from "./facts.ts";
import { Inquiry } from "./inquiry.ts";
import { saidOf } from "./mounting.ts";
import type { Mounting } from "./mounting.ts";
import { quote } from "./quote.ts";
import type { ProgramResult } from "./run.ts";
import { lookThoroughly } from "./thorough.ts";

/** What mount(8) says of every EINVAL, whatever the cause; it helps nobody. */
const ANYTHING = /wrong fs type, bad option/;

/** What the texts of mount(8) mean, where they say anything. */
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
  [/unknown filesystem type/, "this kernel has no overlayfs: modprobe overlay, or --overlay never"],
];

/** What remains when nothing else is found, the likeliest first. */
const REMAINING = "the file system of the pod cannot hold an upper, or that of a lower no lower; " +
  "the kernel's own words are at the end of: dmesg";

/** The causes, the likeliest first: what is seen comes before what is guessed. */
async function causesOf(
  line: AppLine,
  said: string,
  pod: string,
  known: { readonly looked: Looked; readonly inquiry: Inquiry },
): Promise<readonly string[]> {
  const [, meaning] = MEANINGS.find(([text]) => text.test(said)) ?? [];
  if (meaning !== undefined && !said.includes("Too many levels")) return [meaning];
  const { findings } = await lookThoroughly(mountOfLine(line, pod), known);
  return [
    ...findings.flatMap(({ code, sentence, hint }) => {
      // What is left out is not in the way.
      if (code === "label-left-out") return [];
      return [code === "conflicting-options" ? hint : `${sentence}; ${hint}`];
    }),
    meaning ?? REMAINING,
  ];
}

/** The errors of the apps that one mount process could not mount. */
export async function mountErrors(
  failed: readonly AppLine[],
  result: ProgramResult,
  mounting: Mounting,
): Promise<readonly { readonly line: AppLine; readonly error: MountError }[]> {
  const { argv, status, stderr } = result;
  const known = { looked: new Looked(), inquiry: new Inquiry(mounting.programs) };
  const errors = [];
  for (const line of failed) {
    const said = saidOf(result, line.rootfs);
    const words = ANYTHING.test(said) ? "the kernel refused it as invalid" : `mount said "${said}"`;
    const [cause] = await causesOf(line, said, mounting.pod.pod, known);
    const error = new MountError(
      "mount-failed",
      `Cannot mount overlay at ${quote(line.rootfs)}: ${words}, ` +
        `with options ${quote(line.options)}`,
      { path: line.rootfs, hint: cause, failure: { argv, status, stderr } },
    );
    errors.push({ line, error });
  }
  return errors;
}
