/**
 * A render that is interrupted at any line that it tells: what was there before is as it was.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { CliResult } from "../_cli.ts";
import { interrupt } from "../_crash.ts";
import { runMain } from "../_main.ts";
import { tempDir } from "../_temp.ts";
import {
  collect,
  makePlace,
  MORE_RENDERS,
  named,
  NESTED,
  RENDERS,
  state,
} from "../_crash_scenes.ts";
import type { Place, Scenario } from "../_crash_scenes.ts";

/** The command line of a render by its spec, which is written. */
async function specOf(scenario: Scenario, place: Place): Promise<string[]> {
  const spec = place.dir.join("spec.json");
  await Deno.writeTextFile(spec, JSON.stringify(scenario.deed(place).request));
  return ["render", "--verbose", "--spec", spec];
}

const SIGNALS = [["SIGINT", 2], ["SIGTERM", 15]] as const;

/** The command with these arguments, which gets a signal when it has told so many lines. */
type Interrupted = (
  args: readonly string[],
  at: number,
  signal: (typeof SIGNALS)[number],
) => Promise<CliResult>;

/**
 * Interrupts a render at each line that it tells, and at last when it prints its result: what was there
 * before is as it was. A signal can come too late; then all is done, and the status says so.
 *
 * @param step How many lines further it is interrupted the next time.
 * @param late How many signals may come too late.
 */
async function atLines(
  scenario: Scenario,
  command: Interrupted,
  { step, late }: { readonly step: number; readonly late: number },
): Promise<void> {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await scenario.prepare(place);
  const args = await specOf(scenario, place);
  const before = await state(dir.path);
  let lines = 0;
  const finished = await runMain(args, { err: () => void lines++ });
  assert(lines >= 25, `it tells only ${lines} lines`);
  const whole = await state(dir.path);
  const startAnew = async () => {
    await collect(place);
    await scenario.prepare(place);
  };
  await startAnew();
  let done = 0;
  for (let at = lines + 1; at >= 1; at -= step) {
    await named(`interrupted at line ${at} of ${lines + 1}`, async () => {
      // By turns: what is undone does not depend on which signal it was.
      const signal = SIGNALS[at % 2 === 0 ? 0 : 1];
      const result = await command(args, at, signal);
      if (result.status === 0) {
        assertEquals([result.stdout, await state(dir.path)], [finished.stdout, whole]);
        assert(++done <= late, "it came to its end");
        return await startAnew();
      }
      assertEquals(await state(dir.path), before, `exit status ${result.status}`);
      assertInterrupted(result, signal[1]);
    });
  }
}

function assertInterrupted({ status, stdout, stderr }: CliResult, signal: number): void {
  const said = stderr.split("\n").filter((line) => /^(error|hint):/.test(line));
  const undone = `error: Cannot finish: interrupted by signal ${signal}, and undone`;
  assertEquals([status, stdout, said], [128 + signal, "", [undone]]);
}

for (const scenario of [...RENDERS, ...MORE_RENDERS]) {
  const words = scenario.name.replace("renderPod()", "main() undoes a render by a spec");

  Deno.test(`${words}, at whatever line a signal comes`, async () => {
    const interrupted: Interrupted = async (args, at, [, signal]) => {
      let [seen, stderr, stdout] = [0, "", ""];
      let send = (_signal: number): void => {};
      const tell = (text: string) => {
        if (++seen === at) send(signal);
        return text;
      };
      const { status } = await runMain(args, {
        err: (text) => void (stderr += tell(text)),
        out: (text) => void (stdout += tell(text)),
        onSignal: (handler) => {
          send = handler;
          return () => {};
        },
      });
      return { status, stdout, stderr };
    };
    await atLines(scenario, interrupted, { step: 1, late: 1 });
  });
}

Deno.test("overlay-render render --spec undoes all of it on SIGINT and SIGTERM, wherever they come", async () => {
  const interrupted: Interrupted = (args, at, [name]) => interrupt(args, at, name);
  // When a process is told of a signal is for the kernel to say.
  await atLines(NESTED, interrupted, { step: 3, late: 5 });
});
