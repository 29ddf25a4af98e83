/**
 * The exit statuses of the command: the one table that the help and the documentation show.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The exit status if `run` or `unshare` itself fails, as for podman and env(1): the others are those of the command. */
export const OWN_FAILURE = 125;

/** Each exit status, or several of one meaning, and what it means. */
export const EXIT_STATUS: readonly (readonly [status: string, meaning: string])[] = [
  ["0", "done"],
  [
    "1",
    "the operation failed; a render took back what it had made, unless only its result could not be " +
    "written",
  ],
  ["2", "usage error, or a value that is not allowed; nothing was touched"],
  ["3", "refused by a safety check; nothing was touched"],
  ["4", "a Deno permission is missing; nothing was touched"],
  ["130, 143", "interrupted by SIGINT or SIGTERM, and undone"],
];
