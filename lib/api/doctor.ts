/**
 * Checks by trials whether this machine can render, and with which options.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { Reporter } from "../system/change_options.ts";
import { isMissing, look } from "../system/disk.ts";
import { OverlayError } from "../core/errors.ts";
import { findFileSystem } from "../preflight/disk_facts.ts";
import { isGranted, TRUST } from "../system/permissions.ts";
import { FORBIDDEN } from "../preflight/kernel_probe.ts";
import { podLayout } from "../request/layout.ts";
import { hasSelinux } from "../system/selinux.ts";
import { mountTable } from "../system/mount_table.ts";
import { DENIALS } from "../preflight/kernel_rules.ts";
import { basename, parent } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { probeMount, withScratch } from "./probe.ts";
import { printable } from "../core/quote.ts";
import { run } from "../system/run.ts";
import type { ProgramOptions } from "../system/run.ts";
import { isAtLeast, readVersion, UTIL_LINUX_MIN } from "../system/util_linux.ts";

/** The result of one check. */
export interface Check {
  /** The subject of the check. */
  readonly name: string;
  /** Set if it works; `null` if it could not be tried. */
  readonly ok: boolean | null;
  /** Set if no render works without it. */
  readonly needed: boolean;
  /** The way in which it was checked. */
  readonly how: string;
  /** The result, in words. */
  readonly found: string;
  /** A hint how to make it work, or `null`. */
  readonly hint: string | null;
}

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

interface Bench {
  /** The directory in which mounts are tried. */
  readonly directory: string;
  readonly programs: ProgramOptions;
  /** Ends the run between two checks. */
  readonly signal: AbortSignal | undefined;
}

function check(name: string, ok: boolean | null, rest: Partial<Check> & { how: string }): Check {
  return { name, ok, needed: false, found: ok ? "yes" : "no", hint: null, ...rest };
}

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

async function checkProgram(program: string, bench: Bench): Promise<Check> {
  const name = basename(program);
  const { version, said } = await readVersion(program, bench.programs);
  const ok = version !== null && isAtLeast(version, UTIL_LINUX_MIN);
  const found = version ?? (said.startsWith("Cannot run") ? said : `not of util-linux: ${said}`);
  return check(name, ok, {
    needed: true,
    how: `${program} --version`,
    found: printable(found),
    hint: ok ? null : `install util-linux ${UTIL_LINUX_MIN} or newer`,
  });
}

async function checkFileSystem({ directory, programs }: Bench): Promise<Check> {
  const found = await findFileSystem(directory, programs);
  const how = `findmnt --target ${directory}`;
  if (found === null) return check("file system", null, { how, found: "findmnt does not say" });
  const text = `${found.type}${found.readOnly ? ", read-only" : ""}`;
  return check("file system", !found.readOnly, { how, found: text });
}

async function checkOverlay(bench: Bench, options: readonly string[]): Promise<Check> {
  const how = `mounted in ${bench.directory}, written, deleted, made again, unmounted`;
  const failed = await probeMount(bench.directory, options, bench.programs);
  const name = options.length === 0 ? "overlayfs" : `overlayfs with ${options.join(",")}`;
  return check(name, failed === null, {
    how,
    found: failed ?? "works",
    hint: failed === null ? null : hintFor(failed),
  });
}

function hintFor(failed: string): string {
  if (FORBIDDEN.test(failed)) return `run in a domain that may mount; ${DENIALS}`;
  if (/superuser|permission denied|not permitted/i.test(failed)) {
    return "run as root, or inside: unshare --user --map-root-user --mount";
  }
  if (/unknown filesystem type/.test(failed)) {
    return "load it: modprobe overlay; or --overlay never";
  }
  if (/d_type/.test(failed)) {
    return "make the file system anew, with mkfs.ext4 -O filetype or mkfs.xfs -n ftype=1; or " +
      "give a pod on another one: --pod DIR";
  }
  const elsewhere = "give a pod on a disk with ext4, xfs or btrfs, or on a tmpfs: --pod DIR";
  if (/opaque/.test(failed)) {
    return `give the option userxattr, as a user namespace needs; or ${elsewhere}`;
  }
  return `${elsewhere}; or --overlay never`;
}

async function checkSelinux({ programs }: Bench): Promise<Check> {
  const table = await mountTable(programs, "selinuxfs");
  const how = "findmnt --types selinuxfs";
  if (table.length === 0) {
    return check("SELinux", false, { how, found: "not enabled: labels are left out" });
  }
  if (!hasSelinux(table)) {
    const found = "not enabled for programs, since selinuxfs is read-only: labels are left out";
    return check("SELinux", false, { how, found });
  }
  if (isGranted({ name: "read", path: SELINUX_CONFIG }) && look(SELINUX_CONFIG) === null) {
    const found = `enabled, but ${SELINUX_CONFIG} is missing, so that mount takes no label`;
    return check("SELinux", false, { how, found, hint: `make ${SELINUX_CONFIG}` });
  }
  return check("SELinux", true, { how, found: "enabled" });
}

/** Without this file, programs take SELinux for disabled. */
const SELINUX_CONFIG = "/etc/selinux/config";

const UNSHARE = "/usr/bin/unshare";

/** The script for a user namespace: an overlay in a tmpfs, in which a directory is made again. */
const INSIDE = 'mount -t tmpfs tmpfs "$1" && cd "$1" && mkdir -p l/d u w m && : > l/d/f && ' +
  "mount -t overlay -o lowerdir=l,upperdir=u,workdir=w,userxattr overlay m && rm -r m/d && mkdir m/d";

async function checkUserNamespace({ directory, programs }: Bench): Promise<Check[]> {
  const names = ["user namespaces", "overlayfs in a user namespace"] as const;
  if (!isGranted({ name: "run", command: UNSHARE })) {
    const how = `not tried without --allow-run=${UNSHARE}`;
    return names.map((name) => check(name, null, { how, found: "not known" }));
  }
  const enter = ["--user", "--map-root-user", "--mount", "--"];
  const tries = [["true"], ["sh", "-c", INSIDE, "sh", directory]];
  return await Promise.all(names.map(async (name, at) => {
    const args = [...enter, ...tries[at] ?? []];
    const { status, stderr } = await run(UNSHARE, args, { ...programs, cwd: "/" });
    const found = status === 0 ? "works" : printable(stderr);
    const hint = "allow them: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone";
    const how = `unshare ${enter.join(" ")} ${at === 0 ? "true" : "mount -t overlay …"}`;
    return check(name, status === 0, { how, found, hint: status === 0 ? null : hint });
  }));
}

/** Before version 2.39, mount(8) accepts the option and ignores it. */
function checkIdmap(mount: Check): Check {
  const ok = isAtLeast(mount.found, "2.39");
  const found = ok ? "can be asked for" : "not by this mount: it ignores X-mount.idmap";
  return check("idmapped mounts", ok, { how: "the version of mount, 2.39 or newer", found });
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
 * /usr/bin/unshare. Missing permissions are reported, and the checks that need them are left out.
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
  const overlays = [await checkOverlay(bench, [])];
  for (const option of OPTIONS) {
    bench.signal?.throwIfAborted();
    overlays.push(await checkOverlay(bench, [option]));
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
