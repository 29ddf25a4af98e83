import { assertEquals } from "@std/assert";
import { importTree } from "../../lib/store/tree.ts";
import {
  archive,
  archiveOfFiles,
  directory,
  file,
  layoutFiles,
  pax,
  symlink,
} from "../_archive.ts";
import type { Bytes } from "../_archive.ts";
import { listing } from "../_hostile.ts";
import { runMain } from "../_main.ts";
import { tempDir } from "../_temp.ts";

/** The lowest layer: a directory that is unlike one that nobody says anything of. */
const LOWEST = [
  directory("d", { mode: 0o711, uid: 1 }),
  pax({ "SCHILY.xattr.user.a": "b" }),
  directory("d/e", { mode: 0o1770, uid: 2, gid: 3 }),
  file("d/e/old"),
];

const TAKEN = ["d 1770 2:3 d/e", "f 644 0:0 d/e/new = content", "@ user.a=b"];
const NEW = ["d 755 0:0 d/e", "f 644 0:0 d/e/new = content"];

/** What the highest layer has, which puts a file into `d/e` and says nothing of it. */
const TABLE: readonly [what: string, middle: readonly Bytes[], d: string, rest: string[]][] = [
  ["nothing", [file("other")], "d 711 1:0 d", TAKEN],
  ["another mode", [directory("d", { mode: 0o700 })], "d 700 0:0 d", TAKEN],
  ["a directory that is not said either", [file("d/e/more")], "d 711 1:0 d", TAKEN],
  ["a whiteout", [file(".wh.d", "")], "d 755 0:0 d", NEW],
  ["a file in its place", [file("d", "")], "d 755 0:0 d", NEW],
  ["a symlink in its place", [symlink("d", "/")], "d 755 0:0 d", NEW],
  ["a whiteout inside", [file("d/.wh.e", "")], "d 711 1:0 d", NEW],
  ["an opaque directory", [file("d/.wh..wh..opq", "")], "d 711 1:0 d", NEW],
  ["a new directory", [file(".wh.d", ""), directory("d", { mode: 0o750 })], "d 750 0:0 d", NEW],
  ["a new directory that is not said", [file(".wh.d", ""), file("d/x")], "d 755 0:0 d", NEW],
  ["an opaque root", [file(".wh..wh..opq", "")], "d 755 0:0 d", NEW],
];

for (const [what, middle, d, rest] of TABLE) {
  Deno.test(`a directory that a layer does not name is as below, with ${what} between`, async () => {
    await using dir = await tempDir();
    const [source, store] = [dir.join("source"), dir.join("store")];
    const layers = [LOWEST, middle, [file("d/e/new")]].map((parts) => ({ tar: archive(...parts) }));
    await Deno.writeFile(source, archiveOfFiles(layoutFiles(layers)));
    const { id } = await importTree({ source, store });
    const { stdout } = await runMain(["tree", "path", `--store=${store}`, id]);
    const [top] = stdout.split("\n");
    assertEquals(await listing(`${top}/.`), ["d 755 0:0 .", d, ...rest]);
    const check = await runMain(["tree", "check", `--store=${store}`, "--json", id]);
    assertEquals(JSON.parse(check.stdout).trees, [{ id, differences: [] }]);
  });
}
