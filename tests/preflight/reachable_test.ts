/**
 * The warning of a rootfs that other users can reach.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { preparePod, renderOverlay, unmountOverlay } from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { makeTree, MARKS } from "../_tree.ts";

/** A directory that all users can reach; it is gone with its scope. */
async function openDir(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir({ dir: "/tmp", prefix: "overlay-render-open-" });
  await Deno.chmod(path, 0o755);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

Deno.test("a render warns of a rootfs that other users can reach, and of no other", async () => {
  await using dir = await openDir();
  const lower = await makeTree(`${dir.path}/image`);
  await Deno.chmod(lower, 0o755);
  const [open, closed, pod] = ["open", "closed", "pod"].map((name) => `${dir.path}/${name}`);
  for (const path of [`${open}/dest`, `${closed}/dest`]) {
    await Deno.mkdir(path, { recursive: true });
  }
  for (const path of [open, `${open}/dest`, `${closed}/dest`]) await Deno.chmod(`${path}`, 0o755);
  await Deno.chmod(`${closed}`, 0o711);
  const warning = (rootfs: string) => {
    return `"${rootfs}" can be reached by other users, with its setuid files and devices: ` +
      "add --option nosuid,nodev, or close a directory above";
  };
  const table: readonly [more: Partial<RenderRequest>, says: string[]][] = [
    [{ dest: `${open}/dest` }, [warning(`${open}/dest/rootfs`)]],
    [{ dest: `${closed}/dest` }, [warning(`${closed}/dest/rootfs`)]],
    [{ dest: `${open}/dest`, options: ["nosuid"] }, [warning(`${open}/dest/rootfs`)]],
    [{ dest: `${open}/dest`, options: ["nosuid", "nodev"] }, []],
    [{}, []],
  ];
  for (const [more, says] of table) {
    const said: string[] = [];
    const request = { lower, pod: `${pod}`, ...more, options: [...MARKS, ...more.options ?? []] };
    await renderOverlay(request, { warn: (text) => void said.push(text) });
    assertEquals(said, says);
    await unmountOverlay({ pod: `${pod}` });
    await Deno.remove(`${pod}`, { recursive: true });
  }
  await Deno.chmod(`${closed}`, 0o700);
  const said: string[] = [];
  await preparePod({
    pod: `${pod}`,
    profile: "fixed-mode",
    dirMode: 0o755,
    apps: ["a", "b", "c"].map((app) => {
      const dest = `${app === "c" ? closed : open}/dest/${app}`;
      return { app, lower, dest };
    }),
  }, { warn: (text) => void said.push(text) });
  assertEquals(said, [
    warning(`${open}/dest/a/rootfs`).replace('rootfs" can', 'rootfs", and 1 more, can'),
  ]);
});

Deno.test("a render warns of a pod that other users can reach where its app is in it", async () => {
  await using dir = await openDir();
  const lower = await makeTree(`${dir.path}/image`);
  await Deno.chmod(lower, 0o755);
  const pod = `${dir.path}/pod`;
  await Deno.mkdir(pod);
  for (const [mode, count] of [[0o755, 1], [0o750, 0]] as const) {
    await Deno.chmod(pod, mode);
    const said: string[] = [];
    const request = { lower, pod, options: MARKS };
    await renderOverlay(request, { warn: (text) => void said.push(text) });
    assertEquals(said.length, count, said.join());
    await unmountOverlay({ pod });
  }
});
