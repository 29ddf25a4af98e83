import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeUser, plainUser, USER } from "../_user.ts";
import type { PlainUser } from "../_user.ts";
import { sh } from "../_temp.ts";

const { ignore, suffix } = plainUser;

/** Makes an archive with files of several ids in the home of the user. */
async function makeArchive(dir: TempDir, { home }: PlainUser): Promise<string> {
  const root = dir.join("image");
  const script = `mkdir -p "$1/etc" "$1/usr/share/doc/a" "$1/home" && cd "$1" && echo hello >motd &&
    echo x >usr/share/doc/a/x && echo secret >etc/shadow && chown 0:42 etc/shadow &&
    chmod 640 etc/shadow && chown 33:33 home && tar -cf "$2" . && chown ${USER.uid} "$2"`;
  await sh("sh", "-c", script, "sh", root, `${home}/image.tar`);
  return `${home}/image.tar`;
}

Deno.test({
  name: `a user imports, prepares, changes, exports and collects in a store of his own${suffix}`,
  ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const user = await makeUser(dir);
    const archive = await makeArchive(dir, user);
    const store = `${user.home}/.local/share/overlay-render`;

    const imported = await user.cli("tree", "import", archive, "--name", "mine", "--quiet");
    assertEquals([imported.status, imported.stderr], [0, ""]);
    const owners = await sh("find", store, "-name", "shadow", "-printf", "%U:%G %m");
    assertEquals(owners, `${USER.uid}:${USER.start + 41} 640`);

    const pod = `${user.home}/pod`;
    const refused = await user.cli("render", "--image", "mine", "--pod", pod);
    assertEquals(refused.status, 3);
    assertStringIncludes(refused.stderr, "the mount would end with this command");

    const script = `cd "$(overlay-render render --image mine --pod ${pod})" && cat motd && ` +
      "chown 33 motd && rm -r usr/share/doc && mkdir usr/share/doc && touch usr/share/doc/new";
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
      const args of [["gc", "--pod", pod], ["tree", "remove", "more"], ["tree", "remove", "mine"]]
    ) {
      const { status, stderr } = await user.cli(...args);
      assertEquals([status, stderr], [0, ""], args.join(" "));
    }
    await user.run("rm", "-r", user.home + "/.local", user.home + "/garbage");
    const left = await sh("find", user.home, "!", "-user", String(USER.uid));
    assertEquals(left, "");
  },
});
