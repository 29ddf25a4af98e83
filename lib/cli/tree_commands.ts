/**
 * The commands of the tree store: their flags, their operands, and what they do. Loaded when one of them runs.
 *
 * @module
 */
import { flag } from "../request/options.ts";
import { DRY_RUN, FLAGS, OUTPUT, STORE, STORE_WAIT } from "./flag_rows.ts";
import { REGISTRY } from "./commands.ts";
import type { Flag } from "../request/options.ts";
import type { TreeAction } from "./command_names.ts";

const QUICK = flag("boolean", "quick", "leave out contents, devices and attributes", {
  field: "quick",
});

/** The flags of what puts an image into the store. */
const IMPORT: readonly Flag[] = [
  flag("name", "platform P", "such as linux/arm64", {
    field: "platform",
    default: "this machine's",
  }),
  flag("name", "name NAME", "the name by which --image finds it", {
    field: "name",
    default: "the image's own",
  }),
  flag(
    "name",
    "strip PARTS",
    "leave out setuid (setuid and setgid bits, and capabilities), devices, or both: " +
      "--strip setuid,devices",
    { field: "strip" },
  ),
  flag("boolean", "userxattr", "mount it with userxattr", {
    field: "userxattr",
    default: "in a user namespace",
  }),
  flag("boolean", "keep-blobs", "keep the original blobs too, for tree push", {
    field: "keepBlobs",
  }),
  flag("size", "max-size SIZE", "the most that the files of an image may have together", {
    field: "maxBytes",
    default: "64G",
  }),
  flag("count", "max-entries N", "the most entries its layers may have together", {
    field: "maxEntries",
    default: "2000000",
  }),
  STORE_WAIT,
  ...OUTPUT,
];

/** The flags and operands of each command of the tree store. */
export const TREE_FLAGS: Readonly<
  Record<TreeAction, { readonly flags: readonly Flag[]; readonly operands?: readonly string[] }>
> = {
  import: {
    operands: ["SOURCE"],
    flags: [
      STORE,
      flag("name", "ref NAME", "one of several images, by name or digest", { field: "ref" }),
      FLAGS,
      ...IMPORT,
    ],
  },
  pull: {
    operands: ["REF"],
    flags: [
      STORE,
      ...REGISTRY,
      flag(
        "name",
        "mirror HOST[/PREFIX]",
        "a mirror to ask first; http:// before it: without TLS",
        {
          field: "mirror",
        },
      ),
      flag(
        "boolean",
        "allow-foreign",
        "fetch foreign layers that the registry does not have from their URLs, by https",
        { field: "allowForeign" },
      ),
      ...DRY_RUN,
      ...IMPORT,
    ],
  },
  push: {
    operands: ["IMAGE", "REF"],
    flags: [STORE, ...REGISTRY, ...DRY_RUN, STORE_WAIT, ...OUTPUT],
  },
  list: { flags: [STORE, ...OUTPUT] },
  path: { operands: ["ID"], flags: [STORE, ...OUTPUT] },
  check: { operands: ["ID"], flags: [STORE, QUICK, ...OUTPUT] },
  "verify-all": { flags: [STORE, QUICK, ...OUTPUT] },
  inspect: { operands: ["ID"], flags: [STORE, ...OUTPUT] },
  tag: { operands: ["ID", "NAME"], flags: [STORE, ...DRY_RUN, STORE_WAIT, ...OUTPUT] },
  untag: { operands: ["NAME"], flags: [STORE, ...DRY_RUN, STORE_WAIT, ...OUTPUT] },
  remove: { operands: ["ID"], flags: [STORE, ...DRY_RUN, STORE_WAIT, ...OUTPUT] },
  gc: { flags: [STORE, ...DRY_RUN, STORE_WAIT, ...OUTPUT] },
  prune: { flags: [STORE, ...DRY_RUN, STORE_WAIT, ...OUTPUT] },
};

/** The commands of the tree store. */
export const TREE_COMMANDS: readonly (readonly [term: string, meaning: string])[] = [
  [
    "import SOURCE",
    "import a directory, an archive of a root file system, an image of docker save or skopeo's dir:, " +
    "or an OCI image layout, each a directory or an archive (plain, gzip, xz, zstd); - is stdin. " +
    "Prints the tree id.",
  ],
  [
    "pull REF",
    "pull an image from its registry, such as debian:12 or ghcr.io/owner/name:tag; layers that the store " +
    "has are not fetched. Prints the tree id.",
  ],
  [
    "push IMAGE REF",
    "push an image, named by its tree id or its name, to a registry; what is there already is not sent. " +
    "Prints the reference with the digest.",
  ],
  ["list", "list the trees: id, images, layers, size, the pods that use them"],
  ["path ID", "print its lowers, top first, one a line"],
  ["inspect ID", "print its config, its layers and its history"],
  ["tag ID NAME", "give an image a further name; an image that has it loses it"],
  ["untag NAME", "take a name from an image; the tree stays"],
  ["check ID", "compare it with what was imported; exits with 1 when it differs"],
  ["verify-all", "check all trees"],
  ["remove ID", "remove a tree that no pod uses; its layers stay until gc"],
  ["gc", "remove the layers that no tree has"],
  ["prune", "remove the trees that have no name and that no pod uses, and do what gc does"],
];
