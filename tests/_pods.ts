/**
 * Directories of pods, in every state that a pod can be in, and processes that use what is in them.
 *
 * @module
 */
import { prepareOverlay, renderOverlay, unmountOverlay } from "../mod.ts";
import type { Collected, Restored } from "../mod.ts";
import { sh } from "./_temp.ts";
import type { TempDir } from "./_temp.ts";
import { isMissing, makeTree, MARKS } from "./_tree.ts";

/** A directory of pods, and a tree to render them from. */
export interface Place {
  /** The temporary directory that both are in. */
  readonly dir: TempDir;
  /** The directory of pods. */
  readonly pods: string;
  /** The tree. */
  readonly lower: string;
}

/** Makes a directory of pods that has none yet, and a tree. */
export async function makePlace(dir: TempDir): Promise<Place> {
  const pods = dir.join("pods");
  await Deno.mkdir(pods);
  return { dir, pods, lower: await makeTree(dir.join("image")) };
}

/** A pod of a place, and the rootfs of its app. */
export interface TestPod {
  readonly pod: string;
  readonly rootfs: string;
  /** The upper of its app. */
  readonly upper: string;
}

/** How the app of a pod differs. */
interface PodMore {
  readonly app?: string;
  readonly options?: readonly string[];
  /** Set if its pod may be collected, and what it wrote goes with the unmount. @default {true} */
  readonly ephemeral?: boolean;
}

/** Renders an ephemeral app, `web` unless it is named, that has written the pod's name into a file `made`. */
export async function mountedPod(
  { pods, lower }: Place,
  name: string,
  more: PodMore = {},
): Promise<TestPod> {
  const { app = "web", options = [], ephemeral = true } = more;
  const pod = `${pods}/${name}`;
  const render = await renderOverlay({
    lower,
    pod,
    app,
    options: [...MARKS, ...options],
    ephemeral,
  });
  await Deno.writeTextFile(`${render.rootfs}/made`, name);
  return { pod, rootfs: render.rootfs, upper: `${render.upper}` };
}

/** The same, never mounted: the file was put into the upper. It takes no program to make one. */
export async function preparedPod({ pods, lower }: Place, name: string): Promise<TestPod> {
  const pod = `${pods}/${name}`;
  const request = { lower, pod, app: "web", options: MARKS, ephemeral: true };
  const { rootfs, upper } = await prepareOverlay(request);
  await Deno.writeTextFile(`${upper}/made`, name);
  return { pod, rootfs, upper: `${upper}` };
}

/** The same, unmounted in order; the file was put into the upper of an ephemeral one afterwards. */
export async function idlePod(
  place: Place,
  name: string,
  more: PodMore = {},
): Promise<TestPod> {
  const made = await mountedPod(place, name, more);
  await unmountOverlay({ pod: made.pod });
  await Deno.writeTextFile(`${made.upper}/made`, name);
  return made;
}

/** The same, not unmounted by the command: as after a reboot its line says that it is to be mounted. */
export async function rebootedPod(
  place: Place,
  name: string,
  more: PodMore = {},
): Promise<TestPod> {
  const made = await mountedPod(place, name, more);
  await sh("umount", "--", made.rootfs);
  return made;
}

/** A pod with its own image and two apps in it, all mounted. */
export async function nestedPod(
  { dir, pods, lower }: Place,
  name: string,
): Promise<{ readonly pod: string; readonly rootfs: readonly string[] }> {
  const pod = `${pods}/${name}`;
  const stage1 = dir.join(`stage1-of-${name}`);
  if (await isMissing(stage1)) await makeTree(stage1);
  const rootfs: string[] = [];
  for (const app of ["", "web", "db"]) {
    const request = {
      lower: app === "" ? stage1 : lower,
      pod,
      app,
      layout: "rkt" as const,
      live: true,
      options: MARKS,
      ephemeral: true,
      // Nothing runs in the image.
      ...(app === "" ? {} : { live: true }),
    };
    rootfs.push((await renderOverlay(request)).rootfs);
  }
  return { pod, rootfs };
}

/** A process that runs until its scope ends. */
export interface Running extends AsyncDisposable {
  /** Ends it at once. */
  end(): Promise<void>;
}

/** Starts a process, and waits until it runs. */
async function start(argv: readonly string[], cwd: string): Promise<Running> {
  const [program = "", ...args] = [...argv, "sh", "-c", "echo ready && exec sleep 3600"];
  const child = new Deno.Command(program, { args, cwd, stdin: "null", stdout: "piped" }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  let ended: Promise<void> | null = null;
  const end = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.status;
  };
  return { end: () => ended ??= end(), [Symbol.asyncDispose]: () => ended ??= end() };
}

/** Starts a process that keeps a directory in use: it is where the process works. */
export async function occupy(directory: string): Promise<Running> {
  return await start([], directory);
}

/** Starts a process in a mount namespace of its own, where all that is mounted now stays mounted. */
export async function keepMounts(): Promise<Running> {
  return await start(["unshare", "--mount", "--propagation", "private"], "/");
}

/** What gc did, in few words: paths from the temporary directory on, and why something was kept. */
export interface Brief {
  readonly marked: readonly string[];
  readonly removed: readonly string[];
  readonly kept: readonly string[];
}

/** Says what gc did in few words. */
export function brief({ marked, removed, kept }: Collected, { path }: TempDir): Brief {
  const short = (text: string) => text.replaceAll(`${path}/`, "");
  return {
    marked: marked.map(({ pod, garbage }) => short(`${pod} as ${garbage}`)),
    removed: removed.map(({ garbage }) => short(garbage)),
    kept: kept.map(({ pod, code }) => short(`${pod}: ${code}`)),
  };
}

/** What was restored and what was not, in few words: pod and app, and why not. */
export function briefly(
  { restored, failed }: Restored,
  { path }: TempDir,
): { readonly restored: readonly string[]; readonly failed: readonly string[] } {
  const short = (text: string) => text.replaceAll(`${path}/`, "");
  return {
    restored: restored.map(({ pod, app }) => short(`${pod} ${app}`)),
    failed: failed.map(({ pod, app, code }) => short(`${pod} ${app}: ${code}`)),
  };
}

/** Counts the programs that a run starts, by their names. */
export function counter(): {
  readonly trace: (text: string) => void;
  readonly count: (program: string) => number;
  readonly lines: readonly string[];
} {
  const lines: string[] = [];
  return {
    trace: (text) => void lines.push(text),
    count: (program) => lines.filter((line) => line.startsWith(`run /bin/${program} `)).length,
    lines,
  };
}
