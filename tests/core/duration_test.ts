import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { formatDuration, parseDuration } from "../../lib/core/duration.ts";
import { InvalidValueError } from "../../lib/core/errors.ts";
import { assertInvalid } from "../_invalid.ts";
import { random } from "../_random.ts";

Deno.test("parseDuration() reads a number with a unit", { permissions: "none" }, () => {
  const table: readonly [value: string, ms: number][] = [
    ["0", 0],
    ["0s", 0],
    ["0.0d", 0],
    ["1ms", 1],
    ["500ms", 500],
    ["1s", 1000],
    ["10s", 10_000],
    ["1m", 60_000],
    ["30m", 1_800_000],
    ["1h", 3_600_000],
    ["1.5h", 5_400_000],
    ["0.25s", 250],
    ["2d", 172_800_000],
    ["007s", 7000],
    ["90000s", 90_000_000],
  ];
  for (const [value, ms] of table) assertEquals([value, parseDuration("wait", value)], [value, ms]);
});

/** What other programs take, what a slip of the finger makes, and what `Number()` would take. */
const WRONG = [
  ..."10,00,s,ms,.5s,1.s,1.2.3s,-1s,+1s,1S,1M,1H,1sec,1w,1y,1us,1µs,1e3s,0x10s,1_000s".split(
    ",",
  ),
  ..."Infinity,Infinitys,NaN,infinity,never,1h30m,1s1s,٣s,1ſ".split(","),
  "",
  " ",
  "1 s",
  " 1s",
  "1s ",
  "1s\n",
  "1s\n2s",
  "1,5s",
  "\u001b1s",
];

Deno.test("parseDuration() refuses anything else, and says how it is written", {
  permissions: "none",
}, () => {
  for (const value of WRONG) {
    assertInvalid(
      () => parseDuration("wait", value),
      value,
      "a number with a unit: ms, s, m, h or",
    );
    const error = assertThrows(() => parseDuration("grace period", value), InvalidValueError);
    assert(error.message.startsWith("Cannot use grace period "), error.message);
    assertStringIncludes(error.hint ?? "", "10s");
    assertEquals(error.path, null);
  }
});

Deno.test("formatDuration() writes the largest whole unit", { permissions: "none" }, () => {
  const table: readonly [ms: number, text: string][] = [
    [0, "0"],
    [1, "1ms"],
    [999, "999ms"],
    [1000, "1s"],
    [1001, "1001ms"],
    [59_000, "59s"],
    [60_000, "1m"],
    [61_000, "61s"],
    [90_000, "90s"],
    [3_600_000, "1h"],
    [5_400_000, "90m"],
    [86_400_000, "1d"],
    [129_600_000, "36h"],
    [864_000_000, "10d"],
    [0.5, "0.5ms"],
  ];
  for (const [ms, text] of table) assertEquals(formatDuration(ms), text);
});

Deno.test("parseDuration() reverses formatDuration()", { permissions: "none" }, () => {
  const source = random(11);
  for (let i = 0; i < 1000; i++) {
    const ms = source.int(1 << source.int(31)) * source.pick([1, 1000, 60_000, 3_600_000]);
    assertEquals(parseDuration("wait", formatDuration(ms)), ms);
  }
});
