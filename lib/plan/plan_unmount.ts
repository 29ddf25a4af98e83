/**
 * The plan of unmounting the apps of a pod.
 *
 * Planning is pure: the pod is read before, and the same snapshot gives the same plan.
 *
 * Requires no permissions.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { InvalidValueError, OverlayError } from "../core/errors.ts";
import { appWords, quote } from "../core/quote.ts";
import type { Operation, UnmountOperation } from "./operation.ts";
import { freeze } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { volatileMark } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { isWithin } from "../core/path.ts";
import { resetOperations } from "./reset_operations.ts";
import { refuseElsewhere, refuseForeign, refuseTakingAway, refuseUnnamed } from "./refusals.ts";
import type { PodRecord, PodSnapshot, SeenLine } from "./snapshot.ts";
import type { ParsedUnmount } from "../request/unmount_request.ts";

/**
 * Chooses the lines of apps.
 *
 * @param apps The names; `null` for all. With `recursive`, the apps in them are chosen too.
 * @throws {OverlayError} If an app has no line.
 */
export function chooseLines(
  { lines }: PodRecord,
  { pod, apps, recursive = false }: Pick<ParsedUnmount, "pod" | "apps"> & {
    readonly recursive?: boolean;
  },
): readonly AppLine[] {
  if (apps === null) return lines;
  const byApp = new Map(lines.map((line) => [line.app, line]));
  const named = [...new Set(apps)].map((app) => {
    const line = byApp.get(app);
    if (line === undefined) throw noAppError(app, lines, pod);
    return line;
  });
  if (!recursive) return named;
  return lines.filter(({ rootfs }) => named.some((image) => isWithin(rootfs, image.rootfs)));
}

/**
 * Chooses the line of one app.
 *
 * @param app The name. @default {the only app of the pod}
 * @throws {OverlayError} If it has no line.
 * @throws {InvalidValueError} If none is named and the pod has several apps.
 */
export function chooseLine(
  record: PodRecord,
  { pod, app }: { readonly pod: PodLayout; readonly app?: string | undefined },
): AppLine {
  const { lines } = record;
  const [only, second] = lines;
  if (app === undefined && second !== undefined) {
    throw new InvalidValueError(
      "usage",
      `Cannot choose an app of pod ${quote(pod.pod)}: it has several`,
      {
        path: pod.pod,
        hint: `give one with --app: ${lines.map((line) => appWords(line.app)).join(", ")}`,
      },
    );
  }
  const [line] = chooseLines(record, { pod, apps: [app ?? only?.app ?? ""] });
  if (line === undefined) throw noAppError(app ?? "", lines, pod);
  return line;
}

function noAppError(app: string, lines: readonly AppLine[], { pod }: PodLayout): OverlayError {
  const names = lines.map((line) => appWords(line.app)).join(", ") || "no apps";
  return new OverlayError("missing", `Cannot find ${appWords(app)} in pod ${quote(pod)}`, {
    path: pod,
    hint: `the pod has ${names}`,
  });
}

/**
 * Plans to unmount apps of a pod, deepest first, and to mark their lines `noauto` afterwards.
 *
 * @param snapshot The pod; the lines in the snapshot are unmounted.
 * @throws {RefusedError} If something else is mounted on a rootfs, a whole pod is asked for and no line names
 * a mount in it, or a lazy unmount would take away what is mounted in an app.
 */
export function planUnmount(snapshot: PodSnapshot, request: ParsedUnmount): Plan {
  const { pod, record, seen, unnamed } = snapshot;
  const { lazy, foreign, recursive, restorable, apps } = request;
  refuseElsewhere(record.lines, pod);
  if (apps === null && !foreign) refuseUnnamed(unnamed, pod);
  const mounted = mountedLines(seen);
  if (lazy) refuseTakingAway(mounted);
  const note = (lines: readonly AppLine[]): Operation[] => {
    return lines.map((line) => ({ kind: "record", path: pod.fstab, line }));
  };
  const lines = mounted.map(({ line }) => line);
  const spent = restorable ? [] : ephemeralLines(snapshot);
  const changed = changedLines(snapshot, request, spent);
  return freeze<Plan>({
    action: "unmount",
    pod: pod.pod,
    operations: [
      { kind: "open", path: pod.pod },
      // Recorded before the unmount: if this ends in between, the app may be in use without a record.
      ...(lazy ? note(lines.map((line) => ({ ...line, lazy: true }))) : []),
      ...unmountOperations(snapshot, { lazy, foreign, recursive }),
      ...note(changed),
      ...resetOperations(spent, { all: record.lines, pod, lazy }),
      ...note(changed.filter((line) => line.spent).map(({ spent: _, ...line }) => line)),
    ],
    mounts: [],
  });
}

/** Lists the lines that an unmount changes, as they are then; those that are spent until their upper is empty. */
function changedLines(
  { seen }: PodSnapshot,
  { lazy, restorable }: ParsedUnmount,
  spent: readonly AppLine[],
): readonly AppLine[] {
  const isMounted = ({ state }: SeenLine) => state === "mounted";
  const mounted = mountedLines(seen).map(({ line }) => line);
  const idle = restorable ? [] : seen.filter((one) => !isMounted(one)).map(({ line }) => line);
  const off = restorable ? {} : { auto: false };
  const mark = (line: AppLine) => spent.includes(line) ? { spent: true as const } : {};
  return [
    ...idle.filter((line) => line.auto || spent.includes(line))
      .map((line) => ({ ...line, auto: false, ...mark(line) })),
    ...mounted.filter((line) => (line.auto && !restorable) || lazy || spent.includes(line))
      .map((line) => ({
        ...line,
        ...off,
        ...(lazy ? { lazy: true as const } : {}),
        ...mark(line),
      })),
  ];
}

/**
 * Lists the lines whose upper goes with the unmount; not one that was only prepared. One that holds the destination
 * of an app that is not ephemeral stays: the rootfs of that one may be a copy, with all that it wrote.
 */
function ephemeralLines({ record, seen }: PodSnapshot): readonly AppLine[] {
  const lasting = record.lines.filter(({ ephemeral }) => !ephemeral);
  const holds = (line: AppLine) => {
    return lasting.some(({ rootfs }) => rootfs.startsWith(`${line.rootfs}/`));
  };
  return seen.filter(({ line, state }) => state === "mounted" || line.auto || line.spent)
    .map(({ line }) => line)
    .filter((line) => line.ephemeral && !line.copy && !holds(line));
}

/**
 * Plans the unmounts of the mounted lines of a snapshot, without a change of the record.
 *
 * @throws {RefusedError} If something else is mounted on a rootfs.
 */
export function unmountOperations(
  { pod, seen, unnamed }: PodSnapshot,
  { lazy, foreign, recursive = false }: {
    readonly lazy: boolean;
    readonly foreign: boolean;
    readonly recursive?: boolean;
  },
): readonly Operation[] {
  const mounted = mountedLines(seen);
  const others = foreign ? unnamed.toReversed() : [];
  const how = lazy ? { lazy: true as const } : {};
  const targets: UnmountOperation[] = [
    ...others.map(({ target: path }) => ({ kind: "unmount" as const, path })),
    ...mounted.map(({ line, target }) => {
      return { kind: "unmount" as const, path: target ?? line.rootfs, line, ...how };
    }),
  ];
  const depth = ({ path }: Operation) => path.split("/").length;
  const sorted = targets.toSorted((a, b) => depth(b) - depth(a));
  return [
    ...(recursive ? withInside(sorted, mounted) : sorted),
    // An app that may still be in use may not end cleanly.
    ...(lazy ? [] : mounted.flatMap(({ line }) => clearVolatile(line, pod))),
  ];
}

/** Adds the mounts inside the apps, each before what it is mounted in. Some are apps that lie in others. */
function withInside(
  targets: readonly UnmountOperation[],
  mounted: readonly SeenLine[],
): readonly UnmountOperation[] {
  const byPath = new Map(targets.map((operation) => [operation.path, operation]));
  const byLine = new Map(mounted.map(({ line, inside }) => [line, inside]));
  const inner = new Set([...byLine.values()].flat());
  return targets.filter(({ path }) => !inner.has(path)).flatMap((operation) => {
    const inside = operation.line === undefined ? [] : byLine.get(operation.line) ?? [];
    const others = inside.map((path) => byPath.get(path) ?? { kind: "unmount" as const, path });
    return [...others, operation];
  });
}

/** Lists mounted lines, deepest first and in reverse order: a destination may have changed since. */
function mountedLines(seen: readonly SeenLine[]): readonly SeenLine[] {
  for (const { line, state } of seen) refuseForeign("unmount", line, state);
  const depth = ({ line }: SeenLine) => line.rootfs.split("/").length;
  return seen.filter(({ state }) => state === "mounted").reverse()
    .sort((a, b) => depth(b) - depth(a));
}

/** Plans to remove the kernel's marker of a volatile mount, because it is unmounted cleanly. */
function clearVolatile(line: AppLine, pod: PodLayout): Operation[] {
  const { work, options } = readLineConfig(line, pod.pod);
  if (work === null || !options.includes("volatile")) return [];
  return [{ kind: "volatile", path: volatileMark(work), rootfs: line.rootfs }];
}
