/**
 * Removals of directories in which something still writes.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { exists } from "@std/fs/exists";
import { removeAll } from "../../lib/system/remove.ts";
import { tempDir } from "../_temp.ts";

/** Makes many files in its working directory, as a tar does whose command was killed, and ends. */
const WRITER = "import os\nfor i in range(20000): os.close(os.open(f'f{i}', os.O_CREAT))";

Deno.test("a directory is removed although entries appear in it for a while", async () => {
  await using dir = await tempDir();
  // Without another try, most rounds fail.
  for (let round = 0; round < 5; round++) {
    const path = dir.join(`left-${round}`);
    await Deno.mkdir(path);
    const how: Deno.CommandOptions = { args: ["-c", WRITER], cwd: path, stderr: "null" };
    const writer = new Deno.Command("python3", how).spawn();
    while (!(await exists(`${path}/f100`))) await new Promise((resolve) => setTimeout(resolve));
    await removeAll([path]);
    assertEquals(await exists(path), false);
    await writer.status;
  }
});
