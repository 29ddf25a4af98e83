import { assertEquals } from "@std/assert";
import { main } from "../../cli.ts";
import type { Reserved } from "../../lib/cli/reserved.ts";

const quiet = () => {};
const RENDER = "--image debian:12 --pod /p";

/** Command lines, and the permissions that they keep, in one word. */
const LINES: readonly (readonly [line: string, kept: string])[] = [
  ["tree pull debian:12", "net env"],
  ["tree push debian:12 registry.test/a/b", "net env"],
  [`render ${RENDER} --pull missing`, "net env"],
  [`render ${RENDER} --pull=always`, "net env"],
  [`prepare ${RENDER} --pull missing`, "net env"],
  [`plan ${RENDER} --pull missing`, "net env"],
  [`render ${RENDER} --pull missing --dry-run`, "net env"],
  ["render --spec -", "net env"],
  ["export --pod /p --layer /l", "env"],
  ["commit --pod /p --name n", "env"],
  ["commit --pod /p --name n --to oci:dir", "env"],
  ["commit --pod /p --name n --to docker://host/n", "net env"],
  [`render ${RENDER} --pull never`, ""],
  [`render ${RENDER}`, ""],
  ["render --lower /pull --pod /p", ""],
  ["prepare --lower /l --pod /p", ""],
  ["unmount --pod /p", ""],
  ["gc --pod /p --dry-run", ""],
  ["tree import -", ""],
  ["tree list", ""],
  ["run --image debian:12", "net env setpriv"],
  ["unshare true", "env unshare"],
  ["doctor", "unshare"],
  ["--version", ""],
  ["--help", ""],
];

Deno.test("main() keeps only the permissions that the command may need", {
  permissions: "none",
}, async () => {
  for (const [line, must] of LINES) {
    const kept: (readonly Reserved[])[] = [];
    const keepOnly = (names: readonly Reserved[]) => {
      kept.push(names);
      throw new Error("that is all");
    };
    const io = {
      out: quiet,
      err: quiet,
      input: () => "",
      cwd: () => "/",
      onSignal: () => () => {},
    };
    await main(line.split(" "), { ...io, keepOnly });
    assertEquals(kept.map((names) => names.join(" ")), [must], line);
  }
});

Deno.test("main() keeps nothing for a spec without a pull, once it is read", {
  permissions: "none",
}, async () => {
  for (const [pull, must] of [["never", ""], ["missing", "net env"]] as const) {
    const kept: string[] = [];
    const keepOnly = (names: readonly Reserved[]) => void kept.push(names.join(" "));
    const apps = [{ app: "web", image: "debian:12", pull }];
    const input = () => JSON.stringify({ pod: "/p", apps });
    const io = { out: quiet, err: quiet, input, cwd: () => "/", onSignal: () => () => {} };
    await main(["plan", "--spec", "-"], { ...io, keepOnly });
    assertEquals(kept, ["net env", must]);
  }
});
