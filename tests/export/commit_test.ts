/**
 * Images that are made of apps: in the store, and in OCI image layouts.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { exists } from "@std/fs/exists";
import {
  commitImage,
  exportImage,
  overlayChanges,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import { OverlayError, RefusedError } from "../../mod.ts";
import { hexDigest } from "../../lib/core/digest.ts";
import { parent } from "../../lib/core/path.ts";
import type { CommitRequest } from "../../mod.ts";
import { checkTrees, importTree, inspectTreeSync, listTreesSync } from "../../lib/store/tree.ts";
import type { ImportRequest } from "../../lib/store/tree.ts";
import { cli, commandLine } from "../_cli.ts";
import { mountTmpfs } from "../_disks.ts";
import { entriesOf } from "../_entries.ts";
import { layerArchive, makeLayout } from "../_image.ts";
import { disk, runMain } from "../_main.ts";
import { assertRefused, lacks } from "../_lacks.ts";
import { snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import {
  assertSameEntries,
  Buildah,
  needs,
  script,
  umociEntries,
  withoutRoot,
} from "../_tool_images.ts";

const root = needs();
const tools = needs("umoci", "buildah");

/** An app of an image in a store. */
class App {
  readonly #dir: TempDir;
  readonly store: string;
  readonly pod: string;
  rootfs = "";

  constructor(dir: TempDir, pod = "pod") {
    this.#dir = dir;
    this.store = dir.join("store");
    this.pod = dir.join(pod);
  }

  async render(image: string): Promise<void> {
    const { store, pod } = this;
    this.rootfs = (await renderOverlay({ image, store, pod, app: "web" })).rootfs;
  }

  async change(text: string): Promise<void> {
    await script(this.#dir, this.rootfs, text);
    // A layer has whole seconds.
    await script(
      this.#dir,
      this.rootfs,
      "find . -xdev -newermt @1000000001 -exec touch -hd @1500000000 {} +",
    );
  }

  commit(more: Partial<CommitRequest> = {}): ReturnType<typeof commitImage> {
    const { store, pod } = this;
    return commitImage({ pod, store, name: "mine", ...more });
  }
}

/** Imports a base, and renders an app of it. */
async function begin(
  dir: TempDir,
  base: string,
  more: Partial<ImportRequest> = {},
): Promise<App> {
  const app = new App(dir);
  await Deno.mkdir(dir.join("base"));
  await Deno.chmod(dir.join("base"), 0o755);
  await script(dir, dir.join("base"), base);
  const source = await makeLayout(dir.join("layout"), [await layerArchive(dir.join("base"), {})]);
  await importTree({ source, store: app.store, name: "base", keepBlobs: true, ...more });
  await app.render("base");
  return app;
}

const BASE = "mkdir -p d/e; echo a >a; echo b >d/b; echo c >d/e/c; cp /bin/true s; chmod 4755 s";

Deno.test({
  name: `a commit is the root of its app; a render of it has no changes${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    let app = await begin(dir, BASE);
    const steps = [
      "rm a; rm -r d/e; echo B >>d/b; echo n >n; ln n d/n; mkdir new; chown 5:6 new",
      "mkdir -p d/e; echo again >d/e/again; echo a >a; rm n; chmod 0700 new",
      "rm -r d; echo file >d; rm a; mkdir a; mknod null c 1 3",
    ];
    for (const [at, change] of steps.entries()) {
      await app.change(change);
      const must = withoutRoot(await entriesOf(app.rootfs));
      const before = await snapshot(app.pod);
      const tree = await app.commit({ name: `mine-${at}` });
      assertEquals([tree.image, tree.layers], [`mine-${at}`, at + 2]);
      assertEquals(await snapshot(app.pod), before);
      assertEquals(await checkTrees({ store: app.store, tree: tree.id }), [
        { id: tree.id, differences: [] },
      ]);
      await unmountOverlay({ pod: app.pod });
      app = new App(dir, `pod-${at}`);
      await app.render(`mine-${at}`);
      assertSameEntries(withoutRoot(await entriesOf(app.rootfs)), must, "rendered");
      assertEquals(await overlayChanges({ pod: app.pod }), []);
    }
  },
});

Deno.test({
  name: `the config of a commit is that of its base, with its changes${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const app = await begin(dir, BASE);
    await app.change("echo n >n");
    const args = ["commit", "--pod", app.pod, "--store", app.store, "--name", "mine"];
    const { status, stdout, stderr } = await runMain([
      ...args,
      ...["--message", "one more", "--author", "me", "--env", "A=c", "--env", "N=v=w"],
      ...["--cmd", '["sh","-l"]', "--entrypoint", "run me", "--user", "1:2", "--workdir", "/w"],
      ...["--label", "x=y"],
    ]);
    assertEquals([status, stderr], [0, ""]);
    const { id, config, images, layers } = inspectTreeSync({ store: app.store, tree: "mine" });
    assertEquals([stdout, images, layers.length], [`${id}\n`, ["mine"], 2]);
    assertEquals(config?.config, {
      Env: ["A=c", "N=v=w"],
      Cmd: ["sh", "-l"],
      Entrypoint: ["/bin/sh", "-c", "run me"],
      User: "1:2",
      WorkingDir: "/w",
      Labels: { x: "y" },
    });
    const [, step] = config?.history as Record<string, string>[];
    const { created_by, author, comment } = step ?? {};
    assertEquals([created_by, author, comment], ["overlay-render commit", "me", "one more"]);
    const shown = await runMain(["tree", "inspect", "mine", "--store", app.store]);
    assertEquals(shown.status, 0);
    assertStringIncludes(shown.stdout, layers[1]?.diffId ?? "?");
    assertStringIncludes(shown.stdout, "one more");
  },
});

Deno.test({
  name:
    `with SOURCE_DATE_EPOCH a commit has the same digest, for any umask and time zone${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const app = await begin(dir, BASE);
    await script(dir, app.rootfs, "echo n >n; rm a");
    const digests = new Set<string>();
    for (const [umask, TZ] of [["022", "UTC"], ["077", "Asia/Tokyo"]] as const) {
      const args = ["commit", `--pod=${app.pod}`, `--store=${app.store}`, "--name=mine", "--json"];
      const env = { TZ, SOURCE_DATE_EPOCH: "1000000000" };
      const { status, stdout, stderr } = await cli(args, { umask, env });
      assertEquals([status, stderr], [0, ""]);
      digests.add(JSON.parse(stdout).digest);
    }
    assertEquals(digests.size, 1);
  },
});

Deno.test({
  name:
    `a commit in a layout is unpacked by umoci and buildah as the root of the app${tools.suffix}`,
  ignore: tools.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const app = await begin(dir, BASE);
    await app.change("rm a; rm -r d/e; mkdir d/e; echo new >d/e/new; echo n >n");
    const must = withoutRoot(await entriesOf(app.rootfs));
    const layout = dir.join("out");
    await app.commit({ to: { directory: layout, ref: "mine" } });
    const { pod, store } = app;
    for (const compression of ["none", "gzip", "zstd"] as const) {
      await exportImage({ pod, store, compression }, { directory: layout, ref: compression });
    }
    await exportImage({ pod, store, squash: true }, { directory: layout, ref: "squashed" });
    const buildah = new Buildah(dir, "vfs");
    for (const ref of ["mine", "none", "gzip", "zstd", "squashed"]) {
      // This umoci does not know zstd.
      if (ref !== "zstd") {
        const found = withoutRoot(await umociEntries(dir, `${layout}:${ref}`));
        assertSameEntries(found, must, `umoci, ${ref}`);
      }
      assertSameEntries(await buildah.entries(`oci:${layout}:${ref}`), must, `buildah, ${ref}`);
      const { id } = await importTree({ source: layout, ref, name: ref, store: dir.join("other") });
      const again = await renderOverlay({
        tree: id,
        store: dir.join("other"),
        pod: dir.join(`again-${ref}`),
      });
      assertSameEntries(withoutRoot(await entriesOf(again.rootfs)), must, `imported, ${ref}`);
    }
    assertEquals(await exists(`${layout}/layer.tmp`), false);
  },
});

Deno.test({
  name: `layers of the base that are not at hand are named, and nothing is written${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const app = await begin(dir, BASE, { keepBlobs: false });
    await app.change("echo n >n");
    const to = { directory: dir.join("out"), ref: null };
    const before = await disk(dir.path);
    const [layer] = inspectTreeSync({ store: app.store, tree: "base" }).layers;
    for (const act of [() => app.commit({ to }), () => exportImage({ ...app, pod: app.pod }, to)]) {
      const error = await assertRejects(act, OverlayError);
      assertEquals(error.code, "missing");
      assertStringIncludes(error.message, layer?.digest ?? "?");
      assertStringIncludes(error.hint ?? "", "--keep-blobs");
    }
    assertEquals(await disk(dir.path), before);
    // The own store needs none of them.
    assertEquals((await app.commit()).layers, 2);
  },
});

Deno.test({
  name:
    `on a base that was imported without setuid, a commit warns and keeps that of the app${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const app = await begin(dir, BASE, { strip: ["setuid"] });
    await app.change("cp /bin/true own; chmod 4755 own");
    const warnings: string[] = [];
    const { pod, store } = app;
    await commitImage({ pod, store, name: "mine" }, { warn: (text) => void warnings.push(text) });
    assertStringIncludes(warnings.join("\n"), "imported without setuid");
    const next = new App(dir, "next");
    await next.render("mine");
    const found = await entriesOf(next.rootfs);
    assertStringIncludes(found.get("/own") ?? "", "mode=4755");
    assertStringIncludes(found.get("/s") ?? "", "mode=0755");
  },
});

Deno.test({
  name: `an app of a directory is committed as one layer, with --squash${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const [lower, pod, store] = [dir.join("lower"), dir.join("pod"), dir.join("store")];
    await Deno.mkdir(lower);
    await Deno.writeTextFile(`${lower}/a`, "a");
    const { rootfs } = await renderOverlay({ lower, pod, app: "web" });
    await Deno.writeTextFile(`${rootfs}/n`, "n");
    const error = await assertRejects(
      () => commitImage({ pod, store, name: "mine" }),
      OverlayError,
    );
    assertEquals(error.code, "usage");
    assertEquals((await commitImage({ pod, store, name: "mine", squash: true })).layers, 1);
  },
});

Deno.test({
  name:
    `a commit that an app disturbs, or for which the disk is too small, leaves the store as it was${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await mountTmpfs(dir.join("store"), "size=8m,mode=700");
    const app = await begin(dir, BASE);
    await app.change("head -c 3000000 /dev/urandom >big");
    const before = await snapshot(app.store);
    const { pod, store } = app;
    const write = (text: string) => {
      if (/^run \/bin\/tar --create/.test(text)) {
        Deno.writeTextFileSync(`${app.rootfs}/late`, "");
      }
    };
    const request = { pod, store, name: "mine" };
    const disturbed = await assertRejects(
      () => commitImage(request, { trace: write }),
      OverlayError,
    );
    assertEquals(disturbed.code, "changed");
    assertEquals(await snapshot(app.store), before);
    await app.change("head -c 9000000 /dev/urandom >big");
    await assertRejects(() => commitImage(request), OverlayError, "No space left");
    assertEquals(await snapshot(app.store), before);
    assertEquals(listTreesSync({ store }).flatMap(({ images }) => images), ["base"]);
  },
});

Deno.test({
  name: `a commit that is killed at any moment leaves no image that is not whole${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const app = await begin(dir, BASE);
    await app.change(
      "head -c 20000000 /dev/urandom >big; for i in $(seq 300); do echo $i >f$i; done",
    );
    const { pod, store } = app;
    const out = dir.join("out");
    const args = ["commit", `--pod=${pod}`, `--store=${store}`, `--to=oci:${out}:mine`, "--name"];
    let killed = 0;
    for (let at = 0; at < 16; at++) {
      const [program = "", ...rest] = commandLine([...args, `mine-${at}`]);
      const child = new Deno.Command(program, { args: rest, stdout: "null", stderr: "null" })
        .spawn();
      const timer = setTimeout(() => child.kill("SIGKILL"), 100 + 130 * at);
      const { signal } = await child.status;
      clearTimeout(timer);
      if (signal === "SIGKILL") killed++;
      const checked = await checkTrees({ store });
      assertEquals(checked.flatMap(({ differences }) => differences), []);
      assertEquals(checked.map(({ id }) => id), listTreesSync({ store }).map(({ id }) => id));
      if (await exists(`${out}/index.json`)) {
        const { manifests } = JSON.parse(await Deno.readTextFile(`${out}/index.json`));
        for (const { digest } of manifests) {
          const path = `${out}/blobs/${digest.replace(":", "/")}`;
          const { config, layers } = JSON.parse(await Deno.readTextFile(path));
          for (const { digest, size } of [config, ...layers]) {
            const { size: is } = await Deno.stat(`${out}/blobs/${digest.replace(":", "/")}`);
            assertEquals(is, size);
          }
        }
      }
    }
    assert(killed > 0);
    // A tar whose command was killed may still write.
    assertEquals((await app.commit({ name: "last" })).layers, 2);
    assertEquals([...Deno.readDirSync(`${store}/tmp`)], []);
  },
});

Deno.test({
  name: `export, commit and tag need each of the flags that --flags prints${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const app = await begin(dir, BASE);
    await app.change("echo n >n; rm a");
    const [pod, store] = [`--pod=${app.pod}`, `--store=${app.store}`];
    const commands = [
      ["export", pod, `--layer=${dir.join("layer.tar")}`],
      ["export", pod, `--rootfs=${dir.join("root.tar")}`],
      ["export", pod, store, `--to=oci:${dir.join("out")}:mine`],
      ["commit", pod, store, "--name=mine"],
      ["commit", pod, store, "--name=both", `--to=oci:${dir.join("both")}`],
      ["tree", "tag", "base", "other", store],
      ["tree", "untag", "other", store],
    ];
    for (const args of commands) {
      const before = await disk(dir.path);
      const printed = await runMain([...args, "--flags", "--json"]);
      const flags: string[] = JSON.parse(printed.stdout).flags;
      assertEquals(await disk(dir.path), before);
      // Without the environment, no time is limited.
      const needed = flags.filter((flag) => !flag.startsWith("--allow-env"));
      await assertRefused(dir.path, args, lacks(needed));
      const done = await cli(args, { flags });
      assertEquals([done.status, done.stderr], [0, ""], args.join(" "));
    }
  },
});

/** Hashes the blobs of a layout, which must have the names of their digests. */
async function assertWholeBlobs(layout: string): Promise<void> {
  for await (const { name } of Deno.readDir(`${layout}/blobs/sha256`)) {
    const content = await Deno.readFile(`${layout}/blobs/sha256/${name}`);
    assertEquals(await hexDigest("SHA-256", content), name);
  }
}

Deno.test({
  name: `exports at once into one layout leave whole blobs, and an image each${root.suffix}`,
  ignore: root.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const { pod, store, rootfs } = await begin(dir, BASE);
    await script(dir, rootfs, "head -c 3000000 /dev/urandom >big");
    const layout = dir.join("out");
    const refs = ["none", "gzip", "zstd"] as const;
    await Promise.all(refs.map((compression) => {
      return exportImage({ pod, store, compression }, { directory: layout, ref: compression });
    }));
    await assertWholeBlobs(layout);
    const { manifests } = JSON.parse(await Deno.readTextFile(`${layout}/index.json`));
    assertEquals(manifests.length, refs.length);
    assertEquals([...Deno.readDirSync(layout)].map(({ name }) => name).sort(), [
      "blobs",
      "index.json",
      "oci-layout",
    ]);
  },
});

for (
  const [name, open] of [
    ["itself", (layout: string) => Deno.chmod(layout, 0o777)],
    ["in its blobs", (layout: string) => Deno.chmod(`${layout}/blobs/sha256`, 0o775)],
    ["above it", (layout: string) => Deno.chmod(parent(layout), 0o777)],
    ["as its owner", (layout: string) => Deno.chown(`${layout}/blobs`, 4711, 4711)],
  ] as const
) {
  Deno.test({
    name: `a layout that another user can change is refused: ${name}${root.suffix}`,
    ignore: root.ignore,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      const app = await begin(dir, BASE);
      const to = { directory: dir.join("shared", "out"), ref: "mine" };
      await Deno.mkdir(dir.join("shared"));
      await exportImage(app, to);
      await open(to.directory);
      await app.change("echo n >n");
      const before = await disk(dir.path);
      for (const act of [() => exportImage(app, to), () => app.commit({ to })]) {
        const error = await assertRejects(act, RefusedError);
        assertEquals(error.code, "shared-pod");
      }
      assertEquals(await disk(dir.path), before);
    },
  });
}
