/**
 * The rows of exporting: what an app changed in a tree as a layer, by overlay-render, umoci and buildah.
 *
 * @module
 */
import { PROGRAMS } from "../lib/system/programs.ts";
import { scriptOf } from "./_importing.ts";
import { REF } from "./_layout.ts";
import type { Layout } from "./_layout.ts";
import { must } from "./_measure.ts";
import type { Place, Row } from "./_measure.ts";
import { buildah } from "./_store.ts";

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

/** The command line of the script, with all permissions that an export can need. */
export function ourExport(place: Place, name: string): string[] {
  const run = [PROGRAMS.tar, PROGRAMS.find].join();
  const flags = ["-R", "-W", `--allow-run=${run}`, "-S=uid"];
  const layer = [`--pod=${place.scratch}/${name}.pod`, `--layer=${place.cell}/layer.tar.gz`];
  return [Deno.execPath(), "run", "--no-prompt", ...flags, scriptOf(place), "export", ...layer];
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
