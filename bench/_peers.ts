/**
 * Making the peers ready.
 *
 * @module
 */
import { say } from "../tools/run.ts";
import { startContainerd } from "./_containerd.ts";
import { reasonOf } from "./_measure.ts";
import type { Place } from "./_measure.ts";
import { fillStore } from "./_store.ts";
import { makeArchive } from "./_tree.ts";

/** Does something for a peer. If that fails, its rows are left out and the others are not. */
async function tryPeer(name: string, act: () => Promise<void>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    say(`${name} cannot import the tree, its rows are left out: ${reasonOf(error)}\n`);
    return false;
  }
}

/** What can be measured: the programs that are there, and that have the tree as an image. */
export interface Peers extends AsyncDisposable {
  readonly ready: ReadonlySet<string>;
}

/** Imports the tree into the stores of the peers that are there. */
export async function startPeers(place: Place, programs: ReadonlySet<string>): Promise<Peers> {
  const archive = `${place.scratch}/tree.tar`;
  await makeArchive(place.tree, archive);
  const ready = new Set(programs);
  const importer = ["buildah", "podman"].find((program) => programs.has(program));
  if (
    importer !== undefined && !await tryPeer(importer, () => fillStore(place, archive, importer))
  ) {
    ready.delete("buildah");
    ready.delete("podman");
  }
  const stack = new AsyncDisposableStack();
  const start = async () => void stack.use(await startContainerd(place, archive));
  if (programs.has("ctr") && !await tryPeer("containerd", start)) ready.delete("ctr");
  await Deno.remove(archive);
  return { ready, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
