/**
 * Running the command in the tests' own process, and what every failure of it must look like.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { main } from "../cli.ts";
import type { Io } from "../cli.ts";
import type { RenderRequest } from "../mod.ts";
import type { CliResult } from "./_cli.ts";
import { mountsBelow, snapshot } from "./_temp.ts";

/** Runs `main()` with these arguments, and keeps what it prints. */
export async function runMain(args: readonly string[], io: Partial<Io> = {}): Promise<CliResult> {
  let stdout = "";
  let stderr = "";
  const status = await main(args, {
    out: (text) => void (stdout += text),
    err: (text) => void (stderr += text),
    input: () => new Uint8Array(),
    cwd: () => "/",
    onSignal: () => () => {},
    ...io,
  });
  return { status, stdout, stderr };
}

const KINDS = ["read", "write", "run", "sys", "env", "ffi", "import", "net"];

/** Flags of `deno run` as permissions: what no flag grants is not granted. */
function permissionsOf(flags: readonly string[]): Record<string, readonly string[] | boolean> {
  const granted = flags.map((flag) => {
    const [, kind = "", list] = /^--allow-(\w+)(?:=(.*))?$/s.exec(flag) ?? [];
    assert(KINDS.includes(kind), flag);
    return [kind, list === undefined ? true : list.split(",")];
  });
  return Object.fromEntries([...KINDS.map((kind) => [kind, false]), ...granted]);
}

/** Takes permissions away from the process and gives them back, as `Deno.test()` does for its `permissions`. */
interface PermissionOps {
  op_pledge_test_permissions(permissions: unknown): unknown;
  op_restore_test_permissions(token: unknown): void;
}

/**
 * Runs `main()` in this process with no more permissions than these flags of `deno run` grant. Nothing else
 * may go on in it meanwhile.
 */
export async function runMainWith(
  flags: readonly string[],
  args: readonly string[],
): Promise<CliResult> {
  const { internal } = Deno as unknown as { readonly internal: symbol };
  const { ops } = (Deno as unknown as Record<symbol, { core: { ops: PermissionOps } }>)[internal]
    ?.core ?? {};
  assert(ops !== undefined);
  const token = ops.op_pledge_test_permissions(permissionsOf(flags));
  try {
    return await runMain(args);
  } finally {
    ops.op_restore_test_permissions(token);
  }
}

/** A request as the flags of the command. */
export function flagsOf(request: RenderRequest): string[] {
  const { lower, options, readOnly, dirMode, ...single } = request;
  const kebab: Record<string, unknown> = { ...single, "dir-mode": dirMode };
  return [
    ...(typeof lower === "string" ? [lower] : lower ?? []).map((path) => `--lower=${path}`),
    ...Object.entries(kebab).flatMap(([name, value]) => {
      return value === undefined ? [] : [`--${name}=${value}`];
    }),
    ...(options ?? []).map((option) => `--option=${option}`),
    ...(readOnly ? ["--read-only"] : []),
  ];
}

/** The flags of Deno that the plan of a render or a prepare names. */
export async function plannedFlags(command: string, request: RenderRequest): Promise<string[]> {
  const dry = command === "render" ? ["plan"] : ["prepare", "--dry-run"];
  const { status, stdout } = await runMain([...dry, "--json", ...flagsOf(request)]);
  assertEquals(status, 0, stdout);
  return JSON.parse(stdout).flags;
}

/** Everything below a directory, what is mounted there included: a listing goes no further than a mount. */
export async function disk(directory: string): Promise<string> {
  const mounts = await mountsBelow(directory);
  const parts = [mounts.join("\n"), await snapshot(directory)];
  for (const mount of new Set(mounts)) parts.push(await snapshot(mount));
  return parts.join("\n\n");
}

/** What a failure must say. */
export interface Failure {
  /** The exit status. */
  readonly status: number;
  /** The error's code. */
  readonly code: string;
  /** The path the error is about; not checked when left out. */
  readonly path?: string | null;
  /** What the message must hold. */
  readonly cause?: string;
}

/** Checks that text is one `error:` line, at most one `hint:` line, and nothing that a terminal acts on. */
export function assertErrorText(text: string): void {
  // deno-lint-ignore no-control-regex
  assertMatch(text, /^error: Cannot [^\u0000-\u001f\u007f-\u009f\u200e-\u202e]+\n(hint: .+\n)?$/);
}

/** Checks that a command fails in this way, in words and as JSON, and leaves a directory as it was. */
export async function assertFails(
  directory: string,
  args: readonly string[],
  expected: Failure,
): Promise<void> {
  const before = await disk(directory);
  const text = await runMain(args);
  const json = await runMain(args.toSpliced(1, 0, "--json"));
  assertEquals([text.status, text.stdout], [expected.status, ""], text.stderr);
  assertErrorText(text.stderr);
  assertEquals([json.status, json.stderr], [expected.status, ""]);
  const { version, error } = JSON.parse(json.stdout);
  assertEquals([version, error.code], [1, expected.code]);
  assertEquals(Object.keys(error), ["code", "message", "path", "hint"]);
  const hint = error.hint === null ? "" : `hint: ${error.hint}\n`;
  assertEquals(text.stderr, `error: ${error.message}\n${hint}`);
  if (expected.path !== undefined) assertEquals(error.path, expected.path);
  if (expected.cause !== undefined) assertStringIncludes(error.message, expected.cause);
  assertEquals(await disk(directory), before);
}
