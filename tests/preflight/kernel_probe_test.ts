import { assert, assertEquals } from "@std/assert";
import { KernelProbe } from "../../lib/preflight/kernel_probe.ts";
import { counter } from "../_pods.ts";
import { mountsBelow, sh } from "../_temp.ts";

/** Something to ask, and the programs that it runs. */
function asking(): { probe: KernelProbe; lines: readonly string[] } {
  const { trace, lines } = counter();
  const probe = new KernelProbe({ trace: (argv) => trace(`run ${argv.join(" ")}`) });
  return { probe, lines };
}

Deno.test("KernelProbe.kernel() says that the kernel takes an overlay, and mounts nothing", async () => {
  const before = await mountsBelow("/");
  const { probe, lines } = asking();
  assertEquals(await probe.kernel(), "takes it");
  assertEquals(await probe.kernel(), "takes it");
  // Its version, and one question: what was asked is not asked again.
  assertEquals(lines.length, 2);
  assertEquals(await mountsBelow("/"), before);
});

Deno.test("KernelProbe.version() says which mount there is, once", async () => {
  const { probe, lines } = asking();
  const said = (await sh("mount", "--version")).trim();
  const [, version] = /util-linux (\d[\d.]*\d)/.exec(said) ?? [];
  assert(version !== undefined);
  for (let times = 0; times < 2; times++) {
    assertEquals(await probe.version(), { version, said });
  }
  assertEquals(lines, ["run /bin/mount --version"]);
});

Deno.test("KernelProbe.unknown() says which options the kernel does not know", async () => {
  const { probe } = asking();
  const known = ["volatile", "userxattr", "index=on", "nfs_export=off", "xino=auto", "nodev"];
  const redirects = ["on", "off", "follow", "nofollow"].map((value) => `redirect_dir=${value}`);
  assertEquals(await probe.unknown([...known, ...redirects, "metacopy=on"]), []);
  const all = ["no_such_option", "volatile", "metacopy=maybe", "nodev", "index"];
  assertEquals(await probe.unknown(all), ["no_such_option", "metacopy=maybe", "index"]);
});

Deno.test("KernelProbe.unknown() asks about each option once, and not about those of any mount", async () => {
  const { probe, lines } = asking();
  await probe.unknown(["volatile", "nosuid", "noexec", "nodev"]);
  await probe.unknown(["volatile"]);
  const told = lines.filter((line) => line.includes("volatile"));
  assertEquals([told.length, lines.length], [1, 3]);
});

Deno.test("KernelProbe.table() is the mount table, read once", async () => {
  const { probe, lines } = asking();
  const table = await probe.table();
  assert(table?.some(({ target }) => target === "/"));
  assertEquals(await probe.table(), table);
  assertEquals(lines.length, 1);
});

Deno.test("KernelProbe asks nothing without permission", { permissions: "none" }, async () => {
  const { probe, lines } = asking();
  assertEquals([await probe.version(), await probe.kernel(), await probe.table()], [
    ...[null, null, null],
  ]);
  assertEquals(await probe.unknown(["volatile"]), []);
  assertEquals(lines, []);
});
