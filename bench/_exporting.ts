/**
 * The rows of exporting, by overlay-render, umoci and buildah: the changes of an app in a tree as a layer; and those
 * of listing these changes, by overlay-render and podman.
 *
 * @module
 */
import { PROGRAMS } from "../lib/system/programs.ts";
import { scriptOf } from "./_importing.ts";
import { REF } from "./_layout.ts";
import type { Layout } from "./_layout.ts";
import { must } from "./_measure.ts";
import type { Place, Row } from "./_measure.ts";
import { buildah, podman } from "./_store.ts";

/** A tree as an image, and the changes that are made in it. */
export interface Changed {
  /** Its name in titles and targets. */
  readonly name: string;
  readonly layout: Layout;
  /** A script that makes the changes in its working directory. */
  readonly script: string;
}

/** Appends to files, removes some and makes new ones: two thousand changes of a tree of Debian. */
export const MANY = `find . -xdev -type f -size -64k | sort | head -1700 >/tmp/list
  head -1200 /tmp/list | while read -r file; do echo more >>"$file"; done
  tail -500 /tmp/list | while read -r file; do rm -- "$file"; done
  mkdir new; for i in $(seq 300); do echo "$i" >"new/$i"; done`;

/** Ten changes. */
export const FEW = `for i in 1 2 3 4; do echo more >>"d$i/f1"; rm "d$i/f2"; done
  echo one >new; echo two >d1/new`;

/** Makes a tree of a hundred thousand files. */
export async function makeWideTree(path: string): Promise<void> {
  const make =
    `for d in $(seq 200); do mkdir d$d; for f in $(seq 500); do echo $d.$f >d$d/f$f; done; done`;
  await Deno.mkdir(path);
  await must(["sh", "-ec", `cd "$0" && ${make}`, path]);
}

const ONE = { apps: 1, mounts: 0, rounds: 7, memory: 4e8 };

/** A command line of the script for a pod, with all permissions that it can need. */
function ours(place: Place, name: string, ...args: string[]): string[] {
  const run = [PROGRAMS.tar, PROGRAMS.find].join();
  const flags = ["-R", "-W", `--allow-run=${run}`, "-S=uid"];
  const pod = `--pod=${place.scratch}/${name}.pod`;
  return [Deno.execPath(), "run", "--no-prompt", ...flags, scriptOf(place), ...args, pod];
}

/** The command line of an export. */
export function ourExport(place: Place, name: string): string[] {
  return ours(place, name, "export", `--layer=${place.cell}/layer.tar.gz`);
}

async function changeOurs(place: Place, { layout, script }: Changed, name: string): Promise<void> {
  const store = `--store=${place.scratch}/${name}.store`;
  const deno = [Deno.execPath(), "run", "-A", scriptOf(place)];
  await must([...deno, "tree", "import", layout.path, "--ref", REF, store, "--quiet"], place.env);
  const render = ["render", "--image", REF, `--pod=${place.scratch}/${name}.pod`, store];
  const rootfs = (await must([...deno, ...render], place.env)).trim();
  await must(["sh", "-ec", `cd "$0"; ${script}`, rootfs]);
}

/** Makes the changes for each of the tools; then only the export is measured. */
export async function exporting(place: Place, changed: Changed, name: string): Promise<Row[]> {
  const { layout, script } = changed;
  await changeOurs(place, changed, name);
  const bundle = `${place.scratch}/${name}.bundle`;
  const image = `--image=${layout.path}:${REF}`;
  await must(["umoci", "unpack", image, bundle], place.env);
  await must(["sh", "-ec", `cd "$0"; ${script}`, `${bundle}/rootfs`]);
  const container = async () => {
    const from = buildah(place, "from", "--quiet", `oci:${layout.path}:${REF}`);
    const id = (await must(from, place.env)).trim();
    const root = (await must(buildah(place, "mount", id), place.env)).trim();
    await must(["sh", "-ec", `cd "$0"; ${script}`, root]);
    return id;
  };
  const id = await container();
  return [
    {
      ...ONE,
      by: "overlay-render",
      what: "export --layer, gzip",
      command: ourExport(place, name),
    },
    {
      ...ONE,
      by: "umoci",
      what: "umoci repack, gzip",
      command: ["umoci", "repack", `--image=${layout.path}:new`, bundle],
    },
    {
      ...ONE,
      by: "buildah",
      what: "first buildah commit to an oci: directory",
      command: buildah(place, "commit", "--quiet", id, `oci:${place.cell}/buildah:new`),
    },
  ];
}

/** Makes the changes in a container of podman; those of overlay-render are there. */
export async function listing(place: Place, changed: Changed, name: string): Promise<Row[]> {
  const { layout, script } = changed;
  const ask = async (...args: string[]) => (await must(podman(place, ...args), place.env)).trim();
  const image = await ask("pull", "--quiet", `oci:${layout.path}:${REF}`);
  const id = await ask("create", image, "/bin/true");
  await must(["sh", "-ec", `cd "$0"; ${script}`, await ask("mount", id)]);
  return [
    { ...ONE, by: "overlay-render", what: "changes", command: ours(place, name, "changes") },
    { ...ONE, by: "podman", what: "podman diff", command: podman(place, "diff", id) },
  ];
}
