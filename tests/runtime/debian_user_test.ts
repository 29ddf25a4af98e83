import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { alsoDebian, HOST, SUITE } from "../_debian.ts";
import { sh, tempDir } from "../_temp.ts";
import { needs } from "../_tool_images.ts";
import { makeUser, plainUser, USER } from "../_user.ts";

const { suffix } = plainUser.ignore ? plainUser : alsoDebian(needs("mmdebstrap"));

const SCRIPT = "touch /f; chown 33 /f; rm -r /usr/share/doc; mkdir /usr/share/doc";

Deno.test({
  name:
    `a user runs apt-get of Debian, changes, exports and collects; with one id, is told why not${suffix}`,
  ignore: suffix !== "",
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const user = await makeUser(dir);
    const archive = `${user.home}/debian.tar`;
    await sh("mmdebstrap", "--quiet", "--variant=apt", SUITE, archive, HOST);
    await sh("chown", String(USER.uid), archive);
    const pod = ["--pod", `${user.home}/pod`];
    const run = ["run", "--image", "debian", ...pod, "--"];

    const imported = await user.cli("tree", "import", archive, "--name", "debian", "--quiet");
    assertEquals([imported.status, imported.stderr], [0, ""]);
    assertMatch((await user.cli(...run, "apt-get", "--version")).stdout, /^apt \d/);
    assertEquals(await user.cli(...run, "sh", "-c", SCRIPT), { status: 0, stdout: "", stderr: "" });
    const changes = (await user.cli("changes", ...pod)).stdout;
    assertMatch(changes, /^A \/f\n/);
    assertMatch(changes, /^D \/usr\/share\/doc\/apt$/m);
    const layer = `${user.home}/layer.tar`;
    assertEquals((await user.cli("export", ...pod, "--layer", layer)).status, 0);
    const listed = await sh("tar", "--numeric-owner", "-tvf", layer);
    assertMatch(listed, / 33\/0 .* f$/m);
    assertMatch(listed, /usr\/share\/doc\/\.wh\.\.wh\.\.opq$/m);
    for (const args of [["gc", ...pod], ["tree", "remove", "debian"], ["tree", "gc"]]) {
      assertEquals((await user.cli(...args)).status, 0, args.join(" "));
    }
    assertEquals(await sh("find", user.home, "!", "-user", String(USER.uid)), "");

    await using alone = await tempDir();
    const lonely = await makeUser(alone, { range: null });
    await sh("cp", archive, lonely.home);
    const refused = await lonely.cli("tree", "import", `${lonely.home}/debian.tar`);
    assertEquals(refused.status, 1);
    assertStringIncludes(refused.stderr, "which this user namespace does not have");
    assertStringIncludes(refused.stderr, "sudo usermod --add-subuids");
  },
});
