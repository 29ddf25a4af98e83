/**
 * The rows of pulling: from the name of an image in a registry on loopback to a tree that can be mounted, by
 * overlay-render and by what people use instead.
 *
 * @module
 */
import { pullPermissions } from "../lib/store/pull_tree.ts";
import { permissionFlags } from "../lib/system/permissions.ts";
import { importOf, scriptOf, storeOf } from "./_importing.ts";
import { REF } from "./_layout.ts";
import type { Layout } from "./_layout.ts";
import { must } from "./_measure.ts";
import type { Place, Row } from "./_measure.ts";

/** An image in the registry, and the same as an OCI image layout. */
export interface Pulled {
  /** Its name in titles and targets. */
  readonly name: string;
  /** Its reference in the registry. */
  readonly reference: string;
  readonly layout: Layout;
}

const ONE = { apps: 1, mounts: 0, rounds: 9, memory: 6e8 };

/** A command line of the script, with the permissions that a pull asks for. */
export function pullOf(place: Place, reference: string): string[] {
  const request = { reference, store: storeOf(place), authFile: "/none" };
  const flags = permissionFlags(pullPermissions(request));
  const pull = ["tree", "pull", reference, "--store", storeOf(place), "--authfile", "/none"];
  return [Deno.execPath(), "run", "--no-prompt", ...flags, scriptOf(place), ...pull, "--quiet"];
}

function podman({ cell }: Place, { reference }: Pulled): string[] {
  const storage = [`--root=${cell}/podman`, "--runroot=/run/containers-pull"];
  const how = ["--storage-driver=overlay", "--tmpdir=/run/libpod-pull"];
  return ["podman", ...storage, ...how, "pull", "--quiet", "--tls-verify=false", reference];
}

function skopeo({ cell }: Place, { reference }: Pulled): string[] {
  const target = `containers-storage:[overlay@${cell}/skopeo+/run/containers-copy]${reference}`;
  const copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"];
  return [...copy, `docker://${reference}`, target];
}

/** Pulling one image into a store that is new, and pulling it again. */
export function pulling(place: Place, image: Pulled, empty: string): Row[] {
  const pull = pullOf(place, image.reference);
  const imported = importOf(place, image.layout.path, "--ref", REF);
  return [
    { ...ONE, by: "overlay-render", what: "tree pull", command: pull },
    { ...ONE, by: "import", what: "tree import of the same as an OCI layout", command: imported },
    { ...ONE, by: "podman", what: "podman pull, driver overlay", command: podman(place, image) },
    {
      ...ONE,
      by: "skopeo",
      what: "skopeo copy into containers-storage, driver overlay",
      command: skopeo(place, image),
    },
    {
      ...ONE,
      by: "again",
      what: "tree pull of a tag that is unchanged",
      prepare: async () => void await must(pull, place.env),
      command: pull,
    },
    {
      ...ONE,
      by: "deno",
      what: "deno run of an empty script",
      command: [Deno.execPath(), "run", "--no-prompt", empty],
    },
  ];
}
