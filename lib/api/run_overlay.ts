/**
 * Runs a command in the rootfs of an app, which is rendered for it if need be.
 *
 * @module
 */
import { splitRun } from "./run_request.ts";
import type { RunParts, RunRequest } from "./run_request.ts";
import { permissionsFor, planRun } from "./run_permissions.ts";
import { uninterrupted } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { readImageProcess } from "../image/image_process.ts";
import type { ImageProcess } from "../image/image_process.ts";
import { shellQuote } from "../core/quote.ts";
import { podLayout } from "../request/layout.ts";
import { composeContainer } from "../runtime/compose.ts";
import type { Root } from "../runtime/compose.ts";
import { describeLaunch, RUNTIME_PROGRAMS } from "../runtime/choose_runtime.ts";
import { launch, SHELLS } from "../runtime/launch.ts";
import { Scratch } from "../runtime/scratch.ts";
import type { Ended, Launched } from "../runtime/launch.ts";
import { storedTreeLayout, storeLayout } from "../store/layout.ts";
import { chooseImage, readTree } from "../store/tree_manifest.ts";
import { ifAny, look } from "../system/disk.ts";
import { checkPermissions, isGranted } from "../system/permissions.ts";
import type { Streams } from "../system/run.ts";

/** The options of {@linkcode runInOverlay}. */
export interface RunOptions extends ChangeOptions, Streams {
  /** Receives the command when it runs. */
  readonly started?: (command: RunningCommand) => void;
}

/** A command that runs. */
export interface RunningCommand {
  /** Its streams, as far as they are piped, and the process that started it. */
  readonly process: Deno.ChildProcess;
  /** Sends it a signal. */
  readonly kill: (signal: Deno.Signal) => Promise<void>;
}

/** How a command ended. */
export interface RunResult extends Ended {
  /** Its stdout, if it is piped. */
  readonly stdout: Uint8Array | null;
  /** Its stderr, if it is piped. */
  readonly stderr: Uint8Array | null;
}

/** The time, in milliseconds, that an aborted command has to end by itself. */
const GRACE_MS = 10_000;

/** A rootfs that is mounted for a command. */
interface MountedRoot extends Root, AsyncDisposable {
  /** The id of the tree. */
  readonly tree: string;
}

/** Mounts the rootfs; disposing it unmounts what this call mounted. */
async function mountRoot(
  { render, pod, app }: RunParts,
  options: ChangeOptions,
): Promise<MountedRoot> {
  if (render !== null) {
    const { renderOverlay } = await import("./render.ts");
    const { rootfs, tree, upper, ...rendered } = await renderOverlay(render, options);
    const readOnly = upper === null && render.readOnly === true;
    return { rootfs, tree, readOnly, [Symbol.asyncDispose]: rendered[Symbol.asyncDispose] };
  }
  const choice = app === undefined ? { pod } : { pod, app };
  const { mountAgain } = await import("./mount_again.ts");
  const { line, readOnly, mounted } = await mountAgain(choice, options);
  const { rootfs, tree } = line;
  return {
    rootfs,
    tree,
    readOnly,
    async [Symbol.asyncDispose](): Promise<void> {
      if (!mounted) return;
      const { unmountOverlay } = await import("./unmount.ts");
      await unmountOverlay({ pod, app: line.app }, uninterrupted(options));
    },
  };
}

/** Reads the process that the image of a tree describes. */
function findImageProcess(tree: string, { image, store }: RunParts["image"]): ImageProcess {
  const layout = storeLayout(store);
  const may = isGranted({ name: "read", path: layout.store });
  const manifest = may ? ifAny(() => readTree(storedTreeLayout(layout, tree))) : null;
  return readImageProcess(
    manifest === null ? null : chooseImage(manifest, image ?? tree)?.config ?? null,
  );
}

/** Removes a pod that was made for one command. */
async function removePod(pod: string, options: ChangeOptions): Promise<void> {
  const { collectPods } = await import("./gc.ts");
  const { kept: [kept] } = await collectPods({ pod, ignoreMissing: true }, uninterrupted(options));
  if (kept !== undefined) options.warn?.(`the pod stays: ${kept.reason}`);
}

/** Asks a command to end when the call is aborted, and ends it after a time. */
function endOnAbort({ process, kill }: Launched, signal: AbortSignal): Disposable {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const abort = () => {
    kill("SIGTERM");
    timer = setTimeout(() => process.kill("SIGKILL"), GRACE_MS);
  };
  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();
  return {
    [Symbol.dispose](): void {
      signal.removeEventListener("abort", abort);
      clearTimeout(timer);
    },
  };
}

/** Waits for a command, and reads its streams that are piped and that nobody else reads. */
async function waitFor(launched: Launched, options: RunOptions): Promise<RunResult> {
  const { process } = launched;
  using _ = options.signal === undefined ? null : endOnAbort(launched, options.signal);
  options.started?.(launched);
  const read = (how: Streams["stdout"], stream: () => ReadableStream<Uint8Array>) => {
    return how !== "piped" || stream().locked ? null : new Response(stream() as BodyInit).bytes();
  };
  const [{ code, signal }, stdout, stderr] = await Promise.all([
    process.status,
    read(options.stdout, () => process.stdout),
    read(options.stderr, () => process.stderr),
  ]);
  options.signal?.throwIfAborted();
  return { code, signal, stdout, stderr };
}

/** Runs the command in a rootfs that is mounted. */
async function runIn(root: MountedRoot, parts: RunParts, options: RunOptions): Promise<RunResult> {
  const { process, runtime, pod, image } = parts;
  const { warn } = options;
  const described = findImageProcess(root.tree, image);
  const container = await composeContainer(root, described, process, {
    binds: runtime !== "chroot",
    warn,
  });
  const oci = [...RUNTIME_PROGRAMS.runc, ...RUNTIME_PROGRAMS.crun];
  using scratch = await Scratch.make(podLayout(pod).pod, oci);
  const { directory } = scratch;
  const start = describeLaunch(container, { runtime, directory, warn });
  options.trace?.(`run ${start.argv.map(shellQuote).join(" ")}`);
  const shell = SHELLS.find((path) => look(path) !== null) ?? SHELLS[1];
  const { stdin = "inherit", stdout = "inherit", stderr = "inherit" } = options;
  const { terminal } = container;
  const launched = launch(start, { directory, shell, terminal, stdin, stdout, stderr });
  return await waitFor(launched, options);
}

/**
 * Runs a command in the rootfs of an app, and waits for its end. The app is rendered if need be. What this call
 * mounted it unmounts; what the command wrote stays in the pod, unless the pod is removed.
 *
 * Where the request says nothing, the command, its environment, its working directory and its user are those of
 * the image's config. bubblewrap starts it, or runc for another user than root, in namespaces of its own, with
 * the capabilities of a container, `no_new_privs`, and a clear environment.
 *
 * Requires the permissions that {@linkcode runPermissions} computes; and the right to mount.
 *
 * @param request The command, and the app.
 * @param options Listeners, the streams, and a signal: it ends the command with SIGTERM, and after ten seconds
 * with SIGKILL.
 * @returns How the command ended, and its output as far as it is piped.
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If a safety check refuses; nothing was touched.
 * @throws {OverlayError} If the rootfs cannot be rendered, or the command cannot be started; its code is
 * `missing` if the rootfs does not have the command.
 * @throws {unknown} The reason of the signal.
 *
 * @example
 * ```ts ignore
 * import { runInOverlay } from "@overlay/render";
 *
 * const { code, stdout } = await runInOverlay(
 *   { image: "debian:12", pull: "missing", cmd: ["cat", "/etc/os-release"] },
 *   { stdout: "piped" },
 * );
 * console.log(code, new TextDecoder().decode(stdout ?? undefined));
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function runInOverlay(
  request: RunRequest,
  options: RunOptions = {},
): Promise<RunResult> {
  const parts = splitRun(request);
  checkPermissions("run", await permissionsFor(parts, await planRun(parts)));
  if (!parts.remove) {
    await using root = await mountRoot(parts, options);
    return await runIn(root, parts, options);
  }
  try {
    return await runIn(await mountRoot(parts, options), parts, options);
  } finally {
    // That unmounts it, too.
    await removePod(parts.pod, options);
  }
}
