import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { OverlayError, RefusedError } from "../../mod.ts";
import {
  attempt,
  describeError,
  describeType,
  look,
  lookForDirectory,
} from "../../lib/system/disk.ts";
import { openRegular, readRegular } from "../../lib/system/regular_file.ts";
import { readOwnFile, replaceFile } from "../../lib/system/own_file.ts";
import { afterFirst, writerOf } from "../_fifo.ts";
import { isRealRoot } from "../_privilege.ts";
import { modeOf, sh, snapshot, tempDir } from "../_temp.ts";
import { isMissing, namesIn } from "../_tree.ts";
import { underUmask } from "../_umask.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

Deno.test("replaceFile() makes a file of exactly the mode, whatever the umask", async () => {
  await using dir = await tempDir();
  for (const umask of [0o000, 0o022, 0o077]) {
    for (const mode of [0o644, 0o640, 0o600, 0o444, 0o755]) {
      const path = dir.join(`${umask}-${mode}`);
      underUmask(umask, () => replaceFile(path, bytes("text\n"), mode));
      assertEquals(modeOf(path), mode.toString(8).padStart(4, "0"));
      assertEquals(await Deno.readTextFile(path), "text\n");
    }
  }
});

Deno.test("replaceFile() replaces a file as a whole", async () => {
  await using dir = await tempDir();
  const path = dir.join("file");
  await Deno.writeTextFile(path, "old and longer");
  using reader = await Deno.open(path);
  replaceFile(path, bytes("new"), 0o640);
  assertEquals([await Deno.readTextFile(path), modeOf(path)], ["new", "0640"]);
  // Who has the old one open reads it to its end.
  const old = await new Response(reader.readable).text();
  assertEquals(old, "old and longer");
  assertEquals(await namesIn(dir.path), ["file"]);
});

Deno.test("replaceFile() replaces a symlink, and not what it leads to", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(dir.join("canary"), "not ours");
  await Deno.symlink(dir.join("canary"), dir.join("file"));
  replaceFile(dir.join("file"), bytes("ours"), 0o600);
  assertEquals(await Deno.readTextFile(dir.join("canary")), "not ours");
  assertEquals((await Deno.lstat(dir.join("file"))).isFile, true);
});

Deno.test("replaceFile() survives what a killed run left beside", async () => {
  await using dir = await tempDir();
  const path = dir.join("file");
  await Deno.writeTextFile(dir.join("canary"), "not ours");
  const leftovers = [
    () => Deno.writeTextFile(`${path}.new`, "half a li", { mode: 0o400 }),
    () => Deno.symlink(dir.join("canary"), `${path}.new`),
    () => Deno.symlink(dir.join("none"), `${path}.new`),
    () => sh("mkfifo", `${path}.new`),
  ];
  for (const leave of leftovers) {
    await leave();
    replaceFile(path, bytes("whole"), 0o600);
    assertEquals([await Deno.readTextFile(path), modeOf(path)], ["whole", "0600"]);
    assertEquals(await namesIn(dir.path), ["canary", "file"]);
  }
  assertEquals(await Deno.readTextFile(dir.join("canary")), "not ours");
});

Deno.test("replaceFile() leaves nothing beside when it fails, and the old file as it was", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("directory", "full"), { recursive: true });
  await Deno.mkdir(dir.join("locked"));
  await sh("mount", "-t", "tmpfs", "tmpfs", "--", dir.join("locked"));
  await Deno.writeTextFile(dir.join("locked", "file"), "old");
  await sh("mount", "-o", "remount,bind,ro", "--", dir.join("locked"));
  const before = [await snapshot(dir.path), await snapshot(dir.join("locked"))];
  const cases = [
    [dir.join("directory"), "Is a directory"],
    [dir.join("locked", "file"), "Read-only file system"],
    [dir.join("none", "file"), "No such file or directory"],
  ] as const;
  for (const [path, reason] of cases) {
    const error = assertThrows(() => replaceFile(path, bytes("new"), 0o600), OverlayError);
    assertEquals([error.code, error.path], ["failed", path]);
    assertEquals(error.message, `Cannot write "${path}": ${reason}`);
    assertInstanceOf(error.cause, Error);
  }
  assertEquals([await snapshot(dir.path), await snapshot(dir.join("locked"))], before);
});

Deno.test("replaceFile() leaves nothing beside when there is no room", async () => {
  await using dir = await tempDir();
  await sh("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "--", dir.path);
  await Deno.writeTextFile(dir.join("file"), "old");
  const big = new Uint8Array(64 * 1024);
  const error = assertThrows(() => replaceFile(dir.join("file"), big, 0o600), OverlayError);
  assertEquals(error.message, `Cannot write "${dir.join("file")}": No space left on device`);
  assertEquals(await namesIn(dir.path), ["file"]);
  assertEquals(await Deno.readTextFile(dir.join("file")), "old");
});

Deno.test("readOwnFile() reads a file, finds none, and refuses everything else", async () => {
  await using dir = await tempDir();
  await Deno.writeFile(dir.join("file"), new Uint8Array([0, 255, 10]));
  await Deno.symlink(dir.join("file"), dir.join("link"));
  await Deno.symlink(dir.join("none"), dir.join("dangling"));
  await Deno.mkdir(dir.join("directory"));
  await sh("mkfifo", dir.join("pipe"));
  assertEquals(readOwnFile(dir.join("file")), new Uint8Array([0, 255, 10]));
  assertEquals(readOwnFile(dir.join("none")), null);
  for (const name of ["link", "dangling", "directory", "pipe"]) {
    const error = assertThrows(() => readOwnFile(dir.join(name)), RefusedError);
    assertEquals([error.code, error.path], ["symlink", dir.join(name)]);
  }
});

Deno.test("look() does not follow, and finds nothing where nothing can be", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(dir.join("file"), "");
  await Deno.symlink(dir.join("file"), dir.join("link"));
  await Deno.symlink(dir.join("loop"), dir.join("loop"));
  assertEquals(look(dir.join("link"))?.isSymlink, true);
  for (const name of ["none", "none/x", "file/x", "link/x", "loop/x"]) {
    assertEquals(look(dir.join(name)), null, name);
  }
  const long = dir.join("x".repeat(256));
  const error = assertThrows(() => look(long), OverlayError);
  assertEquals([error.code, error.path], ["failed", long]);
});

Deno.test("lookForDirectory() says what is there instead", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(dir.join("file"), "");
  await Deno.symlink(dir.path, dir.join("link"));
  await sh("mkfifo", dir.join("pipe"));
  assertEquals(lookForDirectory(dir.path)?.isDirectory, true);
  assertEquals(lookForDirectory(dir.join("none")), null);
  assertThrows(() => lookForDirectory(dir.join("link")), RefusedError, "it is a symlink");
  assertThrows(() => lookForDirectory(dir.join("file")), OverlayError, "it is a file");
  const pipe = dir.join("pipe");
  assertThrows(() => lookForDirectory(pipe), OverlayError, "it is neither a file nor a directory");
});

Deno.test("describeType() says what was looked at", async () => {
  await using dir = await tempDir();
  await Deno.symlink(dir.path, dir.join("link"));
  assertEquals(describeType(await Deno.lstat(dir.join("link"))), "a symlink");
  assertEquals(describeType(await Deno.lstat(dir.path)), "a directory");
  assertEquals(describeType(await Deno.lstat("/etc/passwd")), "a file");
  assertEquals(describeType(await Deno.lstat("/dev/null")), "neither a file nor a directory");
});

Deno.test("attempt() lets through what names its cause already", () => {
  const errors = [new RefusedError("refused", "no"), new Deno.errors.NotCapable("no")];
  for (const error of errors) {
    const act = () => {
      throw error;
    };
    assertEquals(assertThrows(() => attempt("read", "/x", act)), error);
  }
});

Deno.test("attempt() says what to do about what the operating system refuses", async () => {
  await using dir = await tempDir();
  const missing = dir.join("none here", "x");
  const error = assertThrows(() => attempt("read", missing, () => Deno.readFileSync(missing)));
  assertInstanceOf(error, OverlayError);
  assertEquals(error.message, `Cannot read "${missing}": No such file or directory`);
  const above = `'${dir.join("none here")}'`;
  assertEquals(error.hint, `make the directory above it first: mkdir -p ${above}`);
  assertEquals(await isMissing(dir.join("none here")), true);
});

Deno.test("describeError() leaves out the path and the number that Deno adds", () => {
  const error = new Error("Not a directory (os error 20): mkdir '/a\n (os error 2) b'");
  assertEquals(describeError(error), "Not a directory");
  assertEquals(describeError("just words"), "just words");
});

Deno.test("openRegular() opens a file, through a symlink too, and nothing else", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(dir.join("file"), "content");
  await Deno.symlink("file", dir.join("link"));
  await Deno.symlink("nowhere", dir.join("dangling"));
  await sh("mkfifo", dir.join("fifo"));
  for (const name of ["file", "link"]) {
    using file = await openRegular(dir.join(name));
    assertEquals(file.statSync().size, 7);
    assertEquals(new TextDecoder().decode(await readRegular(dir.join(name), 7)), "content");
  }
  const others = {
    fifo: "it is neither",
    dangling: "it does not exist",
    none: "it does not exist",
  };
  for (const [name, reason] of Object.entries(others)) {
    const error = await assertRejects(() => openRegular(dir.join(name)), OverlayError);
    assert(error.message.includes(reason), error.message);
    assertEquals(error.path, dir.join(name));
  }
  for (const path of [dir.path, "/dev/zero"]) {
    await assertRejects(() => openRegular(path), OverlayError, `Cannot read "${path}": it is`);
  }
  const like = await Deno.lstat(dir.join("link"));
  const other = () => openRegular(dir.join("file"), { like });
  await assertRejects(other, OverlayError, "it was replaced meanwhile");
});

Deno.test("readRegular() reads no more than it may", async () => {
  await using dir = await tempDir();
  const path = dir.join("file");
  await Deno.writeFile(path, new Uint8Array(200_000));
  assertEquals((await readRegular(path, 200_000)).length, 200_000);
  const error = await assertRejects(() => readRegular(path, 199_999), OverlayError);
  assertEquals(error.code, "too-large");
});

Deno.test("openRegular() does not hang when a FIFO takes the place of the file", async () => {
  await using dir = await tempDir();
  const [path, fifo] = [dir.join("file"), dir.join("fifo")];
  await Deno.writeTextFile(path, "content");
  await sh("mkfifo", fifo);
  const opens: Promise<unknown>[] = [];
  const real = Deno.open;
  const open = (...args: Parameters<typeof Deno.open>) => {
    const opening = real(...args);
    opens.push(opening);
    return opening;
  };
  let swapped = 0;
  let whenSwapped = () => {};
  Deno.open = (name, options) => {
    if (options !== undefined || name !== path) return open(name, options);
    swapped++;
    Deno.renameSync(path, dir.join("aside"));
    Deno.renameSync(fifo, path);
    whenSwapped();
    return open(name);
  };
  try {
    const error = await assertRejects(() => openRegular(path), OverlayError);
    assertEquals([error.message, swapped], [
      `Cannot read ${JSON.stringify(path)}: it is neither a file nor a directory`,
      1,
    ]);
    // A new FIFO: the first one may still be open where the wait for it was ended.
    await Deno.remove(path);
    await sh("mkfifo", fifo);
    await Deno.rename(dir.join("aside"), path);
    const ended = new AbortController();
    const reason = new Error("enough");
    // Before the wait for the FIFO has its own end, however busy the machine is.
    whenSwapped = () => void setTimeout(() => ended.abort(reason), 0);
    const given = await openRegular(path, { signal: ended.signal }).catch((error) => error);
    assertEquals(given, reason);
  } finally {
    Deno.open = real;
    // Those that were given up end in the background.
    await Promise.allSettled(opens);
  }
});

Deno.test("readOwnFile() does not hang when a FIFO takes the place of the file", async () => {
  await using dir = await tempDir();
  const [path, fifo] = [dir.join("file"), dir.join("fifo")];
  await Deno.writeTextFile(path, "content");
  await sh("mkfifo", fifo);
  await using _writer = writerOf(path);
  using _patch = afterFirst("lstatSync", path, () => Deno.renameSync(fifo, path));
  const error = assertThrows(() => readOwnFile(path), RefusedError);
  assertEquals(error.message, `Cannot read ${JSON.stringify(path)}: it was replaced meanwhile`);
});

Deno.test("readOwnFile() reads no file that took the place of the one that was looked at", async () => {
  await using dir = await tempDir();
  const [path, other] = [dir.join("file"), dir.join("other")];
  await Deno.writeTextFile(path, "content");
  await Deno.writeTextFile(other, "another's");
  {
    using _patch = afterFirst("lstatSync", path, () => {
      Deno.removeSync(path);
      Deno.symlinkSync(other, path);
    });
    assertThrows(() => readOwnFile(path), RefusedError, "it was replaced meanwhile");
  }
  await Deno.remove(path);
  await Deno.writeTextFile(path, "");
  await Deno.truncate(path, (64 << 20) + 1);
  assertEquals(assertThrows(() => readOwnFile(path), OverlayError).code, "too-large");
});

Deno.test({
  name: `attempt() does not tell root of a user namespace to be root${
    isRealRoot ? "" : " [skipped: not root]"
  }`,
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const path = dir.join("closed");
    await Deno.mkdir(path, { mode: 0o700 });
    await Deno.chown(path, 1234, 1234);
    const script = 'import { attempt } from "./lib/system/disk.ts";' +
      "try { attempt('read', Deno.args[0], () => [...Deno.readDirSync(Deno.args[0])]) }" +
      "catch (error) { console.log(error.hint) }";
    const root = new URL("../../", import.meta.url).pathname;
    const deno = [Deno.execPath(), "eval", "--quiet", `--config=${root}deno.json`, script, path];
    const output = await new Deno.Command("unshare", {
      args: ["--user", "--map-root-user", ...deno],
      cwd: root,
    }).output();
    const hint = new TextDecoder().decode(output.stdout);
    assert(/^root may not: .* or this is a user namespace, /.test(hint), hint);
  },
});

Deno.test("readOwnFile() reads the file that a command has put in place of the one that was looked at", async () => {
  await using dir = await tempDir();
  const [path, other] = [dir.join("file"), dir.join("file.new")];
  await Deno.writeTextFile(path, "old");
  await Deno.writeTextFile(other, "new");
  using _patch = afterFirst("lstatSync", path, () => Deno.renameSync(other, path));
  assertEquals(new TextDecoder().decode(readOwnFile(path) ?? new Uint8Array()), "new");
});
