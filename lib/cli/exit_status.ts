/**
 * The exit statuses of the command: the one table that the help and the documentation show.
 *
 * Requires no permissions.
 *
 * @module
 */

/** Each exit status, or several of one meaning, and what it means. */
export const EXIT_STATUS: readonly (readonly [status: string, meaning: string])[] = [
  ["0", "done"],
  [
    "1",
    "the operation failed; what a render had made was taken back, unless only its result could not " +
    "be written",
  ],
  ["2", "usage or invalid value, nothing touched"],
  ["3", "refused by a safety check, nothing touched"],
  ["4", "a Deno permission is missing, nothing touched"],
  ["130, 143", "interrupted; what was begun is undone, and pods that were done before stay done"],
];
