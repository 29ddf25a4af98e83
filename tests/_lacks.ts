/**
 * Least privilege: a command works with the flags that are planned, and is refused without any one of them.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { cli } from "./_cli.ts";
import type { CliOptions } from "./_cli.ts";
import { assertErrorText, disk, runMainWith } from "./_main.ts";

/** The flag or value that was taken away, and the flags that are left. */
export interface Lack {
  readonly missing: string;
  readonly flags: readonly string[];
}

/** Every way to take one flag away, or one value of a flag. */
export function lacks(flags: readonly string[]): Lack[] {
  return flags.flatMap((flag, at) => {
    const [name = "", list = ""] = flag.split(/=(.*)/s);
    const values = list.split(",");
    const less = values.length < 2 ? [] : values.map((value) => {
      const rest = values.filter((other) => other !== value).join(",");
      return { missing: `${name}=${value}`, flags: flags.with(at, `${name}=${rest}`) };
    });
    return [{ missing: flag, flags: flags.toSpliced(at, 1) }, ...less];
  });
}

/** Checks that a command is refused with status 4 under each of these, and has touched nothing. */
export async function assertRefused(
  directory: string,
  args: readonly string[],
  all: readonly Lack[],
): Promise<void> {
  const before = await disk(directory);
  for (const { missing, flags } of all) {
    const { status, stdout, stderr } = await runMainWith(flags, args);
    assertEquals([status, stdout], [4, ""], `without ${missing}: ${stderr}`);
    assertErrorText(stderr);
    const [error = "", hint = ""] = stderr.split("\n");
    const named = error.split(": missing ")[1] ?? "";
    // Where a destination or a lower lies is only known once the pod or the store can be read.
    const [flag = "", ...values] = named.split(/[=,]/);
    const [takenFlag, ...taken] = missing.split(/[=,]/);
    assertEquals([flag, values.length > 0], [takenFlag, true], stderr);
    assertEquals(values.filter((value) => !taken.includes(value)), [], stderr);
    assertStringIncludes(hint, "flags of deno run");
  }
  assertEquals(await disk(directory), before);
}

/**
 * Checks that a command, as a process of its own, is refused with status 4 where any one of its flags is taken
 * away, and has touched nothing.
 */
export async function assertEachNeeded(
  directory: string,
  args: readonly string[],
  { flags = [], ...options }: CliOptions,
): Promise<void> {
  const before = await disk(directory);
  for (const { missing, flags: less } of lacks(flags)) {
    const { status, stdout, stderr } = await cli(args, { ...options, flags: less });
    assertEquals([status, stdout], [4, ""], `without ${missing}: ${stderr}`);
    // A part of what is missing may be needed first.
    const [name = "", ...values] = missing.split(/[=,]/);
    assertStringIncludes(stderr, name);
    assert(values.some((value) => stderr.includes(value)), `without ${missing}: ${stderr}`);
    assertEquals(await disk(directory), before, `without ${missing}`);
  }
}
