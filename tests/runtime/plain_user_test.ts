import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isUsers, makeUser, plainUser, USER } from "../_user.ts";
import type { PlainUser } from "../_user.ts";
import { sh } from "../_temp.ts";

const { ignore, suffix } = plainUser;

/** Makes an image with busybox, for root alone or with files of other ids, in the home of the user. */
async function makeArchive(dir: TempDir, { home }: PlainUser, others: boolean): Promise<string> {
  const root = dir.join("image");
  const script = `mkdir -p "$1/bin" "$1/etc" "$1/usr/share/doc/a" "$1/home" "$1/proc" "$1/dev" &&
    cp /bin/busybox "$1/bin" && cd "$1" && for name in sh cat chown rm mkdir touch id true; do
    ln -sf busybox bin/$name; done && echo hello >motd && echo x >usr/share/doc/a/x &&
    echo "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/:/bin/sh" >etc/passwd && : >etc/resolv.conf &&
    echo secret >etc/shadow && chmod 640 etc/shadow`;
  const owners = others ? "chown 0:42 etc/shadow && chown 33:33 home" : ":";
  const pack = `tar -cf "$2" . && chown ${USER.uid} "$2"`;
  await sh("sh", "-c", `${script} && ${owners} && ${pack}`, "sh", root, `${home}/image.tar`);
  return `${home}/image.tar`;
}

const APP = "chown 33 motd; rm -r usr/share/doc; mkdir usr/share/doc; touch usr/share/doc/new";

async function countIn(directory: string): Promise<number> {
  return (await Array.fromAsync(Deno.readDir(directory))).length;
}

/** Checks that nothing of other ids is left, no mount, and no process of the user. */
async function assertNothingLeft({ home }: PlainUser): Promise<void> {
  assertEquals(await sh("find", home, "!", "-user", String(USER.uid)), "");
  assertEquals(
    (await sh("findmnt", "--list", "--noheadings", "--output", "TARGET")).includes(home),
    false,
  );
  // A process that has ended stays listed until process 1 asks for its status.
  const all = (await sh("ps", "-e", "--format", "uid=,stat=,args=")).trim().split("\n");
  const running = all.map((line) => line.trim()).filter((line) => !/^\d+ +Z/.test(line));
  assertEquals(running.filter((line) => isUsers(parseInt(line, 10))), []);
}

Deno.test({
  name: `a user imports, prepares, changes, exports and collects in a store of his own${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const user = await makeUser(dir);
    const archive = await makeArchive(dir, user, true);
    const store = `${user.home}/.local/share/overlay-render`;

    const printed = await user.cli("tree", "import", archive, "--flags");
    assertEquals([printed.status, printed.stderr], [0, ""]);
    const flags = printed.stdout.trim().split(" ");
    const least = (...flags: string[]) => user.cliWith(flags, "tree", "import", archive, "-q");
    // The flags do not allow to make what is above the store.
    await user.run("mkdir", "-p", `${user.home}/.local/share`);
    assertEquals((await least(...flags)).stderr, "");
    assertEquals(await countIn(`${store}/tree`), 1);
    for (const flag of ["--allow-env", "--allow-sys"]) {
      assertEquals(
        (await least(...flags.filter((one) => !one.startsWith(flag)))).status !== 0,
        true,
      );
    }

    const imported = await user.cli("tree", "import", archive, "--name", "mine", "--quiet");
    assertEquals([imported.status, imported.stderr], [0, ""]);
    const owners = await sh("find", store, "-name", "shadow", "-printf", "%U:%G %m");
    assertEquals(owners, `${USER.uid}:${USER.start + 41} 640`);

    const pod = `${user.home}/pod`;
    const refused = await user.cli("render", "--image", "mine", "--pod", pod);
    assertEquals(refused.status, 3);
    assertStringIncludes(refused.stderr, "the mount would end with this command");

    const script = `cd "$(overlay-render render --image mine --pod ${pod})" && cat motd && ` +
      APP;
    const wrote = await user.cli("unshare", "--", "sh", "-c", script);
    assertEquals(wrote, { status: 0, stdout: "hello\n", stderr: "" });
    assertMatch(await Deno.readTextFile(`${pod}/overlay.fstab`), /userxattr/);

    const changes = await user.cli("changes", "--pod", pod);
    assertEquals(changes.stderr, "");
    assertEquals(changes.stdout, "C /motd\nD /usr/share/doc/a\nA /usr/share/doc/new\n");

    const exported = await user.cli("export", "--pod", pod, "--layer", `${user.home}/layer.tar`);
    assertEquals([exported.status, exported.stderr], [0, ""]);
    const listed = await sh("tar", "--numeric-owner", "-tvf", `${user.home}/layer.tar`);
    assertMatch(listed, / 33\/0 .* motd/);
    assertMatch(listed, /usr\/share\/doc\/\.wh\.\.wh\.\.opq/);

    const committed = await user.cli("commit", "--pod", pod, "--name", "more", "--quiet");
    assertEquals([committed.status, committed.stderr], [0, ""]);
    for (const args of [["list"], ["verify-all"], ["inspect", "more"]]) {
      const { status, stderr } = await user.cli("tree", ...args);
      assertEquals([status, stderr], [0, ""], args.join(" "));
    }
    assertMatch((await user.cli("status", "--pod", pod)).stdout, /to be restored/);

    for (
      const args of [["gc", "--pod", pod], ["tree", "remove", "more"], ["tree", "remove", "mine"], [
        "tree",
        "gc",
      ]]
    ) {
      const { status, stderr } = await user.cli(...args);
      assertEquals([status, stderr], [0, ""], args.join(" "));
    }
    await user.run("rm", "-r", user.home + "/.local", user.home + "/garbage");
    await assertNothingLeft(user);
  },
});

Deno.test({
  name: `a user runs commands in an image of his own store${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const user = await makeUser(dir);
    const archive = await makeArchive(dir, user, true);
    assertEquals((await user.cli("tree", "import", archive, "--name", "mine")).status, 0);
    const run = (...args: string[]) => user.cli("run", "--image", "mine", ...args);

    assertMatch((await run("--", "id")).stdout, /^uid=0\b/);
    assertMatch((await run("--user", "www", "--", "id")).stdout, /^uid=33\b/);
    assertEquals((await run("--", "sh", "-c", "exit 7")).status, 7);
    assertEquals((await run("--", "sh", "-c", "kill -TERM $$")).status, 143);
    assertEquals((await run("--", "/no/such")).status, 127);
    assertEquals((await run("--no-such-flag", "--", "id")).status, 125);
    const pod = `${user.home}/pod`;
    const wrote = await run("--pod", pod, "--", "sh", "-c", APP);
    assertEquals(wrote, { status: 0, stdout: "", stderr: "" });
    const changes = await user.cli("changes", "--pod", pod);
    assertEquals(changes.stdout, "C /motd\nD /usr/share/doc/a\nA /usr/share/doc/new\n");
    assertEquals((await user.cli("run", "--pod", pod, "--", "sh", "-c", ":")).status, 0);
    assertMatch((await user.cli("status", "--pod", pod)).stdout, / unmounted /);
    assertEquals((await user.cli("gc", "--pod", pod)).status, 0);
    for (const args of [["remove", "mine"], ["gc"]]) {
      assertEquals((await user.cli("tree", ...args)).status, 0, args[0]);
    }
    await assertNothingLeft(user);
  },
});

Deno.test({
  name: `a user without a range does as much as one id allows, and is told the rest${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const user = await makeUser(dir, { range: null });
    const own = await makeArchive(dir, user, false);
    const imported = await user.cli("tree", "import", own, "--name", "mine");
    assertEquals(imported.status, 0);
    assertStringIncludes(imported.stderr, "warning: only your own id is mapped");
    const pod = `${user.home}/pod`;
    const wrote = await user.cli("run", "--image", "mine", "--pod", pod, "--", "sh", "-c", APP);
    assertEquals(wrote.status, 0);
    assertStringIncludes(wrote.stderr, "chown: motd: Invalid argument");
    const changes = await user.cli("changes", "--pod", pod);
    assertEquals(changes, {
      status: 0,
      stdout: "D /usr/share/doc/a\nA /usr/share/doc/new\n",
      stderr: "",
    });

    const others = await makeArchive(dir, user, true);
    const refused = await user.cli("tree", "import", others, "--name", "other", "--json");
    assertEquals(refused.status, 1);
    assertEquals(JSON.parse(refused.stdout).error.code, "no-id-range");
    assertEquals((await user.cli("gc", "--pod", pod)).status, 0);
    await assertNothingLeft(user);
  },
});

Deno.test({
  name: `a user gets a copy with --overlay auto, and a hint without${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const user = await makeUser(dir);
    const archive = await makeArchive(dir, user, true);
    assertEquals((await user.cli("tree", "import", archive, "--name", "mine")).status, 0);
    const pod = `${user.home}/pod`;
    const copied = await user.cli("render", "--image", "mine", "--pod", pod, "--overlay", "auto");
    assertEquals(copied, { status: 0, stdout: `${pod}/rootfs\n`, stderr: "" });
    assertEquals(await Deno.readTextFile(`${pod}/rootfs/motd`), "hello\n");
    const { uid } = await Deno.stat(`${pod}/rootfs/home`);
    assertEquals(uid, USER.start + 32);
    for (const command of ["render --image mine", "restore"]) {
      const { status, stderr } = await user.cli(...command.split(" "), "--pod", pod);
      assertEquals(status, 3);
      assertStringIncludes(stderr, "hint: mount it where it is used: overlay-render unshare -- ");
    }
    assertEquals((await user.cli("gc", "--pod", pod)).status, 0);
    for (const args of [["remove", "mine"], ["gc"]]) {
      assertEquals((await user.cli("tree", ...args)).status, 0, args[0]);
    }
    await assertNothingLeft(user);
  },
});

Deno.test({
  name: `a user who can make no namespace gets a copy of a directory of his own${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const before = "cp /bin/newuidmap broken && mount --bind broken /bin/newuidmap";
    const user = await makeUser(dir, { before });
    await user.run("sh", "-c", "mkdir lower && echo hello >lower/motd");
    const pod = `${user.home}/pod`;
    const args = ["--lower", `${user.home}/lower`, "--pod", pod, "--overlay", "auto"];
    const { status, stdout, stderr } = await user.cli("render", ...args);
    assertEquals([status, stdout], [0, `${pod}/rootfs\n`], stderr);
    assertMatch(stderr, /^warning: a copy is made instead of an overlay: /m);
    assertEquals(await Deno.readTextFile(`${pod}/rootfs/motd`), "hello\n");
  },
});

Deno.test({
  name: `doctor tells a user what he has, and the line to type for what is missing${suffix}`,
  ignore,
  async fn(): Promise<void> {
    const copy = "cp /bin/newuidmap home-copy && mount --bind home-copy /bin/newuidmap";
    const zero = "echo 0 >zero; mount --bind zero /proc/sys/user/max_user_namespaces";
    const usermod =
      /only your own: user somebody has no range.*\n +hint: sudo usermod --add-subuids/;
    for (
      const [options, status, expected] of [
        [{}, 0, /^yes {2}ids +a range of 65536 .*\n.*^A render will work\.$/ms],
        [{ range: null }, 0, usermod],
        [{ before: copy }, 1, /^no {3}user namespaces .*newuidmap.*\n +hint: sudo chmod u\+s/m],
        [
          { before: `${copy}; ${zero}` },
          1,
          /^no {3}user namespaces +user\.max_user_namespaces is 0 .*\n +hint: sudo sysctl user/m,
        ],
      ] as const
    ) {
      await using dir = await tempDir();
      const answer = await (await makeUser(dir, options)).cli("doctor");
      assertEquals([answer.status, answer.stderr], [status, ""]);
      assertMatch(answer.stdout, expected);
    }
  },
});
