/**
 * Asks mount(8), findmnt(8) and the kernel for facts, each question once.
 *
 * The kernel is asked with a mount that always fails, because its lower would lie in a file. The kernel reads
 * the options first: it returns EINVAL for an unknown option, and otherwise ENOTDIR
 * (kernel, fs/overlayfs/params.c). In no case is anything mounted, made or marked.
 *
 * @module
 */
import { isGranted } from "../system/permissions.ts";
import { GENERIC_OPTIONS } from "../request/mount_option.ts";
import { mountTable } from "../system/mount_table.ts";
import type { Mount } from "../system/mount_table.ts";
import { PROGRAMS } from "../system/programs.ts";
import { run } from "../system/run.ts";
import type { ProgramOptions } from "../system/run.ts";
import { readVersion } from "../system/util_linux.ts";
import type { ProgramVersion } from "../system/util_linux.ts";

/** The answer of the kernel to an overlay of this user; a security policy answers `forbidden`. */
export type KernelAnswer = "takes it" | "not permitted" | "forbidden" | "no overlayfs";

/** A lower that can never exist. */
const NONE = `${PROGRAMS.mount}/none`;

/** Such lowers. With only one, older kernels report that it is too few before they look for it. */
const NEVER = `lowerdir=${NONE}:${NONE}`;

/** The command that shows the kernel's own messages, without those about this probe. */
export const DMESG = `dmesg | grep --invert-match ${NONE}`;

/** The message of mount(8) for EACCES, which it mistakes for a write-protected disk. */
export const FORBIDDEN = /cannot mount .* read-only/;

const ANSWERS: readonly (readonly [said: RegExp, answer: KernelAnswer | "invalid"])[] = [
  [FORBIDDEN, "forbidden"],
  [/superuser|permission denied|not permitted/i, "not permitted"],
  [/unknown filesystem type/, "no overlayfs"],
  [/not a directory|does not exist/i, "takes it"],
  [/wrong fs type/, "invalid"],
];

/** Asks each question once for many apps. */
export class KernelProbe {
  /** The options for programs. */
  readonly programs: ProgramOptions;
  readonly #answers = new Map<string, Promise<KernelAnswer | "invalid" | null>>();
  #version: Promise<ProgramVersion> | undefined;
  #table: Promise<readonly Mount[]> | undefined;

  /** Makes a probe without asking anything. */
  constructor(programs: ProgramOptions) {
    this.programs = programs;
  }

  /** Reports the version of mount(8); `null` when it may not be run. */
  async version(): Promise<ProgramVersion | null> {
    if (!isGranted({ name: "run", command: PROGRAMS.mount })) return null;
    return await (this.#version ??= readVersion(PROGRAMS.mount, this.programs));
  }

  /** Returns the mount table; `null` when findmnt(8) may not be run. */
  async table(): Promise<readonly Mount[] | null> {
    if (!isGranted({ name: "run", command: PROGRAMS.findmnt })) return null;
    return await (this.#table ??= mountTable(this.programs));
  }

  /** Reports the kernel's answer to an overlay of this user; `null` when unknown. */
  async kernel(): Promise<KernelAnswer | null> {
    const answer = await this.#ask("");
    return answer === "invalid" ? null : answer;
  }

  /** Lists the options that this kernel does not know, as far as it reports them. */
  async unknown(options: readonly string[]): Promise<readonly string[]> {
    if (await this.kernel() !== "takes it") return [];
    const found: string[] = [];
    for (const option of options) {
      if (GENERIC_OPTIONS.includes(option)) continue;
      if (await this.#ask(option) === "invalid") found.push(option);
    }
    return found;
  }

  async #ask(option: string): Promise<KernelAnswer | "invalid" | null> {
    const { version } = await this.version() ?? { version: null };
    // The effect of another mount is unknown.
    if (version === null) return null;
    let answer = this.#answers.get(option);
    if (answer === undefined) this.#answers.set(option, answer = this.#mount(option));
    return await answer;
  }

  async #mount(option: string): Promise<KernelAnswer | "invalid" | null> {
    const text = option === "" ? NEVER : `${option},${NEVER}`;
    const args = ["--types", "overlay", "--options", text, "--", "overlay", "/"];
    const { stderr } = await run(PROGRAMS.mount, args, { ...this.programs, cwd: "/" });
    return ANSWERS.find(([said]) => said.test(stderr))?.[1] ?? null;
  }
}
