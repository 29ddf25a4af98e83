import { assert, assertEquals, assertMatch } from "@std/assert";
import { runMain } from "../_main.ts";

Deno.test("a word that is unknown is answered with the one that was meant", async () => {
  const table: readonly [args: string, meant: string][] = [
    ["rendr", "render"],
    ["help statsu", "status"],
    ["umount", "unmount"],
    ["mount", "render"],
    ["ls", "tree list or status"],
    ["list", "tree list or status"],
    ["ps", "status --pods DIR"],
    ["rm", "gc --pod DIR or tree remove"],
    ["delete", "gc --pod DIR or tree remove"],
    ["images", "tree list"],
    ["rmi", "tree remove"],
    ["diff", "changes"],
    ["inspect", "tree inspect or status"],
    ["pull", "tree pull"],
    ["tree ls", "list"],
    ["tree rm", "remove"],
    ["tree imprt", "import"],
    ["render --profil x", "--profile"],
    ["tree pull x --mirorr y", "--mirror"],
  ];
  for (const [line, meant] of table) {
    const { status, stdout, stderr } = await runMain(line.split(" "));
    assertEquals([status, stdout], [2, ""]);
    assertMatch(stderr, /^error: Cannot .*\nhint: .*\n$/);
    assert(stderr.includes(`\nhint: did you mean ${meant}? it `), stderr);
    const json = await runMain([...line.split(" "), "--json"]);
    assert(JSON.parse(json.stdout).error.hint.startsWith(`did you mean ${meant}? it `));
  }
});

Deno.test("a word that is like no other is answered with all there are", async () => {
  for (const line of ["xyzzy", "-x", "render -x", "tree xyzzy", "tree", ""]) {
    const { status, stderr } = await runMain(line === "" ? [] : line.split(" "));
    assertEquals([status, stderr.includes("did you mean")], [2, false], stderr);
  }
});

Deno.test("-V is --version", async () => {
  assertEquals(await runMain(["-V"]), await runMain(["--version"]));
});
