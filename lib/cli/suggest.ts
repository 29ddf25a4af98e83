/**
 * Suggestions for a word that is unknown. Loaded when an error is reported.
 *
 * Requires no permissions.
 *
 * @module
 */
import { findClosest } from "../core/closest.ts";
import { InvalidValueError } from "../core/errors.ts";
import { UnknownWordError } from "./args.ts";
import { TREE_ACTIONS } from "./command_names.ts";

/** The commands of mount(8), of podman and of docker, and what does the same here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  mount: "render",
  create: "prepare",
  start: "render",
  umount: "unmount",
  ls: "tree list or status",
  list: "tree list or status",
  ps: "status --pods DIR",
  images: "tree list",
  image: "tree",
  rm: "gc --pod DIR or tree remove",
  delete: "gc --pod DIR or tree remove",
  rmi: "tree remove",
  diff: "changes",
  inspect: "tree inspect or status",
  load: "tree import",
  save: "export --to",
  prune: "tree prune or gc",
  exec: "run",
  version: "--version",
  info: "doctor",
};

/** The same of the tree store. */
const ELSEWHERE_TREE: Readonly<Record<string, string>> = {
  ls: "list",
  images: "list",
  rm: "remove",
  rmi: "remove",
  delete: "remove",
  load: "import",
  show: "inspect",
  verify: "check",
};

function findSuggestion({ given, known, command }: UnknownWordError): string | undefined {
  const elsewhere = command === "tree" ? ELSEWHERE_TREE : command === "" ? ELSEWHERE : {};
  if (Object.hasOwn(elsewhere, given)) return elsewhere[given];
  const action = TREE_ACTIONS.find((action) => command === "" && action === given);
  return action === undefined ? findClosest(given, known) : `tree ${action}`;
}

/** Adds to the hint of an error about a word that is unknown the one that may have been meant. */
export function withSuggestion<E extends Error>(error: E): E | InvalidValueError {
  if (!(error instanceof UnknownWordError)) return error;
  const word = findSuggestion(error);
  if (word === undefined) return error;
  const hint = `did you mean ${word}? ${error.hint ?? ""}`.trimEnd();
  return new InvalidValueError(error.code, error.message, { hint });
}
