/**
 * Runs a program and notes the most memory that it, or a program it ran, ever had: the kernel counts that
 * for who waits for it (getrusage(2), `ru_maxrss`), so that no peak is missed between two looks.
 *
 * The figure cannot be less than the memory of this process, which the program starts as a copy of.
 *
 * deno run -A tests/_peak.ts FILE PROGRAM ARGUMENT…
 *
 * @module
 */
const RUSAGE_CHILDREN = -1;

/** Where `ru_maxrss` stands after two times of two words each; the whole has 18 words. */
const MAXRSS = 4;
const WORDS = 18;

/** The most memory that a child had which was waited for, in bytes. */
function peakOfChildren(): number {
  const libc = Deno.dlopen("libc.so.6", {
    getrusage: { parameters: ["i32", "buffer"], result: "i32" },
  });
  try {
    const usage = new BigInt64Array(WORDS);
    if (libc.symbols.getrusage(RUSAGE_CHILDREN, usage) !== 0) throw new Error("getrusage failed");
    return Number(usage[MAXRSS]) * 1024;
  } finally {
    libc.close();
  }
}

const [file = "", program = "", ...args] = Deno.args;
const { code } = await new Deno.Command(program, {
  args,
  stdin: "null",
  stdout: "inherit",
  stderr: "inherit",
}).spawn().status;
await Deno.writeTextFile(file, `${peakOfChildren()}`);
Deno.exitCode = code;
