import { assert, assertEquals, assertThrows } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import { resolveInRoot } from "../../lib/runtime/root_path.ts";
import { tempDir } from "../_temp.ts";

Deno.test("resolveInRoot() follows symlinks inside the rootfs, and never out of it", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("root/etc/real"), { recursive: true });
  await Deno.mkdir(dir.join("outside"));
  await Deno.writeTextFile(dir.join("outside/secret"), "");
  await Deno.writeTextFile(dir.join("root/etc/real/file"), "");
  const link = (name: string, target: string) => Deno.symlink(target, dir.join("root", name));
  await link("absolute", "/etc/real");
  await link("relative", "etc/real/file");
  await link("up", "../../../../etc/real");
  await link("out", dir.join("outside/secret"));
  await link("etc/back", "../relative");
  const table: readonly (readonly [path: string, inside: string, there: boolean])[] = [
    ["/", "/", true],
    ["/etc/real/file", "/etc/real/file", true],
    ["etc//./real/", "/etc/real", true],
    ["/absolute/file", "/etc/real/file", true],
    ["/relative", "/etc/real/file", true],
    ["/up/file", "/etc/real/file", true],
    ["/../../etc/real", "/etc/real", true],
    ["/etc/back", "/etc/real/file", true],
    ["/out", dir.join("outside/secret"), false],
    ["/etc/none/deeper", "/etc/none/deeper", false],
    ["/etc/none/../real", "/etc/real", true],
    ["/etc/real/file/below", "/etc/real/file/below", false],
  ];
  for (const [path, inside, there] of table) {
    const found = resolveInRoot(dir.join("root"), path);
    assertEquals(found.inside, inside, path);
    assertEquals(found.info !== null, there, path);
    assert(`${found.path}/`.startsWith(`${dir.join("root")}/`), path);
  }
});

Deno.test("resolveInRoot() ends in a loop of symlinks", async () => {
  await using dir = await tempDir();
  await Deno.symlink("b", dir.join("a"));
  await Deno.symlink("a", dir.join("b"));
  const { code } = assertThrows(() => resolveInRoot(dir.path, "/a/x"), OverlayError);
  assertEquals(code, "symlink");
});
