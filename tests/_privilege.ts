/**
 * What the tests' own user may do.
 *
 * @module
 */

/**
 * Tells whether the tests run as the machine's root: as uid 0 of a user namespace, only ids that are mapped
 * into it exist, and overlayfs needs the option `userxattr`.
 */
export const isRealRoot: boolean = Deno.uid() === 0 &&
  /^\s*0\s+0\s+4294967295$/m.test(Deno.readTextFileSync("/proc/self/uid_map"));
