import { assertEquals } from "@std/assert";
import { mayPull } from "../../lib/cli/io.ts";

/** Command lines, and whether they keep the network. */
const LINES: readonly (readonly [line: string, pulls: boolean])[] = [
  ["tree pull debian:12", true],
  ["render --image debian:12 --pod /p --pull missing", true],
  ["render --image debian:12 --pod /p --pull=always", true],
  ["prepare --pull missing", true],
  ["plan --pull missing", true],
  ["render --spec -", true],
  ["render --image debian:12 --pod /p", false],
  ["render --lower /pull --pod /p", false],
  ["render --image debian --pod /p --pulled", false],
  ["prepare --pod /p", false],
  ["unmount --pull missing", false],
  ["gc --spec -", false],
  ["tree import -", false],
  ["tree list --pull missing", false],
  ["tree", false],
  ["--help", false],
  ["", false],
];

Deno.test(
  "mayPull() lets only commands that pull keep the network",
  { permissions: "none" },
  () => {
    for (const [line, pulls] of LINES) assertEquals(mayPull(line.split(" ")), pulls, line);
  },
);
