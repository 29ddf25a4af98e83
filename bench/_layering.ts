/**
 * The rows of an image of many layers: imported, rendered, and mounted.
 *
 * @module
 */
import { importOf, scriptOf, storeOf } from "./_importing.ts";
import type { Layout } from "./_layout.ts";
import { REF } from "./_layout.ts";
import { must } from "./_measure.ts";
import type { Place, Row } from "./_measure.ts";
import { podFlags, podOf, rootfsesOf } from "./_pod.ts";

const ROUNDS_OF_LAYERS = 15;

/** An image of so many layers. */
export interface Layered {
  readonly count: number;
  readonly layout: Layout;
}

function cli(place: Place, ...args: string[]): string[] {
  return [Deno.execPath(), "run", "--no-prompt", ...podFlags(place), scriptOf(place), ...args];
}

function layersOf(place: Place, { count, layout }: Layered): Row[] {
  const base = { apps: 1, rounds: ROUNDS_OF_LAYERS };
  const imported = importOf(place, layout.path, "--ref", REF);
  const pod = podOf(place);
  const [rootfs = ""] = rootfsesOf(place, 1);
  const which = ["--image", REF, "--store", storeOf(place), "--pod", pod, "--app", "app-0"];
  const render = cli(place, "render", ...which);
  const cleanUp = async () => void await must(cli(place, "gc", "--pod", pod), place.env);
  return [
    {
      ...base,
      ...{ by: `import ${count}`, what: `tree import, ${count} layers`, mounts: 0 },
      command: imported,
    },
    {
      ...base,
      ...{ by: `render ${count}`, what: `render --image, ${count} layers`, mounts: 1 },
      cell: `render-${count}`,
      prepare: async () => void await must(imported, place.env),
      command: render,
      cleanUp,
    },
    {
      ...base,
      ...{ by: `mount ${count}`, what: `the mount of it, ${count} layers`, mounts: 1 },
      cell: `render-${count}`,
      prepare: async () => {
        await must(imported, place.env);
        await must(render, place.env);
        await must(["umount", rootfs]);
      },
      // As the render does it.
      command: ["/bin/mount", "--fstab", "overlay.fstab", "--", rootfs],
      cwd: pod,
      cleanUp,
    },
  ];
}

/** Images of few and of many layers. */
export function layering(place: Place, images: readonly Layered[]): Row[] {
  return images.flatMap((image) => layersOf(place, image));
}
