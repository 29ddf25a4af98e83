/**
 * The package for Debian: the command as a script, manual pages, completion, and units.
 *
 * @module
 */
import { dirname } from "@std/path/posix/dirname";
import { gzipSync } from "node:zlib";
import { createHash } from "node:crypto";
import config from "../deno.json" with { type: "json" };
import { run } from "./run.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** A file of the package, by its path in the root, without a slash in front. */
interface Packed {
  readonly path: string;
  readonly data: Uint8Array;
  readonly mode: number;
}

/** Where the files of the distribution go; a name that ends in a slash is that of a directory. */
const PLACES: readonly (readonly [from: string, to: string, options?: { gzip?: true }])[] = [
  ["man/", "usr/share/man/man1/", { gzip: true }],
  ["completions/overlay-render", "usr/share/bash-completion/completions/overlay-render"],
  ["completions/_overlay-render", "usr/share/zsh/vendor-completions/_overlay-render"],
  ["completions/overlay-render.fish", "usr/share/fish/vendor_completions.d/overlay-render.fish"],
  ["units/", "usr/lib/systemd/system/"],
];

/** The fields of the package that neither its version nor its size changes. */
const CONTROL = `Package: overlay-render
Architecture: all
Section: admin
Priority: optional
Maintainer: overlay-render <overlay-render@example.invalid>
Depends: mount (>= 2.38), util-linux (>= 2.38), coreutils, findutils, tar
Recommends: bubblewrap, xz-utils, zstd, uidmap, psmisc
Description: turn a read-only image into a writable root filesystem
 overlay-render mounts the layers of an image with overlayfs, without a
 daemon: it plans, checks, mounts, restores after a reboot, and removes.
 .
 The command is a script for Deno 2.4 or newer, which Debian does not
 package: put the program deno into the PATH, as from https://deno.com
 or from npm (@deno/linux-x64-glibc).
`;

async function readPlaced(dist: string): Promise<Packed[]> {
  const found: Packed[] = [];
  const put = async (from: string, path: string, gzip: boolean) => {
    const data = await Deno.readFile(from);
    found.push(
      gzip
        ? { path: `${path}.gz`, data: gzipSync(data, { level: 9 }), mode: 0o644 }
        : { path, data, mode: 0o644 },
    );
  };
  for (const [from, to, { gzip = false } = {}] of PLACES) {
    if (!from.endsWith("/")) await put(`${dist}/${from}`, to, gzip);
    else if (await Deno.stat(dist + "/" + from).catch(() => null)) {
      for await (const { name } of Deno.readDir(`${dist}/${from}`)) {
        await put(`${dist}/${from}${name}`, to + name, gzip);
      }
    }
  }
  return found;
}

/** Lists all files of the package, sorted. */
async function packedFiles(dist: string): Promise<Packed[]> {
  const doc = "usr/share/doc/overlay-render";
  const changelog = gzipSync(await Deno.readFile(`${ROOT}CHANGELOG.md`), { level: 9 });
  const script = await Deno.readFile(`${dist}/overlay-render.js`);
  const all: Packed[] = [
    ...await readPlaced(dist),
    { path: "usr/bin/overlay-render", data: script, mode: 0o755 },
    { path: `${doc}/changelog.gz`, data: changelog, mode: 0o644 },
    { path: `${doc}/copyright`, data: await Deno.readFile(`${ROOT}LICENSE`), mode: 0o644 },
  ];
  return all.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Makes a directory with mode 0755, whatever the umask, and what is missing above it. */
async function makeDirectory(root: string, path: string): Promise<void> {
  if (path === ".") return;
  await makeDirectory(root, dirname(path));
  await Deno.mkdir(`${root}/${path}`, { recursive: true });
  await Deno.chmod(`${root}/${path}`, 0o755);
}

async function write(root: string, { path, data, mode }: Packed): Promise<void> {
  await makeDirectory(root, dirname(path));
  await Deno.writeFile(`${root}/${path}`, data);
  await Deno.chmod(`${root}/${path}`, mode);
}

function controlFiles(files: readonly Packed[]): Packed[] {
  const bytes = files.reduce((sum, { data }) => sum + data.length, 0);
  const sums = files.map(({ path, data }) => {
    return `${createHash("md5").update(data).digest("hex")}  ${path}\n`;
  });
  const control = `${CONTROL}Version: ${config.version}\nInstalled-Size: ${
    Math.ceil(bytes / 1024)
  }\n`;
  return [["control", control], ["md5sums", sums.join("")]].map(([name = "", text]) => {
    return { path: `DEBIAN/${name}`, data: new TextEncoder().encode(text), mode: 0o644 };
  });
}

/**
 * Makes the package from a distribution. The same files and the same time give the same bytes.
 *
 * @param dist The directory with the script, `man/`, `completions/` and `units/`; the package goes there.
 * @param epoch The time of all files, in seconds since 1970.
 * @returns The name of the package.
 */
export async function makeDeb(dist: string, epoch: number): Promise<string> {
  const name = `overlay-render_${config.version}_all.deb`;
  const root = await Deno.makeTempDir({ prefix: "overlay-render-deb-" });
  try {
    await Deno.chmod(root, 0o755);
    const files = await packedFiles(dist);
    for (const file of [...files, ...controlFiles(files)]) await write(root, file);
    const argv = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, `${dist}/${name}`];
    const { status, stderr } = await run(argv, { env: { SOURCE_DATE_EPOCH: String(epoch) } });
    if (status !== 0) throw new Error(`Cannot make ${name}: ${stderr.trim()}`);
    return name;
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}
