/**
 * The units of systemd: what systemd itself reads in them, and what their command lines do.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { escapeInstance, SYSTEMD_PATH, systemdUnits } from "../../lib/cli/systemd.ts";
import type { Unit } from "../../lib/cli/systemd.ts";
import { assertFails, runMain, runMainWith } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import { idlePod, makePlace, mountedPod } from "../_pods.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import { isMissing } from "../_tree.ts";

/** Paths with everything that has a meaning in a unit, a line of a command, or the name of a unit. */
const PATHS = [
  "/srv/pods",
  "/srv/my pods/.x",
  "/srv/100%/%f/$HOME/${A}",
  `/srv/"double"/'single'`,
  "/srv/back\\slash\\x20",
  "/srv/;/ñ/雪/~#:=,",
];

function has(program: string): boolean {
  const paths = (Deno.env.get("PATH") ?? "").split(":");
  return [...paths, "/lib/systemd"].some((path) => !isMissingSync(`${path}/${program}`));
}

function isMissingSync(path: string): boolean {
  try {
    Deno.statSync(path);
    return false;
  } catch {
    return true;
  }
}

const VERIFY = has("systemd-analyze") ? "" : " [skipped: needs systemd-analyze]";
const MANAGER = isRealRoot && has("systemd") && has("setpriv")
  ? ""
  : " [skipped: needs root and systemd]";

/** The values of a key of a unit, in order. */
function valuesOf({ text }: Unit, key: string): string[] {
  return [...text.matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map(([, value = ""]) => value);
}

/** Splits a command line as systemd.service(5) says: quotes, escapes, and then `%%` and `$$`. */
function split(line: string): string[] {
  const words = [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)];
  return words.map(([, quoted, plain]) => {
    const word = quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "";
    return word.replaceAll("%%", "%").replaceAll("$$", "$");
  });
}

async function writeAll(units: readonly Unit[], directory: string): Promise<string[]> {
  await Deno.mkdir(directory, { recursive: true });
  const paths = units.map(({ name }) => `${directory}/${name}`);
  for (const [at, { text }] of units.entries()) await Deno.writeTextFile(paths[at] ?? "", text);
  return paths;
}

Deno.test({
  name: `systemd-analyze finds nothing wrong with the units${VERIFY}`,
  ignore: VERIFY !== "",
  fn: async () => {
    await using dir = await tempDir();
    // It reads what stands after a colon as an alias.
    for (const [at, pods] of PATHS.map((path) => path.replaceAll(":", "")).entries()) {
      const units = systemdUnits({
        pods,
        store: `${pods}/store`,
        command: "/bin/true",
        deno: pods,
      });
      const paths = await writeAll(units, dir.join(`${at}`));
      assertEquals((await analyze(paths)).stderr, "", pods);
    }
    // A template is verified by an instance of it.
    const template = systemdUnits({ command: "/bin/true" });
    for (const path of await writeAll(template, dir.join("template"))) {
      await Deno.rename(path, path.replace("@.", "@srv-pods."));
    }
    const paths = (await Array.fromAsync(Deno.readDir(dir.join("template")))).map(({ name }) => {
      return dir.join(`template/${name}`);
    });
    assertEquals((await analyze(paths)).stderr, "");
    await Deno.writeTextFile(dir.join("bad.service"), "[Service]\nType=oneshot\nNice=none\n");
    assertStringIncludes((await analyze([dir.join("bad.service")])).stderr, "nice");
  },
});

async function analyze(paths: readonly string[]): Promise<{ stderr: string }> {
  const args = ["verify", "--man=no", ...paths];
  const { stderr } = await new Deno.Command("systemd-analyze", { args, stdin: "null" }).output();
  return { stderr: new TextDecoder().decode(stderr) };
}

Deno.test({
  name: `escapeInstance() escapes as systemd-escape does${VERIFY}`,
  ignore: VERIFY !== "",
  fn: async () => {
    for (const path of [...PATHS, "/", "//a//b/"]) {
      const name = (await sh("systemd-escape", "--path", "--", path)).trimEnd();
      assertEquals(escapeInstance(path), name, path);
    }
  },
});

Deno.test({
  name: `systemd reads the paths in the units as they are${MANAGER}`,
  ignore: MANAGER !== "",
  fn: async () => {
    await using dir = await tempDir();
    await Deno.mkdir(dir.join("run"));
    await sh("chown", "65534", dir.join("run"));
    for (const [at, pods] of PATHS.entries()) {
      const units = systemdUnits({ pods, store: pods, command: "/bin/true", deno: pods });
      await writeAll(units, dir.join(`${at}`));
      await sh("chmod", "-R", "a+rX", dir.path);
      const [restore] = units;
      assert(restore !== undefined);
      const dump = await manager(dir.join(`${at}`), dir.join("run"), restore.name);
      assertStringIncludes(dump, `ConditionPathIsDirectory: ${pods} untested`);
      assertStringIncludes(dump, `RequiresMountsFor: ${pods} (`);
      assertStringIncludes(dump, `Environment: PATH=${[pods, ...SYSTEMD_PATH].join(":")}\n`);
      const lines = [...dump.matchAll(/Command Line: (.*)/g)].map(([, line = ""]) => line);
      assertEquals(lines.length, 2);
      const expected = ["ExecStart", "ExecStop"].map((key) =>
        split(valuesOf(restore, key)[0] ?? "")
      );
      assertEquals(await Promise.all(lines.map(words)), expected, pods);
      assertEquals([expected[0]?.[3], expected[1]?.[3]], [pods, pods]);
    }
  },
});

/** Asks systemd what it reads in a unit. It runs as another user, since it refuses to do so as root. */
async function manager(units: string, runtime: string, name: string): Promise<string> {
  const env = [`XDG_RUNTIME_DIR=${runtime}`, `HOME=${runtime}`, `SYSTEMD_UNIT_PATH=${units}:`];
  const user = ["--reuid=65534", "--regid=65534", "--clear-groups", "env", "-i"];
  const systemd = ["/lib/systemd/systemd", "--test", "--user", "--no-pager", `--unit=${name}`];
  const text = await sh("setpriv", ...user, ...env, "LC_ALL=C.UTF-8", ...systemd);
  const [, own = ""] = text.split(`-> Unit ${name}:\n`);
  return own.split("\n\t-> Unit ")[0]?.split(/^-> Unit /m)[0] ?? "";
}

/** Reads a command line that systemd prints for a shell; the dollar signs are still twice there. */
async function words(line: string): Promise<string[]> {
  const text = await sh("sh", "-c", `printf '%s\\n' ${line}`);
  return text.replace(/\n$/, "").split("\n").map((word) => word.replaceAll("$$", "$"));
}

/** Runs a command line of a unit as systemd does: these words, and nothing in the environment but its own. */
async function runLine(unit: Unit, key: string): Promise<{ code: number; stderr: string }> {
  const [line = ""] = valuesOf(unit, key);
  const [environment = `PATH=${SYSTEMD_PATH.join(":")}`] = valuesOf(unit, "Environment");
  const [command = "", ...args] = split(line);
  const { code, stderr } = await new Deno.Command("env", {
    args: ["-i", ...split(environment), command, ...args],
    stdin: "null",
  }).output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

Deno.test("the command lines of the units restore pods, unmount and collect them", async () => {
  await using dir = await tempDir();
  const place = { ...await makePlace(dir), pods: dir.join("my pods $HOME 50%") };
  await Deno.mkdir(place.pods);
  const [a, b] = [await mountedPod(place, "a"), await mountedPod(place, "b")];
  await idlePod(place, "c");
  const script = dir.join("overlay-render");
  const cli = new URL("../../cli.ts", import.meta.url).pathname;
  await Deno.writeTextFile(script, `#!/bin/sh\nexec deno run -A -q ${cli} "$@"\n`, { mode: 0o755 });
  const store = dir.join("store");
  await Deno.mkdir(store);
  const deno = Deno.execPath().replace(/\/[^/]*$/, "");
  const units = systemdUnits({ pods: place.pods, store, command: script, deno });
  const [restore, gc, , treeGc] = units;
  assert(restore !== undefined && gc !== undefined && treeGc !== undefined);
  const clean = { code: 0, stderr: "" };
  assertEquals(await runLine(restore, "ExecStop"), clean);
  assertEquals(await mountsBelow(dir.path), []);
  assertEquals(await runLine(gc, "ExecStart"), clean);
  assertEquals([await isMissing(a.pod), await isMissing(`${place.pods}/c`)], [false, true]);
  assertEquals(await runLine(restore, "ExecStart"), clean);
  assertEquals(await mountsBelow(dir.path), [a.rootfs, b.rootfs]);
  assertEquals(await runLine(treeGc, "ExecStart"), clean);
  assertEquals(await runLine(restore, "ExecStop"), clean);
});

Deno.test("no unit makes a mount namespace, in which its mounts would be hidden", () => {
  const all = systemdUnits({ pods: "/srv/pods", command: "/bin/true" });
  const hiding =
    /^(Protect|Private|ReadOnly|ReadWrite|Inaccessible|TemporaryFile|Bind|Root|Mount|MemoryDeny|Dynamic)/m;
  for (const { text } of all) assertEquals(hiding.exec(text), null);
});

Deno.test("systemdUnits() without a directory makes templates", () => {
  const units = systemdUnits({ command: "/usr/bin/overlay-render" });
  assertEquals(units.map(({ name }) => name), [
    "overlay-render-restore@.service",
    "overlay-render-gc@.service",
    "overlay-render-gc@.timer",
    "overlay-render-tree-gc@.service",
    "overlay-render-tree-gc@.timer",
  ]);
  assertEquals(valuesOf(units[0] as Unit, "ExecStart"), [
    "/usr/bin/overlay-render restore --pods %f --quiet",
  ]);
});

Deno.test("overlay-render systemd prints the units, and refuses a path that no unit can name", async () => {
  const args = ["systemd", "/srv/pods", "--command=/usr/bin/overlay-render"];
  const { status, stdout, stderr } = await runMain(args);
  assertEquals([status, stderr], [0, ""]);
  const units = systemdUnits({ pods: "/srv/pods", command: "/usr/bin/overlay-render" });
  for (const { name, text } of units) {
    assertStringIncludes(stdout, `# /etc/systemd/system/${name}\n${text}`);
  }
  const json = await runMain([...args, "--json"]);
  assertEquals(JSON.parse(json.stdout), { version: 1, units });
  await using dir = await tempDir();
  for (const path of ["/srv/a\nb", "/srv/a\tb", "/srv/a ", "/srv/a\\", "/srv/\ufffd"]) {
    await assertFails(dir.path, ["systemd", path, "--command=/bin/true"], {
      status: 2,
      code: "invalid-value",
    });
  }
  const long = `/srv/${"é".repeat(80)}`;
  await assertFails(dir.path, ["systemd", long, "--command=/bin/true"], {
    status: 2,
    code: "invalid-value",
  });
  await assertFails(dir.path, ["systemd"], { status: 2, code: "usage" });
  await assertFails(dir.path, ["systemd", "/a", "/b"], { status: 2, code: "usage" });
});

Deno.test("overlay-render systemd writes the units into a directory, with the flags that it prints", async () => {
  await using dir = await tempDir();
  const out = dir.join("units");
  const args = ["systemd", "/srv/pods", "--command=/bin/true", "--out", out];
  await assertFails(dir.path, args, { status: 1, code: "missing", path: out });
  await Deno.mkdir(out);
  const flags = (await runMain([...args, "--flags", "--json"])).stdout;
  const dry = await runMain([...args, "--dry-run"]);
  assertEquals([dry.status, await Array.fromAsync(Deno.readDir(out))], [0, []]);
  const all: string[] = JSON.parse(flags).flags;
  for (const left of all) {
    const { status } = await runMainWith(all.filter((flag) => flag !== left), args);
    assertEquals([left, status], [left, 4]);
  }
  // A link in the place of a unit is replaced, and not followed.
  await Deno.symlink(dir.join("victim"), `${out}/overlay-render-gc@srv-pods.timer`);
  const { status, stderr } = await runMainWith(all, args);
  assertEquals(status, 0, stderr);
  assertMatch(stderr, /^to start them: systemctl .*overlay-render-restore@srv-pods\.service /);
  const { written } = JSON.parse((await runMain([...args, "--json"])).stdout);
  assertEquals(written.length, 5);
  for (const path of written) {
    const info = await Deno.lstat(path);
    assertEquals([info.isFile, (info.mode ?? 0) & 0o777], [true, 0o644]);
  }
  assertEquals(await isMissing(dir.join("victim")), true);
  if (!isRealRoot) return;
  await sh("chmod", "0777", out);
  await assertFails(dir.path, args, { status: 3, code: "shared-pod" });
});
