import { assertEquals, assertRejects } from "@std/assert";
import { OverlayError } from "../../mod.ts";
import { findPrinted } from "../../lib/system/find.ts";
import { describeFailure, programError, run } from "../../lib/system/run.ts";
import { tempDir } from "../_temp.ts";

Deno.test("run() answers with status, stdout and trimmed stderr", async () => {
  const script = "printf ' out \\n'; printf '\\n err \\n' >&2; exit 7";
  const result = await run("/bin/sh", ["-c", script], { cwd: "/" });
  assertEquals(result, {
    argv: ["/bin/sh", "-c", script],
    status: 7,
    stdout: " out \n",
    stderr: "err",
  });
});

Deno.test("run() hands down an environment of its own", async () => {
  Deno.env.set("OVERLAY_RENDER_CANARY", "inherited");
  try {
    const { stdout } = await run("/usr/bin/env", [], { cwd: "/" });
    assertEquals(stdout.trim().split("\n").sort(), [
      "LC_ALL=C",
      "LIBMOUNT_FORCE_MOUNT2=always",
      "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    ]);
  } finally {
    Deno.env.delete("OVERLAY_RENDER_CANARY");
  }
});

Deno.test("run() hands over arguments as they are, without a shell", async () => {
  const args = ["%s\\0", "$(id)", "`id`", "a b", "*", "'", '"', "", "\n", "-x", "ä"];
  const { stdout } = await run("/usr/bin/printf", args, { cwd: "/" });
  assertEquals(stdout.split("\0").slice(0, -1), args.slice(1));
});

Deno.test("run() runs in the directory it is told", async () => {
  await using dir = await tempDir();
  const { stdout } = await run("/bin/sh", ["-c", "pwd -P"], { cwd: dir.path });
  assertEquals(stdout, `${dir.path}\n`);
});

Deno.test("run() gives nothing to read", async () => {
  assertEquals((await run("/bin/cat", [], { cwd: "/" })).stdout, "");
});

Deno.test("run() says 128 and the signal for a program that a signal ended", async () => {
  assertEquals((await run("/bin/sh", ["-c", "kill -9 $$"], { cwd: "/" })).status, 137);
});

Deno.test("run() tells the command line before it runs", async () => {
  await using dir = await tempDir();
  const told: (readonly string[])[] = [];
  const trace = (argv: readonly string[]) => void told.push(argv);
  const program = dir.join("none");
  await assertRejects(() => run(program, ["-x"], { cwd: "/", trace }), OverlayError);
  assertEquals(told, [[program, "-x"]]);
});

Deno.test("run() names a program that is not there, and one that cannot be run", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(dir.join("plain"), "no program", { mode: 0o644 });
  for (const name of ["none", "plain"]) {
    const program = dir.join(name);
    const error = await assertRejects(() => run(program, [], { cwd: "/" }), OverlayError);
    assertEquals([error.code, error.path], ["failed", program]);
    assertEquals(error.message.startsWith(`Cannot run "${program}": `), true);
  }
});

Deno.test("run() needs the permission to run the program", {
  permissions: { run: ["/bin/mount"] },
}, async () => {
  await assertRejects(() => run("/bin/umount", [], { cwd: "/" }), Deno.errors.NotCapable);
});

/** How a program ended, and how that is told. */
const ENDED: readonly (readonly [status: number, stderr: string, told: string])[] = [
  [1, "cp: no\n  space \n\n", 'cp failed with exit status 1: "cp: no space"'],
  [1, 'a\nb\nc\nd "e"\u001b', 'cp failed with exit status 1: "a b c"'],
  [7, 'say "x"\u001b', 'cp failed with exit status 7: "say \\"x\\"\\u001b"'],
  [2, " ", "cp failed with exit status 2"],
  [137, "", "cp was ended by signal 9"],
  [0, "odd", 'cp reported an error: "odd"'],
];

for (const [status, stderr, told] of ENDED) {
  Deno.test(`describeFailure() tells status ${status} and ${JSON.stringify(stderr)}`, {
    permissions: "none",
  }, () => {
    const result = { argv: ["/bin/cp", "-a"], status, stderr };
    assertEquals(describeFailure(result), told);
    assertEquals(programError(result, "copy", "/a", { hint: "do" }).toJSON(), {
      code: "failed",
      message: `Cannot copy "/a": ${told}`,
      path: "/a",
      hint: "do",
    });
    const { message, path } = programError(result, "copy all", null);
    assertEquals([message, path], [`Cannot copy all: ${told}`, null]);
  });
}

Deno.test("findPrinted() separates files and fields whatever their names are", async () => {
  await using dir = await tempDir();
  const names = ["a\nb c", "d"];
  for (const name of names) await Deno.writeTextFile(dir.join(name), name);
  const args = [dir.path, "-mindepth", "1"];
  const { records, result } = await findPrinted(args, ["%f", "%s"], {});
  assertEquals(result.status, 0);
  assertEquals([...records].sort(), names.map((name) => [name, `${name.length}`]).sort());
  const missing = await findPrinted([dir.path, "/missing", "-maxdepth", "0"], ["%p"], {});
  assertEquals([missing.records, missing.result.status], [[[dir.path]], 1]);
  assertEquals((await findPrinted([dir.path, "-name", "x"], ["%p"], {})).records, []);
});
