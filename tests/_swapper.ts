/**
 * Another user who changes names as fast as he can, while root works with them.
 *
 * @module
 */

/** A user who is neither root nor the tests' own. */
export const STRANGER = 65534;

const RENAMEAT2 = { x86_64: 316, aarch64: 276 }[Deno.build.arch];

/**
 * Exchanges two names again and again, see renameat2(2), RENAME_EXCHANGE; an odd number of times, and then
 * it sleeps for some 100 µs, which leaves the processor to what is raced with.
 */
const SWAP = `
  my ($number, $a, $b, $group) = @ARGV;
  $( = $) = "$group $group"; $< = $> = ${STRANGER};
  while (getppid() != 1) {
    syscall($number, -100, $a, -100, $b, 2) for 1 .. 9;
    select(undef, undef, undef, 0.00005);
  }`;

/** Puts a file of his own into the place of each new file whose name begins so. */
const REPLACE = `
  my ($directory, $beginning) = @ARGV;
  $( = $) = "${STRANGER} ${STRANGER}"; $< = $> = ${STRANGER};
  chdir $directory or die; my $mine = 0;
  while (getppid() != 1) {
    opendir my $handle, "." or next;
    for (grep { index($_, $beginning) == 0 } readdir $handle) {
      open my $file, ">", "mine" and rename "mine", $_;
    }
    select(undef, undef, undef, 0.00005);
  }`;

function start(script: string, ...args: string[]): AsyncDisposable {
  const child = new Deno.Command("perl", { args: ["-e", script, "--", ...args], stdin: "null" })
    .spawn();
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      child.kill("SIGKILL");
      await child.status;
    },
  };
}

/** Exchanges two names, as {@linkcode STRANGER} of a group, until it is disposed. Needs root and perl(1). */
export function swapping(a: string, b: string, group = STRANGER): AsyncDisposable {
  return start(SWAP, String(RENAMEAT2), a, b, String(group));
}

/** Replaces new files by his own, as {@linkcode STRANGER}, until it is disposed. Needs root and perl(1). */
export function replacing(directory: string, beginning: string): AsyncDisposable {
  return start(REPLACE, directory, beginning);
}
