import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { cli } from "../_cli.ts";
import { isRealRoot } from "../_privilege.ts";
import { tempDir } from "../_temp.ts";
import { makeUser, plainUser, USER } from "../_user.ts";

const { ignore, suffix } = plainUser;

Deno.test({
  name: `unshare makes a user root, with all ids of his range${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const user = await makeUser(dir);
    const script = "id -u; cat /proc/self/uid_map; touch f; chown 33:65535 f; stat -c %u:%g f";

    const { status, stdout, stderr } = await user.cli("unshare", "--", "sh", "-c", script);

    assertEquals([status, stderr], [0, ""]);
    const [uid, own, range, owner] = stdout.trim().split("\n").map((line) => line.trim());
    assertEquals([uid, owner], ["0", "33:65535"]);
    assertMatch(own ?? "", new RegExp(`^0 +${USER.uid} +1$`));
    assertMatch(range ?? "", new RegExp(`^1 +${USER.start} +65535$`));
    const { uid: outside } = await Deno.stat(`${user.home}/f`);
    assertEquals(outside, USER.start + 32);
  },
});

Deno.test({
  name: `unshare without a range maps one id, and says how to get more${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const user = await makeUser(dir, { range: null });
    const command = ["sh", "-c", "wc -l </proc/self/uid_map"];
    const { status, stdout, stderr } = await user.cli("unshare", "--", ...command);
    assertEquals([status, stdout], [0, "1\n"]);
    const mend = "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 somebody";
    assertStringIncludes(stderr, "warning: only your own id is mapped");
    assertStringIncludes(stderr, mend);
    const quiet = await user.cli("unshare", "--quiet", ...command);
    assertEquals(quiet, { status: 0, stdout: "1\n", stderr: "" });
  },
});

Deno.test({
  name: `unshare says what forbids a namespace${suffix}`,
  ignore,
  async fn(): Promise<void> {
    const copy = "cp /bin/newuidmap etc-copy && mount --bind etc-copy /bin/newuidmap";
    for (
      const [before, reason, hint] of [
        [copy, /newuidmap/, "sudo chmod u+s /bin/newuidmap"],
        [
          `${copy}; echo 0 >zero; mount --bind zero /proc/sys/user/max_user_namespaces`,
          /user\.max_user_namespaces is 0/,
          "sudo sysctl user.max_user_namespaces=15000",
        ],
      ] as const
    ) {
      await using dir = await tempDir();
      const user = await makeUser(dir, { before });
      const { status, stderr } = await user.cli("unshare", "true");
      assertEquals(status, 125);
      assertMatch(stderr, reason);
      assertStringIncludes(stderr, "error: Cannot make a user namespace: ");
      assertStringIncludes(stderr, `hint: ${hint}`);
    }
  },
});

Deno.test({
  name: `unshare hands on the exit status, or the signal${isRealRoot ? "" : " [skipped: root]"}`,
  ignore: !isRealRoot,
  async fn(): Promise<void> {
    for (
      const [command, must] of [
        [["sh", "-c", "exit 7"], 7],
        [["sh", "-c", "exit 1"], 1],
        [["sh", "-c", "kill -TERM $$"], 143],
        [["/no/such"], 127],
        [["/etc/passwd"], 126],
        [[], 2],
      ] as const
    ) {
      const { status } = await cli(["unshare", "--", ...command]);
      assertEquals(status, must, command.join(" "));
    }
  },
});

Deno.test({
  name: `the variable alone makes root no user${isRealRoot ? "" : " [skipped: root]"}`,
  ignore: !isRealRoot,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await Deno.mkdir(dir.join("lower"));
    const args = ["plan", "--lower", dir.join("lower"), "--pod", dir.join("pod")];
    const plain = await cli(args);
    for (const uid of [0, 1000]) {
      const env = { OVERLAY_RENDER_NAMESPACE: `${uid}:${Deno.pid}` };
      assertEquals(await cli(args, { env }), plain);
    }
  },
});

Deno.test("unshare needs each of the flags that it prints", async () => {
  const printed = await cli(["unshare", "--flags"]);
  const flags = printed.stdout.trim().split(" ");
  assertEquals((await cli(["unshare", "true"], { flags })).status, 0);
  for (const flag of flags) {
    const others = flags.filter((other) => other !== flag);
    const { status, stderr } = await cli(["unshare", "true"], { flags: others });
    assertEquals(status, 125, flag);
    assertStringIncludes(stderr, flag);
  }
});

Deno.test("unshare passes the flags of its command on", async () => {
  const { status, stdout } = await cli(["unshare", "printf", "%s", "--help"]);
  assertEquals([status, stdout], [0, "--help"]);
});

Deno.test("unshare hands SIGTERM on, and its command ends with it when it is killed", async () => {
  const script = 'trap "echo ended; exit 3" TERM; echo ready; while :; do sleep 0.05; done';
  for (const [signal, must] of [["SIGTERM", 3], ["SIGKILL", 137]] as const) {
    const { commandLine } = await import("../_cli.ts");
    const [program = "", ...args] = commandLine(["unshare", "--", "sh", "-c", script]);
    const child = new Deno.Command(program, { args, stdout: "piped" }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assertStringIncludes((await reader.read()).value ?? "", "ready");
    child.kill(signal);
    assertEquals((await child.status).code, must);
    // The pipe ends when the command has ended, too.
    for (let end = await reader.read(); !end.done;) end = await reader.read();
  }
});
