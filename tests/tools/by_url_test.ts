import { filesBelow } from "../../tools/files.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path/posix/join";
import { freshDenoDir } from "../_deno_dir.ts";
import { mountsBelow, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** The repository behind a URL, and who asked for what. */
interface Site extends AsyncDisposable {
  /** Scheme, host and port. */
  readonly origin: string;
  readonly host: string;
  /** The paths that were asked for. */
  readonly asked: Set<string>;
}

const TYPES = [
  { suffix: ".ts", type: "application/typescript" },
  { suffix: ".json", type: "application/json" },
];

/** Serves the repository on a loopback port until its scope ends. */
function serveRepository(): Site {
  const asked = new Set<string>();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      const path = new URL(request.url).pathname;
      asked.add(path);
      const type = TYPES.find(({ suffix }) => path.endsWith(suffix))?.type;
      if (type === undefined) return new Response(null, { status: 404 });
      const data = await Deno.readFile(join(ROOT, path)).catch(() => null);
      if (data === null) return new Response(null, { status: 404 });
      return new Response(data, { headers: { "content-type": type } });
    },
  );
  const host = `127.0.0.1:${server.addr.port}`;
  return {
    origin: `http://${host}`,
    host,
    asked,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** An import map that stands in for JSR: what the library asks it for comes from `std/`, by URL. */
async function standIn(origin: string): Promise<Record<string, string>> {
  const deps = await Deno.readTextFile(`${ROOT}lib/core/deps.ts`);
  const imports: Record<string, string> = {};
  for (
    const [, specifier = "", name, entry] of deps.matchAll(/"(jsr:(@std\/\w+)@[^/"]+\/([^"]+))"/g)
  ) {
    const folder = name?.replace("@", "") ?? "";
    const { exports } = JSON.parse(await Deno.readTextFile(`${ROOT}${folder}/deno.json`)) as {
      exports: Record<string, string>;
    };
    imports[specifier] = `${origin}/${join(folder, exports[`./${entry}`] ?? "")}`;
  }
  return imports;
}

/** A directory with a tree, an import map and an empty cache, far from the repository. */
async function makeElsewhere(dir: TempDir, site: Site): Promise<void> {
  await freshDenoDir(dir.join("cache"));
  const imports = await standIn(site.origin);
  await Deno.writeTextFile(dir.join("imports.json"), JSON.stringify({ imports }));
  await Deno.mkdir(dir.join("image"));
  await Deno.writeTextFile(dir.join("image", "motd"), "from the tree");
}

/** Runs Deno there; returns its stdout. */
async function deno(dir: TempDir, site: Site, ...args: string[]): Promise<string> {
  const fixed = ["run", "--quiet", "--no-prompt", `--allow-import=${site.host}`];
  const output = await new Deno.Command(Deno.execPath(), {
    args: [...fixed, `--import-map=${dir.join("imports.json")}`, ...args],
    cwd: dir.path,
    env: { DENO_DIR: dir.join("cache"), NO_COLOR: "1", RUST_BACKTRACE: "0" },
    stdin: "null",
  }).output();
  assertEquals(new TextDecoder().decode(output.stderr), "");
  assertEquals(output.code, 0);
  return new TextDecoder().decode(output.stdout);
}

Deno.test("mod.ts renders, writes and unmounts when it is imported by URL from outside", async () => {
  await using dir = await tempDir();
  await using site = serveRepository();
  await makeElsewhere(dir, site);
  await Deno.writeTextFile(
    dir.join("main.ts"),
    `import { permissionFlags, planRender, renderOverlay, requiredPermissions } from "${site.origin}/mod.ts";
     const [dir, act] = Deno.args;
     const request = { lower: dir + "/image", pod: dir + "/pod", app: "web", options: ["userxattr"] };
     if (act === "plan") {
       console.log(JSON.stringify(permissionFlags(requiredPermissions(planRender(request)))));
     } else {
       await using app = await renderOverlay(request);
       await Deno.writeTextFile(app.rootfs + "/motd", "from the app");
       console.log(JSON.stringify([app.rootfs, await Deno.readTextFile(dir + "/image/motd")]));
     }`,
  );
  const flags = JSON.parse(await deno(dir, site, dir.join("main.ts"), dir.path, "plan"));

  const said = JSON.parse(await deno(dir, site, ...flags, dir.join("main.ts"), dir.path, "render"));

  const rootfs = dir.join("pod/apps/web/rootfs");
  assertEquals(said, [rootfs, "from the tree"]);
  assertEquals(await mountsBelow(dir.path), []);
  assertEquals(await Deno.readTextFile(dir.join("image/motd")), "from the tree");
  assertEquals(
    await Deno.readTextFile(dir.join("pod/overlay/image/upper/web/motd")),
    "from the app",
  );
  // All of it came over the wire: from the module itself to the stand-ins for JSR.
  const targets = Object.values(await standIn(site.origin)).map((url) => new URL(url).pathname);
  assert(targets.length > 0);
  for (const path of ["/mod.ts", "/lib/api/render.ts", ...targets]) {
    assertEquals([path, site.asked.has(path)], [path, true]);
  }
});

Deno.test("cli.ts renders and unmounts when it is run by URL with the flags of its plan", async () => {
  await using dir = await tempDir();
  await using site = serveRepository();
  await makeElsewhere(dir, site);
  const cli = `${site.origin}/cli.ts`;
  const request = ["--lower", dir.join("image"), "--pod", dir.join("pod"), "--option", "userxattr"];
  const { flags } = JSON.parse(await deno(dir, site, cli, "plan", ...request, "--json"));

  const rootfs = (await deno(dir, site, ...flags, cli, "render", ...request)).trimEnd();

  assertEquals(await mountsBelow(dir.path), [rootfs]);
  await Deno.writeTextFile(`${rootfs}/motd`, "from outside");
  assertEquals(await Deno.readTextFile(dir.join("pod/overlay/image/upper/motd")), "from outside");
  const status = await deno(dir, site, ...flags, cli, "status", "--pod", dir.join("pod"));
  assertStringIncludes(status, `mounted  ${rootfs}`);
  const gone = await deno(dir, site, ...flags, cli, "unmount", "--pod", dir.join("pod"));
  assertEquals([gone.trimEnd(), await mountsBelow(dir.path)], [rootfs, []]);
});

Deno.test("cli.ts prints its version when it is run by URL", async () => {
  await using dir = await tempDir();
  await using site = serveRepository();
  await makeElsewhere(dir, site);
  const { version } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));

  const said = await deno(dir, site, `${site.origin}/cli.ts`, "--version");

  assertEquals(said, `overlay-render ${version}\n`);
});

Deno.test("lib/core/deps.ts is the only published file that names a package", async () => {
  const files = ["mod.ts", "cli.ts", ...await filesBelow(ROOT.replace(/\/$/, ""), "lib", ".ts")];
  const naming: string[] = [];
  for (const file of files) {
    const text = await Deno.readTextFile(`${ROOT}${file}`);
    // A bare name would be looked up in an import map that a module behind a URL does not see.
    if (/^(import|export) .*from "(?!\.)|import\("(?!\.|node:)/m.test(text)) naming.push(file);
  }
  assertEquals(naming, ["lib/core/deps.ts"]);
});
