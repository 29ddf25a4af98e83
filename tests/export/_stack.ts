/**
 * An image that grows layer by layer: each is what an app changed in a render of the layers below it.
 *
 * @module
 */
import { exportLayer } from "../../lib/export/export_layer.ts";
import type { ArchiveRequest, Exported } from "../../lib/export/export_layer.ts";
import { pathInLayer } from "../../lib/tar/entry_name.ts";
import { showPath } from "../../lib/tar/mtree.ts";
import type { TarEntry } from "../../lib/tar/tar_entry.ts";
import { TarReader } from "../../lib/tar/tar_reader.ts";
import { renderOverlay, unmountOverlay } from "../../mod.ts";
import { importTree } from "../../lib/store/import_tree.ts";
import { entriesOf } from "../_entries.ts";
import { layerArchive, makeLayout } from "../_image.ts";
import type { LayerFiles } from "../_image.ts";
import type { TempDir } from "../_temp.ts";
import { script } from "../_tool_images.ts";

/** An app that changes a render of an image. */
export class Stack {
  readonly #dir: TempDir;
  readonly #archives: Uint8Array[] = [];
  #count = 0;
  /** The pod of the current app. */
  pod = "";
  /** The root of the current app, which is mounted. */
  rootfs = "";

  private constructor(dir: TempDir) {
    this.#dir = dir;
  }

  /** Begins with a layer of files, or with one that a script makes. */
  static async make(dir: TempDir, base: LayerFiles | string): Promise<Stack> {
    const stack = new Stack(dir);
    const root = dir.join("base");
    await Deno.mkdir(root);
    await Deno.chmod(root, 0o755);
    if (typeof base === "string") await script(dir, root, base);
    stack.#archives.push(await layerArchive(root, typeof base === "string" ? {} : base));
    await stack.#render();
    return stack;
  }

  get #store(): string {
    return this.#dir.join("store");
  }

  async #render(): Promise<void> {
    const source = await this.layout();
    const { id } = await importTree({ source, store: this.#store });
    this.pod = this.#dir.join(`pod-${this.#count}`);
    const request = { store: this.#store, tree: id, pod: this.pod, app: "web" };
    const app = await renderOverlay(request);
    this.rootfs = app.rootfs;
  }

  /** The image so far, as an OCI layout. */
  async layout(): Promise<string> {
    const layout = this.#dir.join(`layout-${++this.#count}`);
    return await makeLayout(layout, this.#archives);
  }

  /** Runs a script in the root of the app. */
  async change(text: string): Promise<void> {
    await script(this.#dir, this.rootfs, text);
  }

  /** Exports what the app wrote, without compression. */
  async layer(
    more: Partial<ArchiveRequest> = {},
    options: Parameters<typeof exportLayer>[2] = {},
  ): Promise<{ readonly path: string; readonly exported: Exported }> {
    const path = this.#dir.join(`layer-${++this.#count}.tar`);
    const request = { pod: this.pod, compression: "none" as const, ...more };
    return { path, exported: await exportLayer(request, path, options) };
  }

  /** Puts what the app wrote on the image, and renders that. */
  async commit(): Promise<void> {
    const { path } = await this.layer();
    this.#archives.push(await Deno.readFile(path));
    await unmountOverlay({ pod: this.pod });
    await this.#render();
  }

  /** The entries of the root of the app. */
  async entries(): Promise<Map<string, string>> {
    return await entriesOf(this.rootfs);
  }
}

/** The entries of an archive, in their order. */
export async function readEntries(path: string): Promise<TarEntry[]> {
  const found: TarEntry[] = [];
  const reader = new TarReader({
    entry: (entry) => void found.push(entry),
    data: () => {},
    end: () => {},
  });
  reader.push(await Deno.readFile(path));
  reader.end();
  return found;
}

/** The entries of an archive as words: type and path, and where a hard link leads. */
export async function listArchive(path: string): Promise<string[]> {
  return (await readEntries(path)).map(({ type, name, link }) => {
    const to = type === "hardlink" ? ` ${link}` : "";
    return `${type} ${showPath(pathInLayer(name))}${to}`;
  });
}
