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
import { OverlayError } from "../core/errors.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { podLayout } from "../request/layout.ts";
import { CommandError, composeContainer } from "../runtime/compose.ts";
import type { Root } from "../runtime/compose.ts";
import { describeLaunch, RUNTIME_PROGRAMS } from "../runtime/choose_runtime.ts";
import { launch, SHELLS } from "../runtime/launch.ts";
import { handOver, Scratch } from "../runtime/scratch.ts";
import type { Launched } from "../runtime/launch.ts";
import type { Ended } from "../runtime/run_process.ts";
import { storedTreeLayout, storeLayout } from "../store/layout.ts";
import { chooseImage, readTree } from "../store/tree_manifest.ts";
import { Call, openPod } from "../pod/open.ts";
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

/** The runtimes that note their containers. */
const OCI = [...RUNTIME_PROGRAMS.runc, ...RUNTIME_PROGRAMS.crun];

/** A rootfs that is mounted for a command. */
interface MountedRoot extends Root {
  readonly app: string;
  /** The id of the tree. */
  readonly tree: string;
  /** Set if this call mounted it, and unmounts it. */
  readonly mounted: boolean;
}

/** Mounts the rootfs, unless it is mounted. */
async function mountRoot(
  { render, pod, app }: RunParts,
  options: ChangeOptions,
): Promise<MountedRoot> {
  if (render !== null) {
    const { renderApp } = await import("./render.ts");
    const { mount, mounted } = await renderApp(render, options);
    const readOnly = mount.upper === null && render.readOnly === true;
    return { app: mount.app, rootfs: mount.rootfs, tree: mount.tree, readOnly, mounted };
  }
  const choice = app === undefined ? { pod } : { pod, app };
  const { mountAgain } = await import("./mount_again.ts");
  const { line, readOnly, mounted } = await mountAgain(choice, options);
  return { app: line.app, rootfs: line.rootfs, tree: line.tree, readOnly, mounted };
}

/** Unmounts an app, unless other commands run in it: one of them does it then. */
async function leave({ app }: MountedRoot, pod: string, options: ChangeOptions): Promise<void> {
  const { unmountOpen } = await import("./unmount.ts");
  const { parseUnmount } = await import("../request/unmount_request.ts");
  const wanted = parseUnmount({ pod, app });
  // A command that begins makes its directory before it looks under this lock whether the app is mounted.
  using open = await openPod(wanted.pod, new Call(uninterrupted(options)));
  if (open === null || handOver(wanted.pod.pod, app)) return;
  await unmountOpen(wanted, open);
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

/** Removes a pod that was made for one command, and unmounts its apps. */
async function removePod(pod: string, options: ChangeOptions): Promise<void> {
  const { collectPods } = await import("./gc.ts");
  const { kept: [kept] } = await collectPods({ pod, ignoreMissing: true }, uninterrupted(options));
  if (kept !== undefined) options.warn?.(`the pod stays: ${kept.reason}`);
}

/** Asks a command to end when the call is aborted, and ends it after a time. */
function endOnAbort({ process, kill }: Launched, { signal, warn }: RunOptions): Disposable {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const abort = () => {
    kill("SIGTERM").catch((error) => warn?.(error.message));
    timer = setTimeout(() => process.kill("SIGKILL"), GRACE_MS);
  };
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  return {
    [Symbol.dispose](): void {
      signal?.removeEventListener("abort", abort);
      clearTimeout(timer);
    },
  };
}

/** Calls the listener; its error ends the command. */
async function tellStarted(launched: Launched, { started }: RunOptions): Promise<void> {
  try {
    started?.(launched);
  } catch (error) {
    launched.process.kill("SIGKILL");
    await launched.process.status;
    throw error;
  }
}

/** Waits for a command, and reads its streams that are piped and that nobody else reads. */
async function waitFor(launched: Launched, options: RunOptions): Promise<RunResult> {
  const { process } = launched;
  using _ = endOnAbort(launched, options);
  await tellStarted(launched, options);
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
async function runIn(
  root: MountedRoot,
  { directory }: Scratch,
  parts: RunParts,
  options: RunOptions,
): Promise<RunResult> {
  const { process, runtime, image } = parts;
  const { warn } = options;
  const described = findImageProcess(root.tree, image);
  const container = await composeContainer(root, described, process, {
    binds: runtime !== "chroot",
    warn,
  });
  const start = describeLaunch(container, { runtime, directory, warn });
  options.trace?.(`run ${start.argv.map(shellQuote).join(" ")}`);
  const shell = SHELLS.find((path) => look(path) !== null) ?? SHELLS[1];
  const { stdin = "inherit", stdout = "inherit", stderr = "inherit" } = options;
  const { terminal } = container;
  options.signal?.throwIfAborted();
  const launched = launch(start, { directory, shell, terminal, stdin, stdout, stderr });
  const result = await waitFor(launched, options);
  if (result.code === 1 && !launched.isStarted()) throw notStarted(container.argv[0] ?? "");
  return result;
}

function notStarted(command: string): CommandError {
  return new CommandError("failed", `Cannot run ${quote(command)}: the runtime did not start it`, {
    path: command,
    hint: "the runtime has said why on stderr",
  });
}

/** One call: the pod, what is mounted in it, and what is done at the end. */
class Run {
  readonly #parts: RunParts;
  readonly #options: RunOptions;
  #removes: boolean;

  constructor(parts: RunParts, options: RunOptions) {
    this.#parts = parts;
    this.#options = options;
    // A pod that was there before stays if its command is not even started.
    this.#removes = parts.remove && look(parts.pod) === null;
  }

  async carryOut(): Promise<RunResult> {
    let root = await mountRoot(this.#parts, this.#options);
    try {
      const pod = podLayout(this.#parts.pod).pod;
      using scratch = await Scratch.make(pod, { runtimes: OCI, app: root.app });
      try {
        // Until now, the command that had mounted the app could unmount it.
        if (!root.mounted) root = await mountRoot(this.#parts, this.#options);
        return await runIn(root, scratch, this.#parts, {
          ...this.#options,
          started: this.#started,
        });
      } finally {
        if (scratch.close()) root = { ...root, mounted: true };
      }
    } finally {
      await this.#leave(root);
    }
  }

  readonly #started = (command: RunningCommand): void => {
    this.#removes = this.#parts.remove;
    this.#options.started?.(command);
  };

  /** Unmounts the app, or removes the pod. The end of the command is told even if that fails. */
  async #leave(root: MountedRoot): Promise<void> {
    const { pod } = podLayout(this.#parts.pod);
    const { warn } = this.#options;
    try {
      if (this.#removes && !handOver(pod)) return await removePod(pod, this.#options);
      if (this.#removes) warn?.(`the pod stays: another command runs in it`);
      if (root.mounted) await leave(root, pod, this.#options);
    } catch (error) {
      if (!(error instanceof OverlayError)) throw error;
      warn?.(`${error.message}${error.hint === undefined ? "" : ` (${error.hint})`}`);
    }
  }
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
  return await new Run(parts, options).carryOut();
}
