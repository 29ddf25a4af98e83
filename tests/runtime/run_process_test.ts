import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import { checkNamespace, tryNamespace } from "../../lib/runtime/namespace_trial.ts";
import { runForeground } from "../../lib/runtime/run_process.ts";
import {
  describeOneId,
  enterArgv,
  findEntry,
  ROOT_FLAGS,
  runInNamespace,
} from "../../lib/runtime/user_namespace.ts";

const sh = (script: string): readonly string[] => ["/bin/sh", "-c", script];

Deno.test("runForeground() returns the exit status of a program, or the signal that ended it", async () => {
  assertEquals(await runForeground(sh("exit 7")), { code: 7, signal: null });
  assertEquals(await runForeground(sh("kill -KILL $$")), { code: 137, signal: "SIGKILL" });
  assertEquals(
    (await runForeground(sh('[ "$PWD $A" = "/ b" ]'), { cwd: "/", env: { A: "b" } })).code,
    0,
  );
});

Deno.test("runForeground() ends a program when it is aborted", async () => {
  const signal = AbortSignal.timeout(100);
  assertEquals(await runForeground(sh("exec sleep 600"), { signal }), {
    code: 143,
    signal: "SIGTERM",
  });
  const aborted = AbortSignal.abort();
  assertEquals((await runForeground(sh("exec sleep 600"), { signal: aborted })).signal, "SIGTERM");
});

Deno.test("runForeground() hands on a signal that this process gets", async () => {
  const script = `trap 'exit 9' USR2; kill -USR2 ${Deno.pid}; while :; do sleep 0.05; done`;
  assertEquals((await runForeground(sh(script))).code, 9);
});

Deno.test("runForeground() of what is not there is an error", async () => {
  await assertRejects(() => runForeground(["/nowhere/program"]), OverlayError, "it is not there");
});

Deno.test("findEntry() of a user without a range maps his own id, and says how to get one", async () => {
  const uid = 54_321;
  const { flags, ids, oneId } = await findEntry(uid);
  assertEquals([flags, ids], [ROOT_FLAGS, 1]);
  assert(oneId !== null);
  assertStringIncludes(describeOneId(oneId), `user ${uid} has no range of ids`);
  assertStringIncludes(oneId.hint, "usermod --add-subuids");
  const argv = enterArgv({ flags, ids, oneId }, ["/bin/true"]);
  assertEquals([argv[0], argv.at(-1)], ["/bin/unshare", "/bin/true"]);
});

Deno.test("runInNamespace() tells a namespace that cannot be made from a command that fails", async () => {
  const works = await tryNamespace(ROOT_FLAGS) === null;
  const entry = { flags: ROOT_FLAGS, ids: 1, oneId: null };
  if (works) {
    assertEquals((await runInNamespace(entry, sh("exit 1"))).code, 1);
    assertEquals((await runInNamespace(entry, sh('[ "$(id -u)" = 0 ] && exit 5'))).code, 5);
    await checkNamespace(ROOT_FLAGS);
  }
  const wrong = { ...entry, flags: ["--user", "--setgroups=deny", "--map-user=no-such-user"] };
  const found = await tryNamespace(wrong.flags);
  assert(found !== null && found.reason !== "" && found.hint !== "");
  const error = await assertRejects(() => runInNamespace(wrong, ["/bin/true"]), OverlayError);
  assertEquals(error.code, "no-namespace");
});
