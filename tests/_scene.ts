/**
 * What most tests begin with: an image in a temporary directory, and a request to render it.
 *
 * @module
 */
import type { RenderRequest } from "../mod.ts";
import type { TempDir } from "./_temp.ts";
import { makeTree, MARKS } from "./_tree.ts";

/** Makes an image, and a request for an app of it in a pod that is not there yet. */
export async function makeRequest(
  dir: TempDir,
  more: Partial<RenderRequest> = {},
): Promise<RenderRequest> {
  const lower = await makeTree(dir.join("image"));
  return { lower, pod: dir.join("pod"), app: "web", options: MARKS, ...more };
}
