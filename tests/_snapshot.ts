/**
 * Snapshots of pods in few words, for the tests of what is planned by them.
 *
 * @module
 */
import { appLine } from "../lib/overlay/app_line.ts";
import type { AppLine } from "../lib/overlay/app_line.ts";
import { mountOptions } from "../lib/overlay/mount_config.ts";
import type { Operation } from "../lib/plan/operation.ts";
import type { MountState, PodSnapshot, SeenLine } from "../lib/plan/snapshot.ts";
import { podLayout } from "../lib/request/layout.ts";

/** A line of a pod, as far as it is not like others: of an app that is to be mounted, and is not. */
export interface SceneLine {
  readonly app: string;
  readonly state?: MountState;
  readonly auto?: boolean;
  readonly rootfs?: string;
  /** Set if the line says that its rootfs lies in the pod. @default {true} */
  readonly inPod?: boolean;
  readonly volatile?: true;
  readonly lazy?: true;
  readonly ephemeral?: true;
  readonly spent?: true;
  /** The mount points in its rootfs. */
  readonly inside?: readonly string[];
}

/** A pod, `/pod`. */
export interface Scene {
  readonly lines: readonly SceneLine[];
  /** The mount points that no line names. */
  readonly unnamed?: readonly string[];
}

function lineOf(scene: SceneLine): AppLine {
  const { app, auto = true, rootfs, inPod = true, volatile, lazy, ephemeral, spent } = scene;
  const [upper, work] = ["upper", "work"].map((name) => `/pod/overlay/image/${name}/${app}`);
  const options = volatile ? ["volatile"] : [];
  const config = { lower: ["/image"], upper: `${upper}`, work: `${work}`, label: null, options };
  const at = rootfs ?? `/pod/apps/${app}/rootfs`;
  const line = appLine({ app, tree: "image", rootfs: at }, {
    config,
    options: mountOptions(config),
    auto,
  });
  return {
    ...line,
    ...(inPod ? { inPod: true } : {}),
    ...(lazy ? { lazy } : {}),
    ...(ephemeral ? { ephemeral } : {}),
    ...(spent ? { spent } : {}),
  };
}

/** A snapshot; of some apps, where they are named. */
export function snapshotOf(
  { lines, unnamed = [] }: Scene,
  apps: readonly string[] | null = null,
): PodSnapshot {
  const seen = lines.map((scene): SeenLine => {
    const line = lineOf(scene);
    const { state = "unmounted", inside = [] } = scene;
    return { line, state, target: line.rootfs, inside };
  });
  const all = seen.map(({ line }) => line);
  return {
    pod: podLayout("/pod"),
    record: { entries: all, lines: all },
    seen: seen.filter(({ line }) => apps?.includes(line.app) ?? true),
    unnamed: unnamed.map((target, id) => {
      return { id, parent: 0, target, fstype: "overlay", options: "", flags: [] };
    }),
  };
}

/** An operation in few words: its kind, the app, and what is noted of it. */
export function brief(operation: Operation): string {
  switch (operation.kind) {
    case "unmount":
      return `unmount ${operation.line?.app ?? operation.path}${operation.lazy ? " lazy" : ""}`;
    case "volatile":
      return `volatile ${operation.rootfs.split("/").at(-2)}`;
    case "record": {
      const { app, auto, lazy, spent } = operation.line;
      const marks = `${auto ? "" : " noauto"}${lazy ? " lazy" : ""}${spent ? " spent" : ""}`;
      return `record ${app}${marks}`;
    }
    case "mount":
      return `mount ${operation.line?.app}${operation.live ? " live" : ""}`;
    default:
      return operation.kind;
  }
}
