/**
 * The operations of a render from the tree store.
 *
 * @module
 */
import type { Application } from "./application.ts";
import { look, makeFile, readOwnFile, typeOf } from "./disk.ts";
import { OverlayError, RefusedError } from "./errors.ts";
import type { LinkOperation, UseOperation } from "./operation.ts";
import { PROGRAMS } from "./permissions.ts";
import { printable, quote } from "./quote.ts";
import { run as runProgram } from "./run.ts";

/** Makes a link; Deno makes one only for who may read and write everything. */
export async function applyLink({ path, to }: LinkOperation, run: Application): Promise<void> {
  const info = look(path);
  if (info !== null) return checkLink(path, to, info);
  const args = ["--symbolic", "--no-target-directory", "--", to, path];
  const result = await runProgram(PROGRAMS.ln, args, { ...run.programs, cwd: "/" });
  if (result.status !== 0) {
    const said = quote(printable(result.stderr));
    throw new OverlayError("failed", `Cannot make ${quote(path)}: ln said ${said}`, { path });
  }
  run.changedBy(`remove ${quote(path)}`, () => Deno.removeSync(path));
}

function checkLink(path: string, to: string, info: Deno.FileInfo): void {
  const is = info.isSymlink ? Deno.readLinkSync(path) : null;
  if (is === to) return;
  const what = is === null ? typeOf(info) : `a link to ${quote(is)}`;
  throw new RefusedError("different", `Cannot make a link ${quote(path)}: it is ${what}`, {
    path,
    hint: `remove it if it may go; it must lead to ${quote(to)}`,
  });
}

/**
 * Notes that the pod uses trees of the store, and then looks whether the tree is still there: who removes
 * a tree does it the other way round, so that one of the two sees the other.
 */
export function applyUse({ path, pod, rendered }: UseOperation, run: Application): void {
  const content = new TextEncoder().encode(`${pod}\n`);
  if (readOwnFile(path) === null) {
    const written = makeFile(path, content, 0o600);
    run.onDisk = Promise.all([run.onDisk, written]).then(() => {});
    run.changedBy(`remove ${quote(path)}`, () => Deno.removeSync(path));
  }
  if (look(rendered) !== null) return;
  throw new OverlayError("missing", `Cannot use tree: ${quote(rendered)} is gone`, {
    path: rendered,
    hint: "import the image again",
  });
}
