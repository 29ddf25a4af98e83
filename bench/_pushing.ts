/**
 * The rows of pushing: from an image at hand to a registry on loopback that is empty.
 *
 * @module
 */
import { pushPermissions } from "../lib/store/push_tree.ts";
import { permissionFlags } from "../lib/system/permissions.ts";
import { importOf, scriptOf, storeOf } from "./_importing.ts";
import { REF } from "./_layout.ts";
import { must } from "./_measure.ts";
import type { Place, Row } from "./_measure.ts";
import type { Pulled } from "./_pulling.ts";

const ONE = { apps: 1, mounts: 0, rounds: 9, memory: 6e8 };

/**
 * Pushing one image, and the copy of skopeo that does the same.
 *
 * @param data The directory of the registry's blobs, which is emptied before each run.
 */
export async function pushing(
  place: Place,
  { reference, layout }: Pulled,
  data: string,
): Promise<Row[]> {
  const home = { ...place, cell: `${place.scratch}/pushed` };
  await Deno.mkdir(home.cell);
  const store = storeOf(home);
  await must([...importOf(home, layout.path, "--ref", REF), "--keep-blobs"], place.env);
  const request = { tree: REF, reference, store, authFile: "/none" };
  const flags = permissionFlags(await pushPermissions(request));
  const push = ["tree", "push", REF, reference, "--store", store, "--authfile", "/none"];
  const copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"];
  const prepare = async () => {
    await Deno.remove(data, { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  };
  return [
    {
      ...ONE,
      by: "overlay-render",
      what: "tree push",
      prepare,
      command: [
        Deno.execPath(),
        "run",
        "--no-prompt",
        ...flags,
        scriptOf(place),
        ...push,
        "--quiet",
      ],
    },
    {
      ...ONE,
      by: "skopeo",
      what: "skopeo copy of the same OCI layout",
      prepare,
      command: [...copy, `oci:${layout.path}:${REF}`, `docker://${reference}`],
    },
  ];
}
