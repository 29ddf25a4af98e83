/**
 * An import in a process of its own, which kills itself at a step: `_importer.ts SOURCE STORE STEP`. Without
 * a step it says how many there are.
 *
 * @module
 */
import { importTree } from "../lib/store/tree.ts";

if (import.meta.main) {
  const [source = "", store = "", last = "", userxattr = ""] = Deno.args;
  let steps = 0;
  const step = () => {
    if (last !== "" && steps === Number(last)) Deno.kill(Deno.pid, "SIGKILL");
    steps++;
  };
  await importTree({ source, store, userxattr: userxattr === "userxattr", keepBlobs: true }, {
    checkpoint: step,
    trace: step,
    onRead: step,
  });
  await Deno.stdout.write(new TextEncoder().encode(String(steps)));
}
