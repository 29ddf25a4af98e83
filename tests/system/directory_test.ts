import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  dropSetgid,
  InvalidValueError,
  makeDirectory,
  OverlayError,
  RefusedError,
  setGroup,
} from "../../mod.ts";
import { cli } from "../_cli.ts";
import { flagsOf } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import { modeOf, sh, snapshot, tempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS, namesIn } from "../_tree.ts";
import { underUmask } from "../_umask.ts";

const MODES = [0o000, 0o700, 0o750, 0o755, 0o777, 0o1777, 0o2755, 0o4711, 0o7777];
const UMASKS = [0o000, 0o022, 0o077, 0o777];
const PARENTS = [0o755, 0o2755, 0o2700];

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

Deno.test("makeDirectory() gives exactly the mode, whatever the umask and the directory above", async () => {
  await using dir = await tempDir();
  for (const parent of PARENTS) {
    const above = dir.join(octal(parent));
    await Deno.mkdir(above);
    await Deno.chmod(above, parent);
    for (const umask of UMASKS) {
      for (const mode of MODES) {
        const path = `${above}/${octal(umask)}-${octal(mode)}`;
        const result = underUmask(umask, () => makeDirectory(path, mode));
        assertEquals(result, { made: true, owned: true });
        assertEquals(modeOf(path), octal(mode), path);
      }
    }
    assertEquals(modeOf(above), octal(parent));
  }
});

Deno.test("makeDirectory() leaves a directory that is there as it is", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("there"));
  await Deno.chmod(dir.join("there"), 0o2711);
  await Deno.writeTextFile(dir.join("there", "file"), "kept");
  const before = await snapshot(dir.path);
  const result = makeDirectory(dir.join("there"), 0o1777, { uid: 1234, gid: 1234 });
  assertEquals(result, { made: false, owned: true });
  assertEquals(await snapshot(dir.path), before);
});

Deno.test({
  name: "makeDirectory() gives the owner and group of another [skipped: needs root]",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    await Deno.chown(dir.path, 0, 4321);
    await Deno.chmod(dir.path, 0o2755);
    const owners = [[1234, 2345], [null, 2345], [1234, null], [null, null], [0, 0]] as const;
    for (const [at, [uid, gid]] of owners.entries()) {
      const path = dir.join(`${at}`);
      assertEquals(makeDirectory(path, 0o7751, { uid, gid }), { made: true, owned: true });
      const info = await Deno.lstat(path);
      // What is not asked for is as mkdir(2) made it: ours, and the group of the setgid directory above.
      assertEquals([info.uid, info.gid], [uid ?? 0, gid ?? 4321]);
      assertEquals(modeOf(path), "7751");
    }
  },
});

Deno.test({
  name: "makeDirectory() makes it even for who may not give it away [skipped: needs root]",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const lower = await makeTree(dir.join("image"));
    await Deno.chown(lower, 1234, 2345);
    await Deno.chmod(lower, 0o1775);
    const request = { lower, pod: dir.join("pod"), app: "web", options: MARKS };
    const wrapper = ["setpriv", "--bounding-set=-chown"];
    const { status, stdout, stderr } = await cli(["render", ...flagsOf(request)], { wrapper });
    assertEquals(status, 0, stderr);
    const rootfs = stdout.trimEnd();
    const lines = stderr.trimEnd().split("\n");
    assertEquals(lines.length, 2);
    const reason = "keeps its owner: only root may give it to user 1234, group 2345";
    for (const line of lines) assertStringIncludes(line, reason);
    assertEquals([modeOf(rootfs), (await Deno.stat(rootfs)).uid], ["1775", 0]);
    const quiet = await cli(["render", "--quiet", ...flagsOf({ ...request, app: "db" })], {
      wrapper,
    });
    assertEquals([quiet.status, quiet.stderr], [0, ""]);
  },
});

Deno.test("makeDirectory() refuses a symlink and fails for a file, and leaves both", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("directory"));
  await Deno.writeTextFile(dir.join("file"), "kept");
  await Deno.symlink(dir.join("directory"), dir.join("link"));
  await Deno.symlink(dir.join("none"), dir.join("dangling"));
  await Deno.symlink(dir.join("loop"), dir.join("loop"));
  await sh("mkfifo", dir.join("pipe"));
  const before = await snapshot(dir.path);
  for (const act of [makeDirectory, dropSetgid, setGroup]) {
    for (const name of ["link", "dangling", "loop"]) {
      const error = assertThrows(() => act(dir.join(name), 0o700), RefusedError);
      assertEquals([error.code, error.path], ["symlink", dir.join(name)]);
    }
    for (const name of ["file", "pipe"]) {
      const error = assertThrows(() => act(dir.join(name), 0o700), OverlayError);
      assertEquals([error.code, error.path], ["not-a-directory", dir.join(name)]);
    }
    for (const name of ["none/below", "file/below"]) {
      const error = assertThrows(() => act(dir.join(name), 0o700), OverlayError);
      assertEquals([error.code, error.path], ["failed", dir.join(name)]);
    }
  }
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("makeDirectory() fails where it may not, and says why", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("locked"));
  await sh("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "--", dir.join("locked"));
  const path = dir.join("locked", "made");
  const error = assertThrows(() => makeDirectory(path, 0o700), OverlayError);
  assertEquals(error.message, `Cannot make directory "${path}": Read-only file system`);
  assertEquals(error.hint, "make its file system writable again, or choose another place");
});

Deno.test("makeDirectory() takes its directory back when it cannot be finished", async () => {
  await using dir = await tempDir();
  const like = {
    gid: null,
    get uid(): number {
      // The directory is there by now, closed to everybody else.
      assertEquals(modeOf(dir.join("made")), "0700");
      throw new Error("no owner");
    },
  };
  assertThrows(() => makeDirectory(dir.join("made"), 0o755, like), Error, "no owner");
  assertEquals(await namesIn(dir.path), []);
});

Deno.test("makeDirectory() makes each directory once when two processes want them", async () => {
  await using dir = await tempDir();
  const script = `import { makeDirectory } from "./lib/system/directory.ts";
    let made = 0;
    for (let i = 0; i < 2000; i++) made += Number(makeDirectory(\`${dir.path}/\${i}\`, 0o1771).made);
    console.log(made);`;
  const cwd = new URL("../../", import.meta.url).pathname;
  const run = async () => {
    const command = new Deno.Command(Deno.execPath(), { args: ["eval", script], cwd });
    const { stdout, stderr } = await command.output();
    return Number(new TextDecoder().decode(stdout) || new TextDecoder().decode(stderr));
  };
  const made = await Promise.all([run(), run()]);
  assertEquals(made.reduce((sum, count) => sum + count, 0), 2000);
  const names = await namesIn(dir.path);
  assertEquals(names.length, 2000);
  assertEquals(new Set(names.map((name) => modeOf(dir.join(name)))), new Set(["1771"]));
});

Deno.test("dropSetgid() sets the mode, returns the old one, and touches nothing that is right", async () => {
  await using dir = await tempDir();
  for (const had of [0o2750, 0o750, 0o3777, 0o000]) {
    const path = dir.join(octal(had));
    await Deno.mkdir(path);
    await Deno.chmod(path, had);
    const changed = async () => (await sh("stat", "-c", "%z", path)).trim();
    const before = await changed();
    assertEquals(dropSetgid(path, 0o750), had);
    assertEquals(modeOf(path), "0750");
    assertEquals(await changed() === before, had === 0o750);
  }
  const missing = dir.join("none");
  const error = assertThrows(() => dropSetgid(missing, 0o750), OverlayError);
  assertEquals([error.code, error.path], ["failed", missing]);
  assertEquals(await isMissing(missing), true);
});

Deno.test({
  name: "setGroup() sets the group alone, and returns the old one [skipped: needs root]",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    await Deno.chown(dir.path, 1234, 0);
    await Deno.chmod(dir.path, 0o7750);
    for (const [gid, had] of [[2345, 0], [2345, 2345], [4294967294, 2345], [0, 4294967294]]) {
      assertEquals(setGroup(dir.path, gid ?? 0), had);
      const info = await Deno.lstat(dir.path);
      assertEquals([info.uid, info.gid, modeOf(dir.path)], [1234, gid, "7750"]);
    }
    await Deno.chown(dir.path, 0, 0);
  },
});

Deno.test("setGroup() refuses an id that chown(2) would take for another", async () => {
  await using dir = await tempDir();
  const { gid } = await Deno.stat(dir.path);
  // 2^32 - 1 means "leave it", and 2^32 would be root.
  for (const id of [4294967295, 4294967296, -1, 1.5, NaN, Infinity]) {
    assertThrows(() => setGroup(dir.path, id), InvalidValueError);
    assertEquals((await Deno.stat(dir.path)).gid, gid);
  }
});

Deno.test("makeDirectory() and dropSetgid() refuse a mode that is none", async () => {
  await using dir = await tempDir();
  await Deno.chmod(dir.path, 0o750);
  for (const mode of [0o10000, -1, 1.5, NaN]) {
    assertThrows(() => makeDirectory(dir.join("made"), mode), InvalidValueError);
    assertThrows(() => dropSetgid(dir.path, mode), InvalidValueError);
    assertEquals([await namesIn(dir.path), modeOf(dir.path)], [[], "0750"]);
  }
});

Deno.test("makeDirectory() needs permissions for the path", { permissions: "none" }, () => {
  for (const act of [makeDirectory, dropSetgid, setGroup]) {
    assertThrows(() => act("/no/such/path", 0o700), Deno.errors.NotCapable);
  }
});
