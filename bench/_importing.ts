/**
 * The rows of importing: from an image to a tree that can be mounted, by overlay-render and by what
 * people use instead.
 *
 * @module
 */
import { importPermissions } from "../lib/store/import_tree.ts";
import { permissionFlags } from "../lib/system/permissions.ts";
import { run } from "../tools/run.ts";
import { ctr, serveContainerd } from "./_containerd.ts";
import type { Layout } from "./_layout.ts";
import { REF } from "./_layout.ts";
import { must } from "./_measure.ts";
import type { Place, Row } from "./_measure.ts";
import { IMAGE } from "./_tree.ts";

/** How often each of them is run: enough for a median, and the disk is not full of trees. */
const ROUNDS_OF_IMPORT = 9;

/** What is imported, in all the forms that are needed. */
export interface Images {
  /** One layer. */
  readonly layout: Layout;
  /** The same layout as an archive. */
  readonly archive: string;
  /** Images of other shapes, by their names. */
  readonly shapes: Readonly<Record<string, Layout>>;
}

/** Whose row is the measure of the others: what it costs to unpack the layer and no more. */
export const BARE = "tar";

/** The one script. */
export function scriptOf({ scratch }: Place): string {
  return `${scratch}/overlay-render.js`;
}

/** A command line of the script, with the permissions that an import asks for and a cache that is warm. */
export function importOf(place: Place, source: string, ...args: string[]): string[] {
  const store = storeOf(place);
  const flags = permissionFlags(importPermissions({ source, store }));
  const deno = [Deno.execPath(), "run", "--no-prompt", ...flags, scriptOf(place)];
  return [...deno, "tree", "import", source, "--store", store, "--quiet", ...args];
}

/** The tree store in the cell. */
export function storeOf({ cell }: Place): string {
  return `${cell}/store`;
}

/** The tree in memory, and what unpacks it. */
const MEMORY = 6e8;

const ONE = { apps: 1, mounts: 0, rounds: ROUNDS_OF_IMPORT, memory: MEMORY };

function own(place: Place, { layout }: Images): Row[] {
  const ofLayout = importOf(place, layout.path, "--ref", REF);
  const [blob = ""] = layout.layers;
  return [
    { ...ONE, by: "overlay-render", what: "tree import of the OCI layout", command: ofLayout },
    {
      ...ONE,
      by: "overlay-render, archive",
      what: "tree import of the layer as a mere .tar.gz",
      command: importOf(place, blob),
    },
    {
      ...ONE,
      by: "overlay-render, again",
      what: "tree import of the OCI layout, once more",
      prepare: async () => void await must(ofLayout, place.env),
      command: ofLayout,
    },
  ];
}

function bare({ cell }: Place, { layout }: Images): Row[] {
  const [blob = ""] = layout.layers;
  const unpack = ["tar", "--extract", "--gzip", `--file=${blob}`, `--directory=${cell}`];
  const durable = ["sh", "-c", '"$@" && exec sync --file-system "$0"', cell, ...unpack];
  return [
    { ...ONE, by: BARE, what: "tar -xzf of the layer", command: unpack },
    {
      ...ONE,
      by: "tar, sync",
      what: "tar -xzf of the layer, sync --file-system",
      command: durable,
    },
  ];
}

/** Unpacks layers one on the other. */
const UNPACK = 'for layer; do tar --extract --gzip --file="$layer" --directory="$0" || exit; done';

/** Images of other shapes, against tar alone. */
function shaped(place: Place, { shapes }: Images): Row[] {
  return Object.entries(shapes).flatMap(([name, { path, layers }]) => [
    {
      ...ONE,
      by: `overlay-render, ${name}`,
      what: `tree import of ${name}`,
      command: importOf(place, path, "--ref", REF),
    },
    {
      ...ONE,
      by: `${BARE}, ${name}`,
      what: `tar -xzf of ${name}`,
      command: ["sh", "-c", UNPACK, place.cell, ...layers],
    },
  ]);
}

function skopeo({ cell }: Place, { layout }: Images): Row {
  const target = `containers-storage:[overlay@${cell}/root+/run/containers-import]${IMAGE}`;
  const copy = ["skopeo", "--insecure-policy", "copy", "--quiet", `oci:${layout.path}:${REF}`];
  return {
    ...ONE,
    by: "skopeo",
    what: "skopeo copy into containers-storage, driver overlay",
    command: [...copy, target],
  };
}

function umoci({ cell }: Place, { layout }: Images): Row {
  const command = ["umoci", "unpack", "--image", `${layout.path}:${REF}`, `${cell}/bundle`];
  return { ...ONE, by: "umoci", what: "umoci unpack", command };
}

function containerd(place: Place, { archive }: Images): Row {
  let server: AsyncDisposable | null = null;
  return {
    ...ONE,
    by: "ctr",
    what: "ctr images import, of a containerd that is running",
    prepare: async () => {
      server = await serveContainerd(place, `${place.cell}/containerd`);
    },
    command: ctr("images", "import", "--base-name", IMAGE.replace(/:.*/, ""), archive),
    cleanUp: async () => await server?.[Symbol.asyncDispose](),
  };
}

/** Importing one image into a store that is new. */
export function importing(place: Place, images: Images): Row[] {
  return [
    ...own(place, images),
    ...bare(place, images),
    ...shaped(place, images),
    skopeo(place, images),
    containerd(place, images),
    umoci(place, images),
  ];
}

/** The same rows in a memory file system, which goes with all that was made there. */
export function inMemory({ cell }: Place, rows: readonly Row[]): Row[] {
  return rows.map((row) => ({
    ...row,
    prepare: async () => {
      await must(["mount", "-t", "tmpfs", "tmpfs", cell]);
      await row.prepare?.();
    },
    cleanUp: async () => {
      await row.cleanUp?.();
      await run(["umount", "--lazy", cell]);
    },
  }));
}
