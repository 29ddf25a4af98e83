/**
 * What is done to pods in the crash tests, and how what is left of it is judged: pods before, deeds, and what
 * must be there when a deed was ended and done again.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { collectPods, overlayStatus, renderPod, unmountOverlay } from "../mod.ts";
import type { PodApp, PodRequest } from "../mod.ts";
import { crash, perform } from "./_crash.ts";
import type { Deed } from "./_crash.ts";
import { isRealRoot } from "./_privilege.ts";
import { sh, tempDir } from "./_temp.ts";
import type { TempDir } from "./_temp.ts";
import { isMissing, makeTree, MARKS, namesIn } from "./_tree.ts";

/** Where it happens. */
export interface Place {
  readonly dir: TempDir;
  /** Holds all trees, and a manifest. */
  readonly trees: string;
  /** The directory that the pods are in; nothing else is in it. */
  readonly pods: string;
  readonly pod: string;
}

export async function makePlace(dir: TempDir): Promise<Place> {
  const [trees, pods] = [dir.join("trees"), dir.join("pods")];
  await Deno.mkdir(pods);
  for (const name of ["stage1", "image", "other"]) await makeTree(`${trees}/${name}`);
  // A render touches it in the rootfs, and it is copied into the upper so.
  await Deno.mkdir(`${trees}/stage1/rkt/status`, { recursive: true });
  // A mode and, where it can be, an owner that nothing gets by chance.
  await Deno.chmod(`${trees}/image`, 0o1751);
  if (isRealRoot) await Deno.chown(`${trees}/image`, 4, 5);
  await Deno.writeTextFile(`${trees}/manifest.json`, "{}");
  return { dir, trees, pods, pod: `${pods}/pod` };
}

/** An app of the pod; its own image has a tree of its own. */
function appOf({ trees }: Place, app: string, more: Partial<PodApp> = {}): PodApp {
  const lower = [`${trees}/${app === "" ? "stage1" : "image"}`];
  return { app, lower, options: MARKS, live: true, ...more };
}

/** Apps that lie in the pod's own image, where it has one. */
export function requestOf(
  place: Place,
  apps: readonly string[],
  more: Partial<PodApp> = {},
): PodRequest {
  const all = apps.map((app) => appOf(place, app, more));
  return { pod: place.pod, layout: "rkt", apps: all };
}

/** Three apps that are mounted and one that is copied, with whatever a render can make. */
function richRequest(place: Place): PodRequest {
  const { pod, trees } = place;
  const apps = [
    appOf(place, "web", { manifest: `${trees}/manifest.json`, mtab: true }),
    appOf(place, "db", { lower: [`${trees}/image`, `${trees}/other`] }),
    appOf(place, "view", { readOnly: true, options: [] }),
    appOf(place, "copy", { overlay: "never", options: [], mtab: true }),
  ];
  return { pod, apps, group: isRealRoot ? 1 : 0 };
}

/** Renders apps, and writes and removes something in each. */
export async function use(request: PodRequest): Promise<void> {
  const { renders } = await renderPod(request);
  for (const { app, rootfs } of renders) {
    await Deno.writeTextFile(`${rootfs}/made`, `by app "${app}"`);
    await Deno.remove(`${rootfs}/gone`);
  }
}

/** The mounts at or below a directory; findmnt would have to be run a thousand times here. */
export function mountsIn(directory: string): string[] {
  const table = Deno.readTextFileSync("/proc/self/mountinfo");
  const targets = table.split("\n").map((line) => line.split(" ")[4] ?? "");
  return targets.filter((target) => `${target}/`.startsWith(`${directory}/`)).sort();
}

/** What is at a path and below it, a line each: all but the times. */
function listing(path: string): string[] {
  const { mode, uid, gid, isFile, isDirectory, isSymlink } = Deno.lstatSync(path);
  const content = isFile ? Deno.readTextFileSync(path) : isSymlink ? Deno.readLinkSync(path) : "";
  const own = `${path} ${mode?.toString(8)} ${uid} ${gid} ${JSON.stringify(content)}`;
  const names = isDirectory ? [...Deno.readDirSync(path)].map(({ name }) => name).sort() : [];
  // The kernel keeps a whiteout in a work to link others to, which is named by its number.
  const kept = names.filter((name) => !path.endsWith("/work") || !name.startsWith("#"));
  return [own, ...kept.flatMap((name) => listing(`${path}/${name}`))];
}

/** Everything at a path and below it, what is mounted there included; equal when nothing differs. */
export async function state(path: string): Promise<string> {
  if (await isMissing(path)) return "";
  return [...mountsIn(path), ...listing(path)].join("\n");
}

/** What apps wrote, as it is in the uppers of the pod. */
export async function written({ pod }: Place): Promise<string> {
  const lines = (await state(`${pod}/overlay`)).split("\n");
  return lines.filter((line) => /\/upper\/(\w+\/)?(made|gone) /.test(line)).join("\n");
}

/** As after a reboot: the mounts are gone, and the lines are as they were. */
async function reboot({ dir }: Place): Promise<void> {
  // The longer path is the deeper one.
  await sh("umount", "--", ...mountsIn(dir.path).reverse());
}

/** Something that is done to a pod. */
export interface Scenario {
  readonly name: string;
  /** What is there before. */
  readonly prepare: (place: Place) => Promise<void>;
  readonly deed: (place: Place) => Deed;
  /** How many steps it has at least, beside the programs that are run. */
  readonly steps: number;
  /** The apps of the pod in the order of its lines, and whether they are mounted at the end. */
  readonly apps: Readonly<Record<string, boolean>>;
}

export const THREE = ["web", "db", "cache"];

/** Two apps that lie in the rootfs of the pod's own image, beside one that does not. */
export const NESTED: Scenario = {
  name: "renderPod() of an image and two apps in it into a pod with another app",
  prepare: (place) => use(requestOf(place, ["old"], { dest: `${place.pod}/aside` })),
  deed: (place) => ({ kind: "render", request: requestOf(place, ["", "web", "db"]) }),
  steps: 25,
  apps: { old: true, "": true, web: true, db: true },
};

export const RENDERS: readonly Scenario[] = [
  {
    name: "renderPod() of four apps of all kinds into a fresh pod",
    prepare: () => Promise.resolve(),
    deed: (place) => ({ kind: "render", request: richRequest(place) }),
    steps: 25,
    apps: { web: true, db: true, view: true, copy: false },
  },
  {
    name: "renderPod() of four apps of all kinds into a pod with another app",
    prepare: (place) => use(requestOf(place, ["old"])),
    deed: (place) => ({ kind: "render", request: richRequest(place) }),
    steps: 25,
    apps: { old: true, web: true, db: true, view: true, copy: false },
  },
  {
    name: "renderPod() of an image and two apps in it into a fresh pod",
    prepare: () => Promise.resolve(),
    deed: (place) => ({ kind: "render", request: requestOf(place, ["", "web", "db"]) }),
    steps: 25,
    apps: { "": true, web: true, db: true },
  },
  NESTED,
];

/** Renders into pods that hold some of it already. */
export const MORE_RENDERS: readonly Scenario[] = [
  {
    name: "renderPod() of three apps into a pod with its own image, after a reboot",
    prepare: async (place) => {
      await use(requestOf(place, ["", "old"]));
      await reboot(place);
    },
    deed: (place) => ({ kind: "render", request: requestOf(place, THREE) }),
    steps: 25,
    apps: { "": true, old: false, web: true, db: true, cache: true },
  },
  {
    name: "renderPod() of three apps, of which one is mounted and one was unmounted",
    prepare: async (place) => {
      await use(requestOf(place, ["web", "db"]));
      await unmountOverlay({ pod: place.pod, app: "db" });
    },
    deed: (place) => ({ kind: "render", request: requestOf(place, THREE) }),
    steps: 20,
    apps: { web: true, db: true, cache: true },
  },
];

export const UNMOUNTS: readonly Scenario[] = [
  {
    name: "unmountOverlay() of three apps",
    prepare: (place) => use(requestOf(place, THREE)),
    deed: ({ pod }) => ({ kind: "unmount", request: { pod } }),
    steps: 3,
    apps: { web: false, db: false, cache: false },
  },
  {
    name: "unmountOverlay() of an image and two apps in it",
    prepare: (place) => use(requestOf(place, ["", "web", "db"])),
    deed: ({ pod }) => ({ kind: "unmount", request: { pod } }),
    steps: 3,
    apps: { "": false, web: false, db: false },
  },
  {
    name: "unmountOverlay() of three apps of a pod with another app",
    prepare: (place) => use(requestOf(place, ["old", ...THREE])),
    deed: ({ pod }) => ({ kind: "unmount", request: { pod, app: THREE } }),
    steps: 3,
    apps: { old: true, web: false, db: false, cache: false },
  },
];

export const RESTORE: Scenario = {
  name: "restoreOverlays() of an image and two apps in it",
  prepare: async (place) => {
    await use(requestOf(place, ["", "web", "db"]));
    await reboot(place);
  },
  deed: ({ pod }) => ({ kind: "restore", request: { pod } }),
  steps: 2,
  apps: { "": true, web: true, db: true },
};

/** Two pods that nothing holds, beside one that a reboot has stopped and one that is in use. */
export const COLLECT_ALL: Scenario = {
  name: "collectPods() of a directory of pods",
  prepare: async (place) => {
    const at = (name: string) => ({ ...place, pod: `${place.pods}/${name}` });
    await use(requestOf(at("stopped"), ["web"]));
    await reboot(place);
    for (const [name, apps] of [["one", ["web"]], ["two", ["", "web"]]] as const) {
      await use(requestOf(at(name), apps));
      await unmountOverlay({ pod: at(name).pod });
    }
    await use(requestOf(place, ["web", "db"]));
  },
  deed: ({ pods }) => ({ kind: "collect", request: { pods, gracePeriodMs: 0, olderThanMs: 0 } }),
  steps: 10,
  apps: { web: true, db: true },
};

/** The apps are those that the pod has before. */
export const COLLECTS: readonly Scenario[] = [
  {
    name: "collectPods() of a pod with three apps",
    prepare: (place) => use(requestOf(place, THREE)),
    deed: ({ pod }) => ({ kind: "collect", request: { pod } }),
    steps: 7,
    apps: { web: true, db: true, cache: true },
  },
  {
    name: "collectPods() of a pod with an image and two apps in it",
    prepare: (place) => use(requestOf(place, ["", "web", "db"])),
    deed: ({ pod }) => ({ kind: "collect", request: { pod } }),
    steps: 7,
    apps: { "": true, web: true, db: true },
  },
  {
    name: "collectPods() of a pod whose apps were unmounted lazily",
    prepare: async (place) => {
      await use(requestOf(place, THREE));
      await unmountOverlay({ pod: place.pod, lazy: true });
    },
    deed: ({ pod }) => ({ kind: "collect", request: { pod } }),
    steps: 2,
    apps: { web: true, db: true, cache: true },
  },
];

/** Says where it was when something is wrong. */
export async function named(where: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    const [message] = (error instanceof Error ? error.message : String(error)).split("\n");
    throw new Error(`${where}: ${message}`, { cause: error });
  }
}

/** Status and kernel agree: these apps are mounted, once each, and nothing else is. */
export async function assertStatus({ dir, pod }: Place, apps: Scenario["apps"]): Promise<void> {
  const status = await overlayStatus(pod);
  assertEquals(status.map(({ app, mounted }) => [app, mounted]), Object.entries(apps));
  const rootfs = status.filter(({ mounted }) => mounted).map(({ rootfs }) => rootfs);
  assertEquals(mountsIn(dir.path), rootfs.sort());
}

/** Nothing is left but the trees. */
async function assertGone({ dir, pods }: Place): Promise<void> {
  assertEquals(mountsIn(dir.path), []);
  assertEquals(await namesIn(pods), []);
}

/** Removes each pod by its name, whatever is mounted of it, and also if it is aside already. */
export async function collect(place: Place): Promise<void> {
  const { pods } = place;
  const aside = await isMissing(`${pods}/garbage`) ? [] : await namesIn(`${pods}/garbage`);
  const names = [...await namesIn(pods), ...aside].filter((name) => name !== "garbage");
  for (const name of new Set(names)) {
    assertEquals((await collectPods({ pod: `${pods}/${name}` })).kept, []);
  }
  await assertGone(place);
}

/** What is known of a deed that was ended. */
export interface Aftermath {
  readonly place: Place;
  readonly scenario: Scenario;
  /** What the pods are like when it comes to its end. */
  readonly whole: string;
  /** What the apps of the pod had written before. */
  readonly kept: string;
  /** All its steps. */
  readonly steps: readonly string[];
  /** After how many of them it was killed, */
  readonly at: number;
  /** or whether it came to its end. */
  readonly killed: boolean;
}

/** Does it in one piece, to know what is to come of it. */
export async function inOnePiece(scenario: Scenario, place: Place): Promise<Aftermath> {
  await scenario.prepare(place);
  const kept = await written(place);
  const steps: string[] = [];
  await perform(scenario.deed(place), (step) => void steps.push(step));
  const own = steps.filter((step) => !step.startsWith("run "));
  assert(own.length >= scenario.steps, `it has only the steps ${own}`);
  const whole = await state(place.pods);
  if (!await isMissing(place.pod)) await assertStatus(place, scenario.apps);
  await collect(place);
  return { place, scenario, whole, kept, steps, at: steps.length + 1, killed: false };
}

/** Kills it after each single step, until it comes to its end. */
export async function atEveryStep(
  scenario: Scenario,
  check: (aftermath: Aftermath) => Promise<void>,
): Promise<void> {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const trees = await state(place.trees);
  const aftermath = await inOnePiece(scenario, place);
  const { steps } = aftermath;
  for (let at = 1; at <= steps.length + 1; at++) {
    await scenario.prepare(place);
    const crashed = await crash(scenario.deed(place), at);
    const { killed } = crashed;
    await named(`killed after step ${at}, ${crashed.steps.at(-1)}`, async () => {
      assertEquals(crashed, { steps: steps.slice(0, at), killed: at <= steps.length });
      await check({ ...aftermath, at, killed });
      assertEquals(await state(place.trees), trees);
      await assertGone(place);
    });
  }
}

/** Done again it comes to the same end, and then all can be taken down. */
export async function doAgain({ place, scenario, whole, kept }: Aftermath): Promise<void> {
  const { pod, pods } = place;
  assertEquals(await written(place), kept);
  await perform(scenario.deed(place));
  assertEquals(await state(pods), whole);
  await assertStatus(place, scenario.apps);
  await unmountOverlay({ pod });
  const resting = Object.keys(scenario.apps).map((app) => [app, false]);
  await assertStatus(place, Object.fromEntries(resting));
  assertEquals(await written(place), kept);
  await collect(place);
}

/** A test that kills a deed at every step of it. */
export function test(
  scenario: Scenario,
  what: string,
  check: (aftermath: Aftermath) => Promise<void>,
): void {
  Deno.test(`${scenario.name} ${what}, at whatever step it was killed`, async () => {
    await atEveryStep(scenario, check);
  });
}

/** Nothing that an app wrote is lost, and all can be removed as it is. */
export async function collectInstead({ place, kept }: Aftermath): Promise<void> {
  assertEquals(await written(place), kept);
  await collect(place);
}
