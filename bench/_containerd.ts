/**
 * A containerd with its store where it is told, and its state and socket in /run as by default,
 * which is a memory file system of this namespace.
 *
 * @module
 */
import { run } from "../tools/run.ts";
import { must } from "./_measure.ts";
import type { Place } from "./_measure.ts";
import { IMAGE } from "./_tree.ts";

const SOCKET = "/run/containerd/containerd.sock";
const PATIENCE = 10_000;

/** Without the part for Kubernetes, and the one that makes a directory in /opt. */
const config = (root: string): string =>
  `version = 2
root = "${root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "${SOCKET}"
[ttrpc]
address = "${SOCKET}.ttrpc"
`;

/** A command line of ctr. */
export function ctr(...args: string[]): string[] {
  return ["ctr", `--address=${SOCKET}`, ...args];
}

async function untilServing(place: Place): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  for (;;) {
    const { status, stderr } = await run(ctr("version"), { env: place.env });
    if (status === 0) return;
    if (performance.now() > deadline) throw new Error(`containerd does not answer: ${stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Starts containerd and imports an image. It ends with its scope. */
export async function startContainerd(place: Place, archive: string): Promise<AsyncDisposable> {
  const server = await serveContainerd(place, `${place.scratch}/containerd`);
  try {
    await must(ctr("images", "import", archive), place.env);
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

/** Starts containerd with its store in a directory. It ends with its scope. */
export async function serveContainerd(place: Place, root: string): Promise<AsyncDisposable> {
  const file = `${place.scratch}/containerd.toml`;
  await Deno.writeTextFile(file, config(root));
  const options = { clearEnv: true, env: place.env, stdin: "null", stdout: "null", stderr: "null" };
  const command = new Deno.Command("containerd", {
    ...options as object,
    args: ["--config", file],
  });
  const server = command.spawn();
  const end = async () => {
    server.kill("SIGTERM");
    await server.status;
  };
  try {
    await untilServing(place);
  } catch (error) {
    await end();
    throw error;
  }
  return { [Symbol.asyncDispose]: end };
}

/** A command line that mounts a writable view of the image. */
export function ctrMount(target: string): string[] {
  return ctr("images", "mount", "--rw", IMAGE, target);
}
