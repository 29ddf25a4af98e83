import { assert, assertEquals } from "@std/assert";
import { Inquiry } from "../../lib/preflight/kernel_probe.ts";
import { counter } from "../_pods.ts";
import { mountsBelow, sh } from "../_temp.ts";

/** Something to ask, and the programs that it runs. */
function asking(): { inquiry: Inquiry; lines: readonly string[] } {
  const { trace, lines } = counter();
  const inquiry = new Inquiry({ trace: (argv) => trace(`run ${argv.join(" ")}`) });
  return { inquiry, lines };
}

Deno.test("Inquiry.kernel() says that the kernel takes an overlay, and mounts nothing", async () => {
  const before = await mountsBelow("/");
  const { inquiry, lines } = asking();
  assertEquals(await inquiry.kernel(), "takes it");
  assertEquals(await inquiry.kernel(), "takes it");
  // Its version, and one question: what was asked is not asked again.
  assertEquals(lines.length, 2);
  assertEquals(await mountsBelow("/"), before);
});

Deno.test("Inquiry.version() says which mount there is, once", async () => {
  const { inquiry, lines } = asking();
  const said = (await sh("mount", "--version")).trim();
  const [, version] = /util-linux (\d[\d.]*\d)/.exec(said) ?? [];
  assert(version !== undefined);
  for (let times = 0; times < 2; times++) {
    assertEquals(await inquiry.version(), { version, said });
  }
  assertEquals(lines, ["run /usr/bin/mount --version"]);
});

Deno.test("Inquiry.unknown() says which options the kernel does not know", async () => {
  const { inquiry } = asking();
  const known = ["volatile", "userxattr", "index=on", "nfs_export=off", "xino=auto", "nodev"];
  const redirects = ["on", "off", "follow", "nofollow"].map((value) => `redirect_dir=${value}`);
  assertEquals(await inquiry.unknown([...known, ...redirects, "metacopy=on"]), []);
  const all = ["no_such_option", "volatile", "metacopy=maybe", "nodev", "index"];
  assertEquals(await inquiry.unknown(all), ["no_such_option", "metacopy=maybe", "index"]);
});

Deno.test("Inquiry.unknown() asks about each option once, and not about those of any mount", async () => {
  const { inquiry, lines } = asking();
  await inquiry.unknown(["volatile", "nosuid", "noexec", "nodev"]);
  await inquiry.unknown(["volatile"]);
  const told = lines.filter((line) => line.includes("volatile"));
  assertEquals([told.length, lines.length], [1, 3]);
});

Deno.test("Inquiry.table() is the mount table, read once", async () => {
  const { inquiry, lines } = asking();
  const table = await inquiry.table();
  assert(table?.some(({ target }) => target === "/"));
  assertEquals(await inquiry.table(), table);
  assertEquals(lines.length, 1);
});

Deno.test("Inquiry asks nothing without permission", { permissions: "none" }, async () => {
  const { inquiry, lines } = asking();
  assertEquals([await inquiry.version(), await inquiry.kernel(), await inquiry.table()], [
    ...[null, null, null],
  ]);
  assertEquals(await inquiry.unknown(["volatile"]), []);
  assertEquals(lines, []);
});
