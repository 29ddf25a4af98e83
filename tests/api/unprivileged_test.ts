import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { cli } from "../_cli.ts";
import { isRealRoot } from "../_privilege.ts";
import { sh, tempDir } from "../_temp.ts";

/** Root of a container that may neither mount nor make a namespace. */
const CONTAINER = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"];

Deno.test({
  name: `root who may not mount gets a copy with --overlay auto, and the reason without${
    isRealRoot ? "" : " [skipped: needs root]"
  }`,
  ignore: !isRealRoot,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const lower = dir.join("lower");
    await Deno.mkdir(lower);
    await Deno.writeTextFile(`${lower}/motd`, "hello\n");
    await sh("chown", "33:33", `${lower}/motd`);
    const render = (...args: string[]) => {
      return cli(["render", "--lower", lower, ...args], { wrapper: CONTAINER });
    };

    const copied = await render("--pod", dir.join("copy"), "--overlay", "auto");
    assertEquals([copied.status, copied.stdout], [0, `${dir.join("copy")}/rootfs\n`]);
    assertMatch(copied.stderr, /^warning: a copy is made instead of an overlay: /);
    const { uid } = await Deno.stat(`${dir.join("copy")}/rootfs/motd`);
    assertEquals(uid, 33);
    const again = await render("--pod", dir.join("copy"), "--overlay", "auto");
    assertEquals([again.status, again.stderr], [0, ""]);

    const refused = await render("--pod", dir.join("overlay"));
    assertEquals(refused.status, 1);
    assertStringIncludes(refused.stderr, "hint: run as root, or inside: ");
    const collected = await cli(["gc", "--pod", dir.join("copy")], { wrapper: CONTAINER });
    assertEquals(collected.status, 0, collected.stderr);
  },
});
