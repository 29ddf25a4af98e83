import { assertEquals } from "@std/assert";
import { bundleLibrary } from "../../tools/bundle.ts";
import { freshDenoDir } from "../_deno_dir.ts";
import { mountsBelow, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

/** Runs Deno far from the repository, where one host may be asked, and no package registry. */
async function deno(
  dir: TempDir,
  ...args: string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: dir.path,
    env: { DENO_DIR: dir.join("cache"), NO_COLOR: "1", RUST_BACKTRACE: "0" },
    stdin: "null",
  }).output();
  const [out = "", err = ""] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, stdout: out, stderr: err };
}

/** Serves a directory on a loopback port, and notes the paths that it was asked for. */
function serve(directory: string, asked: string[]): Deno.HttpServer<Deno.NetAddr> {
  const types = { js: "text/javascript", ts: "application/typescript" };
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const path = new URL(request.url).pathname;
    asked.push(path);
    const type = types[path.slice(-2) as keyof typeof types];
    const data = await Deno.readFile(directory + path);
    return new Response(data, { headers: { "content-type": type } });
  });
}

Deno.test("mod.js is the whole library behind one URL, with its types", async (t) => {
  await using dir = await tempDir();
  const [dist, asked]: [string, string[]] = [dir.join("dist"), []];
  await bundleLibrary(dist);
  await using server = serve(dist, asked);
  const host = `127.0.0.1:${server.addr.port}`;
  await freshDenoDir(dir.join("cache"));
  await Deno.mkdir(dir.join("image"));
  await Deno.writeTextFile(dir.join("image/motd"), "from the tree");
  const url = `http://${host}/mod.js`;
  const request =
    '{ lower: dir + "/image", pod: dir + "/pod", app: "web", options: ["userxattr"] }';
  await Deno.writeTextFile(
    dir.join("main.ts"),
    `import { permissionFlags, planRender, renderOverlay, requiredPermissions } from "${url}";
     import type { RenderRequest } from "${url}";
     const [dir, act] = Deno.args;
     const request: RenderRequest = ${request};
     if (act === "plan") {
       console.log(JSON.stringify(permissionFlags(requiredPermissions(planRender(request)))));
     } else {
       await using app = await renderOverlay(request);
       await Deno.writeTextFile(app.rootfs + "/motd", "from the app");
       console.log(JSON.stringify([app.rootfs, await Deno.readTextFile(dir + "/image/motd")]));
     }`,
  );
  const only = ["--no-npm", `--allow-import=${host}`];
  const run = ["run", "--quiet", "--no-prompt", ...only];

  await t.step("renders and unmounts with the flags of its plan", async () => {
    const { stdout: plan } = await deno(dir, ...run, dir.join("main.ts"), dir.path, "plan");
    const flags = JSON.parse(plan);
    const render = await deno(dir, ...run, ...flags, dir.join("main.ts"), dir.path, "render");
    assertEquals([render.code, render.stderr], [0, ""]);
    const rootfs = dir.join("pod/apps/web/rootfs");
    assertEquals(JSON.parse(render.stdout), [rootfs, "from the tree"]);
    assertEquals(await mountsBelow(dir.path), []);
    const upper = dir.join("pod/overlay/image/upper/web/motd");
    assertEquals(await Deno.readTextFile(upper), "from the app");
  });

  await t.step("has types", async () => {
    // Without types, the directive would be the error.
    const wrong = "// @ts-expect-error: a pod is a path\nawait renderOverlay({ pod: 5 });\n";
    await Deno.writeTextFile(dir.join("main.ts"), wrong, { append: true });
    const check = await deno(dir, "check", "--quiet", "--all", ...only, dir.join("main.ts"));
    assertEquals(check, { code: 0, stdout: "", stderr: "" });
  });

  await t.step("tree.js is the tree store, with its types", async () => {
    await Deno.writeTextFile(
      dir.join("main.ts"),
      `import { importTree, listTreesSync } from "http://${host}/tree.js";
       import type { ListedTree } from "http://${host}/tree.js";
       const [dir] = Deno.args;
       const store = dir + "/store";
       await importTree({ source: dir + "/image", store, name: "mine" });
       const trees: readonly ListedTree[] = listTreesSync({ store });
       console.log(JSON.stringify(trees.map(({ images }) => images)));`,
    );
    const check = await deno(dir, "check", "--quiet", "--all", ...only, dir.join("main.ts"));
    assertEquals(check, { code: 0, stdout: "", stderr: "" });
    const result = await deno(
      dir,
      ...run,
      "-R",
      "-W",
      "-S",
      "--allow-run",
      dir.join("main.ts"),
      dir.path,
    );
    assertEquals(result, { code: 0, stdout: '[["mine"]]\n', stderr: "" });
  });

  await t.step("asks for no other file", () => {
    assertEquals([...new Set(asked)].sort(), ["/mod.d.ts", "/mod.js", "/tree.d.ts", "/tree.js"]);
  });
});
