/**
 * What changes a pod, ended at a step: as by SIGKILL, which nothing can clean up after, or by a signal that
 * the command undoes its work on.
 *
 * @module
 */
import type { ChangeOptions, Checkpoints } from "../lib/system/change_options.ts";
import type { CollectRequest } from "../lib/api/gc.ts";
import type { PodRequest } from "../lib/request/options.ts";
import type { PodsRequest } from "../lib/pod/list.ts";
import type { ResetRequest } from "../lib/api/reset.ts";
import type { UnmountRequest } from "../lib/request/unmount_request.ts";
import type { CliResult } from "./_cli.ts";

/** What is done. */
export type Deed =
  | { readonly kind: "render"; readonly request: PodRequest }
  | { readonly kind: "unmount"; readonly request: UnmountRequest }
  | { readonly kind: "collect"; readonly request: CollectRequest }
  | { readonly kind: "reset"; readonly request: ResetRequest }
  | { readonly kind: "restore"; readonly request: PodsRequest };

/**
 * Does it, and loads only what that takes.
 *
 * @param onStep Is told each step when it is done, and each program before it is run.
 */
export async function perform(
  deed: Deed,
  onStep: (step: string) => void = () => {},
): Promise<unknown> {
  const options: ChangeOptions & Checkpoints = {
    checkpoint: onStep,
    trace: (text) => void (text.startsWith("run ") && onStep(text)),
  };
  switch (deed.kind) {
    case "render":
      return await (await import("../lib/api/render_pod.ts")).renderPod(deed.request, options);
    case "unmount":
      return await (await import("../lib/api/unmount.ts")).unmountOverlay(deed.request, options);
    case "collect":
      return await (await import("../lib/api/gc.ts")).collectPods(deed.request, options);
    case "reset":
      return await (await import("../lib/api/reset.ts")).resetOverlay(deed.request, options);
    case "restore":
      return await (await import("../lib/api/restore.ts")).restoreOverlays(deed.request, options);
  }
}

/** At least two, since each waits for processes all the time. */
const LANES = Math.max(2, navigator.hardwareConcurrency);

/**
 * Works off values in as many lanes as there are processors. All lanes take from the same values, and end
 * before this does.
 */
export async function inLanes<T>(
  values: Iterable<T>,
  lane: (values: Iterable<T>) => Promise<void>,
): Promise<void> {
  const rest = Iterator.from(values);
  const lanes = Array.from({ length: LANES }, () => lane(rest));
  for (const ended of await Promise.allSettled(lanes)) {
    if (ended.status === "rejected") throw ended.reason;
  }
}

/** What the process is told to do. */
type Orders =
  | { readonly deed: Deed; readonly at: number }
  | {
    readonly args: readonly string[];
    readonly at: number;
    readonly signal: "SIGINT" | "SIGTERM";
  };

/** The status is as a shell has it: when a signal ended the process, 128 and the signal's number. */
async function obey(orders: Orders): Promise<CliResult> {
  const root = new URL("../", import.meta.url).pathname;
  const flags = ["-A", "--quiet", "--no-check", "--no-prompt", `--config=${root}deno.json`];
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, import.meta.filename ?? "", JSON.stringify(orders)],
    env: { NO_COLOR: "1", RUST_BACKTRACE: "0" },
    stdin: "null",
  }).output();
  return {
    status: output.code,
    stdout: new TextDecoder().decode(output.stdout),
    stderr: new TextDecoder().decode(output.stderr),
  };
}

const KILLED = 128 + 9;

/** What a process did before it was killed. */
export interface Crash {
  /** Its steps. */
  readonly steps: readonly string[];
  /** Set if it was killed, and did not end by itself before. */
  readonly killed: boolean;
}

/** One kill in so many is SIGKILL to a process of its own; the others stop all that this one does. */
const REAL_EVERY = 8;

/** Does something that is killed as soon as it has done so many steps. */
export async function crash(deed: Deed, at: number): Promise<Crash> {
  return await (at % REAL_EVERY === 0 ? crashProcess : crashHere)(deed, at);
}

/** The same in a process of its own. */
async function crashProcess(deed: Deed, at: number): Promise<Crash> {
  const { status, stdout, stderr } = await obey({ deed, at });
  if (stderr !== "" || (status !== 0 && status !== KILLED)) {
    throw new Error(`exit status ${status}: ${stderr}`);
  }
  return { steps: stdout.split("\n").slice(0, -1), killed: status === KILLED };
}

/** The error that every call of Deno throws after a kill. */
class Killed extends Error {}

/** The same in this process. Nothing else may go on in it meanwhile. */
async function crashHere(deed: Deed, at: number): Promise<Crash> {
  const steps: string[] = [];
  using deno = new MortalDeno();
  const done = perform(deed, (step) => {
    if (deno.isDead) throw new Killed();
    steps.push(step);
    if (steps.length === at) throw deno.kill();
  });
  const [result] = await Promise.allSettled([done]);
  if (result.status === "rejected" && !deno.isDead) throw result.reason;
  await deno.settle();
  return { steps, killed: deno.isDead };
}

/**
 * The functions of `Deno` in a state as after SIGKILL, once it is asked for: all files that were opened are
 * closed, and with them their locks are gone; nothing that is called has an effect; a program that runs goes
 * on. What undoes or ends a deed is called, and can do nothing.
 */
class MortalDeno implements Disposable {
  readonly #real = {
    ...Object.fromEntries(Object.entries(Deno).filter(([, value]) => typeof value === "function")),
    open: Deno.open,
    openSync: Deno.openSync,
    Command: Deno.Command,
  };
  readonly #files: Deno.FsFile[] = [];
  readonly #programs: Promise<unknown>[] = [];
  #isDead = false;

  constructor() {
    const [files, programs, real] = [this.#files, this.#programs, this.#real];
    const keep = (file: Deno.FsFile) => (files.push(file), file);
    Object.assign(Deno, {
      open: async (...args: Parameters<typeof Deno.open>) => keep(await real.open(...args)),
      openSync: (...args: Parameters<typeof Deno.openSync>) => keep(real.openSync(...args)),
      Command: class extends real.Command {
        override output(): Promise<Deno.CommandOutput> {
          const output = super.output();
          programs.push(output);
          return output;
        }
        override spawn(): Deno.ChildProcess {
          const child = super.spawn();
          programs.push(child.status);
          return child;
        }
      },
    });
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  kill(): Killed {
    this.#isDead = true;
    for (const file of this.#files) file[Symbol.dispose]();
    const refuse = () => {
      throw new Killed();
    };
    for (const name of Object.keys(this.#real)) Object.assign(Deno, { [name]: refuse });
    return new Killed();
  }

  /** Waits until nothing can go on any more, as with a program that has ended. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#programs);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }

  [Symbol.dispose](): void {
    Object.assign(Deno, this.#real);
  }
}

/** Runs the command in a process that gets a signal when it has written so many times. */
export async function interrupt(
  args: readonly string[],
  at: number,
  signal: "SIGINT" | "SIGTERM",
): Promise<CliResult> {
  return await obey({ args, at, signal });
}

async function end({ deed, at }: Extract<Orders, { readonly deed: Deed }>): Promise<void> {
  let steps = 0;
  await perform(deed, (step) => {
    Deno.stdout.writeSync(new TextEncoder().encode(`${step}\n`));
    if (++steps === at) Deno.kill(Deno.pid, "SIGKILL");
  });
}

/** How long a signal may take until the thread of Deno that waits for signals has it. */
const DELIVERY_MS = 250;

/** A line is written by one call, so the signal comes exactly there; `main()` does all the rest. */
async function command(orders: Exclude<Orders, { readonly deed: Deed }>): Promise<void> {
  const { main } = await import("../cli.ts");
  let lines = 0;
  for (const stream of [Deno.stderr, Deno.stdout]) {
    const write = stream.writeSync.bind(stream);
    stream.writeSync = (data) => {
      const written = write(data);
      if (++lines === orders.at) {
        Deno.kill(Deno.pid, orders.signal);
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, DELIVERY_MS);
      }
      return written;
    };
  }
  Deno.exitCode = await main(orders.args);
}

if (import.meta.main) {
  const orders = JSON.parse(Deno.args[0] ?? "") as Orders;
  await ("deed" in orders ? end(orders) : command(orders));
}
