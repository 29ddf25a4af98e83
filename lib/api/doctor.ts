/**
 * Checks by trials whether this machine can render, and with which options.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { Reporter } from "../system/change_options.ts";
import { isMissing, look } from "../system/disk.ts";
import { OverlayError } from "../core/errors.ts";
import { isGranted, TRUST } from "../system/permissions.ts";
import { podLayout } from "../request/layout.ts";
import { parent } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { withScratch } from "./probe.ts";
import { isAtLeast } from "../system/util_linux.ts";
import {
  check,
  checkFileSystem,
  checkIdmap,
  checkOverlay,
  checkProgram,
  checkSelinux,
} from "./doctor_checks.ts";
import { canEnter, checkUserNamespace } from "./doctor_user.ts";
import type { Bench, Check } from "./doctor_checks.ts";

/** The results of all checks. */
export interface Diagnosis {
  /** Set if a render will work, with {@linkcode options}. */
  readonly healthy: boolean;
  /** The checks, in their order. */
  readonly checks: readonly Check[];
  /** The mount options without which no render works. */
  readonly options: readonly string[];
}

/** The request of a diagnosis. */
export interface DoctorRequest {
  /** The pod that is to be rendered, which need not exist. @default {the directory for temporary files} */
  readonly pod?: string;
}

/** The oldest supported version of Deno. */
const DENO_MIN = "2.4";

/** The mount options that are tried, each on its own. */
const OPTIONS = ["volatile", "metacopy=on", "redirect_dir=on", "index=on", "xino=on", "userxattr"];

function checkDeno(): Check {
  const { deno } = Deno.version;
  const ok = isAtLeast(deno, DENO_MIN);
  const hint = ok ? null : `install Deno ${DENO_MIN} or newer`;
  return check("Deno", ok, { needed: true, how: "Deno.version", found: deno, hint });
}

/** Checks that the programs may be run, and that the directory may be read and written. */
function checkPermissions(directory: string): Check[] {
  const { mount, umount, findmnt } = PROGRAMS;
  const uid = { name: "sys", kind: "uid" } as const;
  const wanted: readonly [string, Deno.PermissionDescriptor][] = [
    ...[mount, umount, findmnt, ...TRUST.run].map(
      (command): [string, Deno.PermissionDescriptor] => {
        return [`--allow-run=${command}`, { name: "run", command }];
      },
    ),
    [`--allow-read=${directory}`, { name: "read", path: directory }],
    [`--allow-write=${directory}`, { name: "write", path: directory }],
    ["--allow-sys=uid", uid],
  ];
  const missing = wanted.filter(([, descriptor]) => !isGranted(descriptor)).map(([flag]) => flag);
  return [check("permissions of Deno", missing.length === 0, {
    needed: true,
    how: "Deno.permissions.query",
    found: missing.length === 0 ? "granted" : `missing ${missing.join(" ")}`,
    hint: missing.length === 0 ? null : "add that to the flags of deno run",
  })];
}

/** Tells whether a path is a directory. A pod must not be a symlink; a directory above it may. */
function isDirectory(path: string, isPod: boolean): boolean {
  if (isPod) return look(path)?.isDirectory === true;
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** Chooses the directory for trial mounts: the pod, or the nearest existing directory above it. */
function placeOf(request: DoctorRequest): string {
  if (request.pod === undefined) return "/tmp";
  const { pod } = podLayout(request.pod);
  for (let at = pod; at !== "/"; at = parent(at)) {
    // A directory that may not be read is not known to be missing.
    if (!isGranted({ name: "read", path: at })) return at;
    if (isDirectory(at, at === pod)) return at;
  }
  return "/";
}

/**
 * Checks whether a render works on this machine, and with which options, by mounting overlays in a temporary
 * directory in the pod or near it.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod or the nearest existing directory above
 * it (without a pod, for /tmp), and `--allow-run` for mount, umount and findmnt; for user namespaces also for
 * /bin/unshare. Missing permissions are reported, and the checks that need them are left out.
 *
 * @param request The pod.
 * @param options Listeners for programs that are run, and a signal that ends the call.
 * @returns The result of each check, with a hint where it failed.
 * @throws {InvalidValueError} If the pod is not an absolute path.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { diagnose } from "@overlay/render";
 *
 * const { checks } = await diagnose();
 * assert(checks.some(({ name }) => name === "overlayfs"));
 * ```
 *
 * @tags allow-read, allow-write, allow-run
 */
export async function diagnose(
  request: DoctorRequest = {},
  options: Reporter & { readonly signal?: AbortSignal } = {},
): Promise<Diagnosis> {
  const place = placeOf(request);
  const programs = programOptions(options);
  const first = [checkDeno(), ...checkPermissions(place)];
  if (first.some(({ ok }) => !ok)) return { healthy: false, checks: first, options: [] };
  const checks = await withScratch(place, async (directory) => {
    return await examine({ directory, programs, signal: options.signal });
  }).catch((error: unknown) => [noScratch(place, error)]);
  const all = [...first, ...checks];
  // A user who is not root renders in a namespace, which gives the option by itself.
  if (Deno.uid() !== 0) return { healthy: canEnter(checks), checks: all, options: [] };
  const works = (name: string) => all.some((check) => check.name === name && check.ok === true);
  const marks = works("overlayfs") ? [] : ["userxattr"];
  const mounts = works(["overlayfs", ...marks].join(" with "));
  const healthy = mounts && all.every(({ ok, needed }) => ok !== false || !needed);
  return { healthy, checks: all, options: healthy ? marks : [] };
}

function noScratch(place: string, error: unknown): Check {
  if (!(error instanceof OverlayError) || error.code === "interrupted") throw error;
  return check("a place for the pod", false, {
    needed: true,
    how: `made a directory in ${place}`,
    found: error.message,
    hint: error.hint,
  });
}

async function examine(bench: Bench): Promise<Check[]> {
  const programs = [PROGRAMS.mount, PROGRAMS.umount, PROGRAMS.findmnt];
  const versions: Check[] = [];
  for (const program of programs) versions.push(await checkProgram(program, bench));
  if (versions.some(({ ok }) => !ok)) return versions;
  const [mount] = versions;
  const overlays: Check[] = [];
  // Nobody but root may mount outside a user namespace.
  for (const options of Deno.uid() === 0 ? [[], ...OPTIONS.map((option) => [option])] : []) {
    bench.signal?.throwIfAborted();
    overlays.push(await checkOverlay(bench, options));
  }
  bench.signal?.throwIfAborted();
  return [
    ...versions,
    await checkFileSystem(bench),
    ...overlays,
    ...await checkUserNamespace(bench),
    await checkSelinux(bench),
    ...(mount === undefined ? [] : [checkIdmap(mount)]),
  ];
}
