/**
 * `deno task bench:run`: what it costs to start a command in a root file system, against the runtime alone and
 * podman. The command is `/bin/true` of busybox.
 *
 * @module
 */
import { bundle } from "../tools/bundle.ts";
import { say } from "../tools/run.ts";
import { makeRootfs } from "../tests/_rootfs.ts";
import { freshGround } from "./_ground.ts";
import { benchInside } from "./_inside.ts";
import { measure, medianOf, must, ROUNDS } from "./_measure.ts";
import type { Place, Row } from "./_measure.ts";
import { placeIn } from "./_place.ts";
import { overlayRender } from "./_pod.ts";
import { OURS, sayTable } from "./_table.ts";
import { BAKED } from "../tools/flags.ts";

const SECONDS = 180;

/** The flags of bubblewrap alone for what a container sees. */
const SEEN = ["--proc", "/proc", "--dev", "/dev", "--die-with-parent"];
const NAMESPACES = ["--unshare-pid", "--unshare-ipc", "--unshare-uts"];

function rowsOf(place: Place): Row[] {
  const { cell, tree } = place;
  const [pod, pods] = [`${cell}/pod`, `${cell}/pods`];
  const command = (...args: string[]) => overlayRender(place, BAKED, ...args);
  const render = command("render", "--lower", tree, "--pod", pod);
  const run = (...flags: string[]) => command("run", ...flags, "--", "/bin/true");
  const prepare = async () => void await must(render, place.env);
  const base = { apps: 1, mounts: 0, rounds: ROUNDS };
  const root = `${pod}/rootfs`;
  const podman = `podman run --rm --network host --rootfs "$0" /bin/true >/dev/null 2>&1; true`;
  return [
    {
      ...base,
      by: "bwrap",
      what: "bwrap alone, in a root that is mounted",
      prepare,
      command: ["bwrap", "--bind", root, "/", ...SEEN, ...NAMESPACES, "--", "/bin/true"],
    },
    { ...base, by: "start", what: "deno, bare start", command: [Deno.execPath(), "eval", "0"] },
    { ...base, by: OURS, what: "run --pod, mounted", prepare, command: run("--pod", pod) },
    {
      ...base,
      by: "render",
      what: "run --lower --pod, a new pod",
      command: run("--lower", tree, "--pod", pod),
    },
    {
      ...base,
      by: "rm",
      what: "run --lower, nothing is left",
      command: run("--lower", tree, "--pods", pods),
    },
    {
      ...base,
      by: "runc",
      what: "run --pod --user 33, by runc",
      prepare,
      command: run("--pod", pod, "--user", "33"),
    },
    {
      ...base,
      by: "podman",
      what: "podman run --rootfs, to its end or its failure",
      rounds: ROUNDS / 3,
      command: ["sh", "-c", podman, tree],
    },
  ];
}

async function measureAll(scratch: string): Promise<void> {
  const place = placeIn(await freshGround(scratch));
  const { HOME = "", TMPDIR = "" } = place.env;
  for (const directory of [place.cell, HOME, TMPDIR]) await Deno.mkdir(directory);
  await makeRootfs((name) => `${place.tree}/${name}`);
  await bundle(`${place.scratch}/overlay-render.js`);
  const all = await measure(rowsOf(place), place, SECONDS);
  sayTable("A command in a root file system", all, "commands");
  const over = medianOf(all, OURS, 1) - medianOf(all, "bwrap", 1);
  say(
    `\nratio: to run in a root that is mounted, which takes ${
      over.toFixed(1)
    } ms more than bwrap\n`,
  );
}

if (import.meta.main) Deno.exitCode = await benchInside(import.meta.filename ?? "", measureAll);
