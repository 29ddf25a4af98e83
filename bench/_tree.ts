/**
 * The tree that is rendered, and the same tree as an image that can be imported.
 *
 * @module
 */
import { run } from "../tools/run.ts";
import { must } from "./_measure.ts";

const MEGABYTES = 170;
/** Longer than it takes where Debian's packages can be fetched, and no longer. */
const SECONDS = 90;

/** The name of the image. */
export const IMAGE = "localhost/overlay-render-peers:latest";

/** In memory, since much is deleted while packages are installed, and ext4 is slower after that. */
async function debianTree(tree: string): Promise<boolean> {
  const memory = `${tree}.memory`;
  await Deno.mkdir(memory);
  await must(["mount", "-t", "tmpfs", "tmpfs", memory]);
  const release = await Deno.readTextFile("/etc/os-release").catch(() => "");
  const suite = /^VERSION_CODENAME="?(\w+)/m.exec(release)?.[1] ?? "stable";
  const argv = ["mmdebstrap", "--quiet", "--variant=apt", suite, `${memory}/tree`];
  const { status } = await run(["timeout", `${SECONDS}`, ...argv], { env: { TMPDIR: memory } });
  if (status === 0) await must(["cp", "--archive", `${memory}/tree`, tree]);
  await must(["umount", "--lazy", memory]);
  return status === 0;
}

/** Directories of this machine, in the order of their names, as many as make the size. */
async function copiedTree(tree: string): Promise<void> {
  const entries = await Array.fromAsync(Deno.readDir("/usr/share"));
  const paths = entries.map(({ name }) => `/usr/share/${name}`).sort();
  const sizes = await must(["du", "--summarize", "--block-size=1K", "--", ...paths]);
  let left = MEGABYTES * 1024;
  const chosen: string[] = [];
  for (const line of sizes.trimEnd().split("\n")) {
    const [size = "", path = ""] = line.split("\t");
    if (Number(size) > left) continue;
    left -= Number(size);
    chosen.push(path);
  }
  await Deno.mkdir(tree);
  await must(["cp", "--archive", `--target-directory=${tree}`, "--", ...chosen]);
}

/** Makes the tree, and says what it is. */
export async function makeTree(tree: string): Promise<string> {
  const isDebian = await debianTree(tree);
  if (!isDebian) await copiedTree(tree);
  const size = await must(["du", "--summarize", "--block-size=1M", tree]);
  const files = await must(["find", tree, "-printf", "x"]);
  const origin = isDebian ? "made by mmdebstrap" : "copied from /usr/share";
  return `${size.split("\t")[0]} MB in ${files.length} files, ${origin}`;
}

/** The names of the field for processors. */
export const ARCHITECTURES: Readonly<Record<string, string>> = {
  x86_64: "amd64",
  aarch64: "arm64",
};

/** Makes an archive of the tree that `buildah pull`, `podman load` and `ctr images import` read. */
export async function makeArchive(tree: string, archive: string): Promise<void> {
  const parts = `${archive}.parts`;
  await Deno.mkdir(parts);
  await must(["tar", `--directory=${tree}`, "--create", `--file=${parts}/layer.tar`, "."]);
  const [digest] = (await must(["sha256sum", `${parts}/layer.tar`])).split(" ");
  const config = {
    architecture: ARCHITECTURES[Deno.build.arch],
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
  };
  const manifest = [{ Config: "config.json", RepoTags: [IMAGE], Layers: ["layer.tar"] }];
  await Deno.writeTextFile(`${parts}/config.json`, JSON.stringify(config));
  await Deno.writeTextFile(`${parts}/manifest.json`, JSON.stringify(manifest));
  const names = ["manifest.json", "config.json", "layer.tar"];
  await must(["tar", `--directory=${parts}`, "--create", `--file=${archive}`, ...names]);
  await Deno.remove(parts, { recursive: true });
}
