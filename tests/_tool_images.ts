/**
 * Images made by the tools of others, what those tools show of them, and the same imported and rendered.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { importTree } from "../lib/store/import_tree.ts";
import type { ImportedTree } from "../lib/store/import_options.ts";
import type { ImportRequest } from "../lib/store/import_request.ts";
import { checkTrees } from "../lib/store/tree_check.ts";
import { BLOCK, formatEntry } from "../lib/tar/tar_entry.ts";
import type { TarEntry } from "../lib/tar/tar_entry.ts";
import { Tar } from "../lib/layer/gnu_tar.ts";
import { renderOverlay } from "../mod.ts";
import { entriesOf, entryDifferences } from "./_entries.ts";
import { isRealRoot } from "./_privilege.ts";
import type { TempDir } from "./_temp.ts";

/** A tool that a test cannot do without. */
export type Tool = "umoci" | "skopeo" | "buildah" | "mmdebstrap" | "dpkg-deb";

function answers(tool: Tool): boolean {
  try {
    return new Deno.Command(tool, { args: ["--version"], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}

/** Tells whether a test is left out, and why, at the end of its name. */
export interface Needs {
  readonly ignore: boolean;
  readonly suffix: string;
}

/** What a test needs: to be root, for the owners and devices of images, and tools. */
export function needs(...tools: readonly Tool[]): Needs {
  const missing = isRealRoot ? tools.filter((tool) => !answers(tool)) : ["root"];
  const suffix = missing.length === 0 ? "" : ` [skipped: needs ${missing.join(", ")}]`;
  return { ignore: missing.length > 0, suffix };
}

/** Runs a tool that keeps all it has in the temporary directory, and returns what it answered. */
export async function tool(dir: TempDir, program: string, ...args: string[]): Promise<string> {
  const home = dir.join("tools");
  await Deno.mkdir(home, { recursive: true });
  const output = await new Deno.Command(program, {
    args,
    cwd: dir.path,
    stdin: "null",
    env: { HOME: home, XDG_RUNTIME_DIR: home, TMPDIR: home, BUILDAH_ISOLATION: "chroot" },
  }).output();
  const text = new TextDecoder().decode(output.stdout);
  if (output.success) return text.trimEnd();
  const said = new TextDecoder().decode(output.stderr);
  throw new Error(`${program} ${args.join(" ")}: exit status ${output.code}: ${said}`);
}

/** Runs a script in a directory. */
export async function script(dir: TempDir, directory: string, text: string): Promise<void> {
  await tool(dir, "sh", "-euc", `cd "$0"\n${text}`, directory);
}

/** An entry as a tar archive has it; what is left out is as plain as it can be. */
export function entry(name: string, more: Partial<TarEntry> = {}): TarEntry {
  return {
    name,
    type: "file",
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: "1000000000",
    link: "",
    device: [0, 0],
    attributes: new Map(),
    ...more,
  };
}

/** A directory as a tar archive has it. */
export function directory(name: string, more: Partial<TarEntry> = {}): TarEntry {
  return entry(name, { type: "directory", mode: 0o755, ...more });
}

/** Puts empty files and other things into a directory, with attributes, which the shell cannot give. */
export async function put(path: string, ...entries: readonly TarEntry[]): Promise<void> {
  const tar = new Tar(path, {});
  await tar.write([...entries.flatMap(formatEntry), new Uint8Array(2 * BLOCK)]);
  await tar.end();
}

/** The archive of entries, with contents by name. */
export function tarOf(
  entries: readonly TarEntry[],
  contents: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const parts = entries.flatMap((one) => {
    const content = new TextEncoder().encode(contents[one.name] ?? "");
    const padded = new Uint8Array(Math.ceil(content.length / BLOCK) * BLOCK);
    padded.set(content);
    return [...formatEntry(one.type === "file" ? { ...one, size: content.length } : one), padded];
  });
  const archive = new Uint8Array(
    parts.reduce((total, part) => total + part.length, 0) + 2 * BLOCK,
  );
  let at = 0;
  for (const part of parts) {
    archive.set(part, at);
    at += part.length;
  }
  return archive;
}

/** `cap_net_raw=ep` (linux/capability.h, `struct vfs_cap_data`). */
const CAPABILITY = "\x01\x00\x00\x02\x00\x20\x00\x00" + "\0".repeat(12);

/** A tree with all that is odd about files, in every way that an image can say it. */
const ODD = String.raw`
umask 022
mkdir -p bin etc tmp empty a/b/c
printf 'hello\n' >etc/hello; chmod 0640 etc/hello
printf 'suid\n' >bin/suid; chmod 04755 bin/suid
printf 'sgid\n' >bin/sgid; chmod 02711 bin/sgid
chmod 1777 tmp; mkdir shared; chown 0:50 shared; chmod 2775 shared
printf linked >a/one; ln a/one a/two; ln a/one bin/three
ln -s /etc/hello absolute; ln -s ../../etc/hello a/b/relative; ln -s nowhere dangling
ln -s "$(printf 'x%.0s' $(seq 180))" longlink
mkfifo -m 0620 fifo; mknod -m 0666 null c 1 3; mknod -m 0660 sda b 8 0; chown 0:6 sda
mknod big c 511 1048575
printf none >none; chmod 0 none; mkdir -m 0 closed; printf in >closed/file
printf big >owner; chown 3000000:4294967294 owner; mkdir bigdir; chown 2097152:2097151 bigdir
printf f >future; touch -d '2100-01-01 UTC' future
n=$(printf 'n%.0s' $(seq 120)); printf long >"$n"; mkdir -p "deep/$n/$n/$n"
printf path >"deep/$n/$n/$n/$n"; ln "deep/$n/$n/$n/$n" "deep/$n/hard"
: >"$(printf 'm%.0s' $(seq 255))"
printf 1 >"$(printf 'b\344d\377')"; mkdir 'größe €'; printf 2 >'größe €/日本'
printf 3 >"$(printf 'new\nline\ttab back\\slash "q"')"
printf 4 >' blank '; printf 5 >'#hash'; printf 6 >'*'; printf 7 >-dash; printf 8 >'a=b,c:d'
head -c 70000 /dev/zero >zeros; : >nothing; truncate -s 1M sparse
touch -h -d '2010-01-01 00:00:00.000000001 UTC' absolute
printf t >ns; touch -d '2001-02-03 04:05:06.789012345 UTC' ns
touch -d '2020-01-01 00:00:00.5 UTC' a/b empty shared tmp
`;

/** Fills a directory with all that is odd, and that every tool keeps. */
export async function makeOdd(dir: TempDir, path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true });
  await script(dir, path, ODD);
  const marked = new Map([["user.note", "plain"], ["user.binary", "\x00\x01\xff\n=\x3d"]]);
  await put(
    path,
    entry("bin/capable", {
      mode: 0o755,
      attributes: new Map([["security.capability", CAPABILITY]]),
    }),
    entry("etc/attr", { attributes: marked }),
    directory("attr", { attributes: new Map([["user.dir", "yes"]]) }),
  );
}

/** What must be in a listing of all that is odd, so that no tool has lost it before it was compared. */
const SIGNS = [
  "/b\\344d\\377 file",
  "security.capability=0x01000002",
  "user.binary=0x0001ff0a3d3d",
  "user.dir=0x796573",
  "mode=4755",
  "mode=2711",
  "mode=1777",
  "directory mode=2775 owner=0:50",
  "directory mode=0000",
  "device=511:1048575",
  "block mode=0660 owner=0:6",
  "fifo mode=0620",
  "owner=3000000:4294967294",
  "owner=2097152:2097151",
  "names=/a/one /a/two /bin/three",
  "link=/../../etc/hello",
];

/** All that is odd is in a listing. */
export function assertOdd(entries: ReadonlyMap<string, string>): void {
  const text = [...entries].map((one) => one.join(" ")).join("\n");
  assertEquals(SIGNS.filter((sign) => !text.includes(sign)), []);
}

/** Adds what not every tool keeps: hard links of links, times before 1970, attributes of root's own. */
export async function makeOdder(dir: TempDir, path: string): Promise<void> {
  await script(
    dir,
    path,
    `ln absolute hardsym
     printf o >old; touch -d '1969-12-31 23:59:58.5 UTC' old`,
  );
  await put(
    path,
    directory("own", { attributes: new Map([["trusted.own", "mine"]]) }),
  );
}

/** An image in an OCI layout that umoci makes, layer by layer. */
export class UmociImage {
  readonly #dir: TempDir;
  /** The layout. */
  readonly layout: string;
  readonly #bundle: string;

  private constructor(dir: TempDir, name: string) {
    this.#dir = dir;
    this.layout = dir.join(name);
    this.#bundle = dir.join(`${name}.bundle`);
  }

  /** Makes one without layers. */
  static async make(dir: TempDir, name = "layout"): Promise<UmociImage> {
    const image = new UmociImage(dir, name);
    await tool(dir, "umoci", "init", `--layout=${image.layout}`);
    await tool(dir, "umoci", "new", `--image=${image.layout}:latest`);
    return image;
  }

  /** Adds a layer of what something changes in the root file system of what there is so far. */
  async change(change: (rootfs: string) => Promise<void>): Promise<void> {
    const image = `--image=${this.layout}:latest`;
    if (!await exists(this.#bundle)) await tool(this.#dir, "umoci", "unpack", image, this.#bundle);
    await change(`${this.#bundle}/rootfs`);
    await tool(this.#dir, "umoci", "repack", "--refresh-bundle", image, this.#bundle);
  }

  /** Adds an archive as it is. */
  async add(archive: string): Promise<void> {
    await tool(this.#dir, "umoci", "raw", "add-layer", `--image=${this.layout}:latest`, archive);
  }

  /** What umoci unpacks of it. */
  async entries(): Promise<Map<string, string>> {
    return await umociEntries(this.#dir, `${this.layout}:latest`);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

let count = 0;

/** What umoci unpacks of an image. */
export async function umociEntries(dir: TempDir, image: string): Promise<Map<string, string>> {
  const bundle = dir.join(`bundle-${++count}`);
  await tool(dir, "umoci", "unpack", `--image=${image}`, bundle);
  return await entriesOf(`${bundle}/rootfs`);
}

/** What is below the root. */
export function withoutRoot(entries: ReadonlyMap<string, string>): Map<string, string> {
  return new Map([...entries].filter(([path]) => path !== "/"));
}

/** Buildah, with a storage of its own. */
export class Buildah {
  readonly #dir: TempDir;
  readonly #storage: readonly string[];

  /** Keeps all in the temporary directory. */
  constructor(dir: TempDir, driver: "overlay" | "vfs") {
    this.#dir = dir;
    const root = dir.join(`buildah-${driver}`);
    this.#storage = [`--root=${root}`, `--runroot=${root}.run`, `--storage-driver=${driver}`];
  }

  /** Runs it. */
  async run(...args: string[]): Promise<string> {
    return await tool(this.#dir, "buildah", ...this.#storage, ...args);
  }

  /**
   * What is in a mount of an image. Buildah gives the root a mode and an owner of its own, whatever the
   * image says of them.
   */
  async entries(image: string): Promise<Map<string, string>> {
    const container = await this.run("from", "--quiet", image);
    const found = await entriesOf(await this.run("mount", container));
    await this.run("umount", container);
    return withoutRoot(found);
  }
}

/** Podman, with a storage of its own. */
export class Podman implements AsyncDisposable {
  readonly #dir: TempDir;
  readonly #run: string;

  private constructor(dir: TempDir, run: string) {
    this.#dir = dir;
    this.#run = run;
  }

  /** Makes a directory for what runs, whose path podman limits to 50 characters. */
  static async make(dir: TempDir): Promise<Podman> {
    return new Podman(dir, await Deno.makeTempDir({ dir: "/tmp" }));
  }

  /** Runs it. */
  async run(...args: string[]): Promise<string> {
    const storage = [`--root=${this.#dir.join("podman")}`, `--runroot=${this.#run}`];
    return (await tool(this.#dir, "podman", ...storage, "--storage-driver=vfs", ...args)).trim();
  }

  /** What is in a mount of an image, below the root. */
  async entries(image: string): Promise<Map<string, string>> {
    const found = await entriesOf(await this.run("image", "mount", image));
    await this.run("image", "unmount", image);
    return withoutRoot(found);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#run, { recursive: true });
  }
}

/** Copies an image with skopeo. */
export async function skopeo(dir: TempDir, ...args: string[]): Promise<void> {
  await tool(dir, "skopeo", "--insecure-policy", "copy", "--quiet", ...args);
}

/** Imports an image as it is; the checks of the store find nothing then. */
export async function imported(
  dir: TempDir,
  source: string,
  more: Partial<ImportRequest> & Pick<Parameters<typeof importTree>[1] & object, "input"> = {},
): Promise<ImportedTree> {
  const { input, ...request } = more;
  const store = dir.join("store");
  const all = { source, store, ...request };
  const tree = await importTree(all, input === undefined ? {} : { input });
  for (const quick of [false, true]) {
    const checked = await checkTrees({ store: all.store, tree: tree.id, quick });
    assertEquals(checked, [{ id: tree.id, differences: [] }]);
  }
  return tree;
}

/** What is in a render of a tree. */
export async function renderedEntries(
  dir: TempDir,
  tree: string,
  store = dir.join("store"),
): Promise<Map<string, string>> {
  const pod = dir.join(`pod-${++count}`);
  await using app = await renderOverlay({ store, tree, pod, app: "app" });
  return await entriesOf(app.rootfs);
}

/** Two listings of something are the same. */
export function assertSameEntries(
  is: ReadonlyMap<string, string>,
  must: ReadonlyMap<string, string>,
  what: string,
): void {
  assert(must.size > 0, `${what}: nothing is there to compare with`);
  assertEquals(entryDifferences(is, must).join("\n"), "", what);
}
