/**
 * The Debian packages that the peers are in, and which of them are missing here.
 *
 * @module
 */
import { say } from "../tools/run.ts";

/** Where programs are looked for, here and by what is measured. */
export const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Each package, the programs of it that are run, and what is left out without it. */
const PACKAGES = [
  { name: "buildah", programs: ["buildah"], without: "the rows of buildah are left out" },
  { name: "podman", programs: ["podman"], without: "the row of podman is left out" },
  { name: "containerd", programs: ["containerd", "ctr"], without: "the rows of ctr are left out" },
  { name: "skopeo", programs: ["skopeo"], without: "the row of skopeo is left out" },
  { name: "umoci", programs: ["umoci"], without: "the row of umoci is left out" },
  {
    name: "busybox-static or busybox",
    programs: ["busybox"],
    without: "the rows of busybox are left out",
  },
  {
    name: "mmdebstrap",
    programs: ["mmdebstrap"],
    without: "the tree is copied from this machine",
  },
] as const;

type Program = (typeof PACKAGES)[number]["programs"][number];

async function isThere(program: string): Promise<boolean> {
  const paths = PATH.split(":").map((directory) => Deno.stat(`${directory}/${program}`));
  const found = await Promise.allSettled(paths);
  return found.some((result) => result.status === "fulfilled" && result.value.isFile);
}

/** Finds the programs that are there, and says which packages are needed and which are missing. */
export async function findPrograms(): Promise<ReadonlySet<Program>> {
  say(`Debian packages: ${PACKAGES.map(({ name }) => name).join(", ")}\n`);
  const found = new Set<Program>();
  for (const { name, programs, without } of PACKAGES) {
    const there = await Promise.all(programs.map(isThere));
    if (there.every(Boolean)) programs.forEach((program) => found.add(program));
    else say(`missing: ${name}; ${without}\n`);
  }
  return found;
}
