/**
 * Carries out the commands of the tree store: calls the library, and prints.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { formatJson } from "./output.ts";
import { printable, quote } from "../core/quote.ts";
import type { ImportedTree, ImportOptions } from "../store/import_options.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { GO_ON, interruptible } from "./carry_out.ts";
import type { Io } from "./io.ts";
import { parseTreeCommand } from "./tree_command.ts";
import type { Command } from "./typed_command.ts";
import type { Screen } from "./table.ts";
import type { OutputOptions } from "./typed_command.ts";
import type { TreeCommand } from "./tree_command.ts";

/** The output and the options of a command. */
export interface TreeIo extends ChangeOptions {
  /** Writes to stdout. */
  readonly out: (text: string) => void;
  /** Writes to stderr. */
  readonly err: (text: string) => void;
  /** Reads stdin to its end. */
  readonly stdin: () => Uint8Array | string;
  /** Tells what stdout is. */
  readonly screen?: (() => Screen) | undefined;
}

type Of<A extends TreeCommand["action"]> = Extract<TreeCommand, { action: A }>;

/** Imports an image into the store, reports the progress, and prints the tree id. */
async function put(
  { output }: Of<"import" | "pull">,
  io: TreeIo,
  act: (options: ImportOptions) => Promise<ImportedTree>,
): Promise<number> {
  const { withProgress } = await import("./progress.ts");
  const tree = await withProgress({ ...io, quiet: output.quiet }, (progress) => {
    return act({ ...io, ...progress });
  });
  io.out(output.json ? formatJson(tree) : `${tree.id}\n`);
  return 0;
}

/** Prints the flags of `deno run` that a command needs. */
async function tellFlags(
  permissions: RequiredPermissions,
  { json }: OutputOptions,
  io: TreeIo,
): Promise<number> {
  const { flagsText } = await import("./plan_output.ts");
  io.out(flagsText(permissions, json));
  return 0;
}

async function runImport(command: Of<"import">, io: TreeIo): Promise<number> {
  const { importPermissions, importTree } = await import("../store/import_tree.ts");
  const { output, request } = command;
  if (output.flags) return await tellFlags(importPermissions(request), output, io);
  return await put(command, io, (options) => importTree(command.request, options));
}

function textOf(input: Uint8Array | string): string {
  return typeof input === "string" ? input : new TextDecoder().decode(input);
}

/** Reads the password of a user from stdin. */
export function readPassword(
  passwordStdin: boolean,
  { stdin }: Pick<TreeIo, "stdin">,
): { readonly password?: string } {
  return passwordStdin ? { password: textOf(stdin()).replace(/\r?\n$/, "") } : {};
}

async function runPull(command: Of<"pull">, io: TreeIo): Promise<number> {
  const { pullPermissions, pullTree } = await import("../store/pull_tree.ts");
  const { output, request, passwordStdin, dryRun } = command;
  if (dryRun) return await tellFlags(pullPermissions(request), output, io);
  const password = readPassword(passwordStdin, io);
  return await put(command, io, (options) => pullTree({ ...request, ...password }, options));
}

/** Pushes an image, reports the progress, and prints the reference with the digest. */
async function runPush(command: Of<"push">, io: TreeIo): Promise<number> {
  const { pushPermissions, pushTree } = await import("../store/push_tree.ts");
  const { formatImageReference, parseImageReference } = await import(
    "../registry/image_reference.ts"
  );
  const { output, request, passwordStdin, dryRun } = command;
  if (dryRun) return await tellFlags(await pushPermissions(request), output, io);
  const given = { ...request, ...readPassword(passwordStdin, io) };
  const { withProgress } = await import("./progress.ts");
  const pushed = await withProgress({ ...io, quiet: output.quiet }, (progress) => {
    return pushTree(given, { ...io, ...progress });
  });
  const reference = { ...parseImageReference(pushed.reference), tag: null, digest: pushed.digest };
  io.out(output.json ? formatJson(pushed) : `${formatImageReference(reference)}\n`);
  return 0;
}

async function runList({ request, output }: Of<"list">, io: TreeIo): Promise<number> {
  const { listTreesSync } = await import("../store/list.ts");
  const { storeLayout } = await import("../store/layout.ts");
  const { treesText } = await import("./tree_output.ts");
  const trees = listTreesSync(request);
  if (trees.length === 0 && !output.quiet) {
    io.err(`no tree is in ${printable(quote(storeLayout(request.store).store))}\n`);
  }
  io.out(output.json ? formatJson({ trees }) : treesText(trees, io.screen?.()));
  return 0;
}

async function runPath({ request, output }: Of<"path" | "remove">, io: TreeIo): Promise<number> {
  const { treePathSync } = await import("../store/list.ts");
  const lower = treePathSync(request);
  io.out(output.json ? formatJson({ lower }) : lower.map((path) => `${path}\n`).join(""));
  return 0;
}

/** Plans a removal, and changes nothing. */
async function runDry(
  command: Of<"path" | "remove" | "gc" | "prune">,
  io: TreeIo,
): Promise<number> {
  const { planTreeRemoval } = await import("../store/remove_tree.ts");
  const { planTreeCollection } = await import("../store/collect_trees.ts");
  const { planTreePruning } = await import("../store/prune_trees.ts");
  const { formatPlan } = await import("./plan_output.ts");
  const plan = command.action === "gc"
    ? await planTreeCollection(command.request, io)
    : command.action === "prune"
    ? await planTreePruning(command.request)
    : await planTreeRemoval(command.request, io);
  const { trees, layers, blobs } = plan;
  io.out(formatPlan(plan, command.output, { more: { trees, layers, blobs } }));
  return 0;
}

async function runRemove(command: Of<"path" | "remove">, io: TreeIo): Promise<number> {
  const { removeTree } = await import("../store/remove_tree.ts");
  const { removedTreesText } = await import("./tree_output.ts");
  const removed = await removeTree(command.request, io);
  io.out(command.output.json ? formatJson(removed) : removedTreesText(removed));
  return 0;
}

async function runGc({ request, output }: Of<"gc">, io: TreeIo): Promise<number> {
  const { collectTrees } = await import("../store/collect_trees.ts");
  const { removedTreesText } = await import("./tree_output.ts");
  const removed = await collectTrees(request, io);
  io.out(output.json ? formatJson(removed) : removedTreesText(removed));
  return 0;
}

async function runPrune({ request, output }: Of<"prune">, io: TreeIo): Promise<number> {
  const { pruneTrees } = await import("../store/prune_trees.ts");
  const { removedTreesText } = await import("./tree_output.ts");
  const removed = await pruneTrees(request, io);
  io.out(output.json ? formatJson(removed) : removedTreesText(removed));
  return 0;
}

async function runInspect({ request, output }: Of<"inspect">, io: TreeIo): Promise<number> {
  const { inspectTreeSync } = await import("../store/inspect_tree.ts");
  const { inspectedText } = await import("./tree_output.ts");
  const tree = inspectTreeSync(request);
  io.out(output.json ? formatJson(tree) : inspectedText(tree));
  return 0;
}

/** Names an image, or takes a name. */
async function runTag(command: Of<"tag" | "untag">, io: TreeIo): Promise<number> {
  const { tagPermissions, tagTree, untagTree } = await import("../store/tag_tree.ts");
  const { output, dryRun } = command;
  if (dryRun) return await tellFlags(tagPermissions(command.request), output, io);
  const { id, images } = command.action === "tag"
    ? await tagTree(command.request, io)
    : await untagTree(command.request, io);
  io.out(output.json ? formatJson({ id, images }) : `${id}\n`);
  return 0;
}

/** Exits with 1 if a tree differs from its import. */
async function runCheck({ request, output }: Of<"check">, io: TreeIo): Promise<number> {
  const { checkTrees } = await import("../store/tree_check.ts");
  const { checkedText } = await import("./tree_output.ts");
  const trees = await checkTrees(request, io);
  io.out(output.json ? formatJson({ trees }) : checkedText(trees));
  return trees.some(({ differences }) => differences.length > 0) ? 1 : 0;
}

/** Carries out a command, and returns the exit status. */
export function runTreeCommand(command: TreeCommand, io: TreeIo): Promise<number> {
  switch (command.action) {
    case "import":
      return runImport(command, io);
    case "pull":
      return runPull(command, io);
    case "push":
      return runPush(command, io);
    case "list":
      return runList(command, io);
    case "path":
      return runPath(command, io);
    case "remove":
      return command.dryRun ? runDry(command, io) : runRemove(command, io);
    case "inspect":
      return runInspect(command, io);
    case "tag":
    case "untag":
      return runTag(command, io);
    case "check":
      return runCheck(command, io);
    case "gc":
      return command.dryRun ? runDry(command, io) : runGc(command, io);
    case "prune":
      return command.dryRun ? runDry(command, io) : runPrune(command, io);
  }
}

/** Reads the arguments of a command of the tree store, and carries it out. */
export async function runTreeLine(
  { action, args, cwd }: Extract<Command, { kind: "tree" }>,
  io: Io,
): Promise<number> {
  const command = parseTreeCommand(action, args, cwd);
  const { out, err, input: stdin, screen } = io;
  const act = (options: ChangeOptions) => {
    return runTreeCommand(command, { out, err, stdin, screen, ...options });
  };
  const outcome = action === "import" || action === "pull" ? undefined : GO_ON;
  return await interruptible(io, command, act, outcome);
}
