/**
 * What is unpacked of archives in the shapes that other programs write, against what umoci makes of the same.
 *
 * @module
 */
import { archive, directory, entry, file, hardlink, symlink } from "./_archive.ts";
import type { Bytes } from "./_archive.ts";
import { makeLayout } from "./_image.ts";
import {
  assertSameEntries,
  imported,
  needs,
  renderedEntries,
  umociEntries,
  withoutRoot,
} from "./_tool_images.ts";
import { tempDir } from "./_temp.ts";
import type { TempDir } from "./_temp.ts";

const umoci = needs("umoci");

/** Imports layers, the lowest first, and compares a render of them with what umoci unpacks. */
async function assertAsUmoci(dir: TempDir, ...layers: readonly Bytes[][]): Promise<void> {
  const archives = layers.map((parts) => archive(...parts));
  const layout = await makeLayout(dir.join("layout"), archives, "latest");
  const { id } = await imported(dir, layout);
  const is = withoutRoot(await renderedEntries(dir, id));
  const must = withoutRoot(await umociEntries(dir, `${layout}:latest`));
  assertSameEntries(is, must, "a render");
}

type Kind = readonly [name: string, make: (name: string) => Bytes];

const KINDS: readonly Kind[] = [
  ["file", (name) => file(name, `content of ${name}`, { mode: 0o640, uid: 3 })],
  ["empty", (name) => file(name, "", { mode: 0o604, mtime: 7 })],
  ["absolute", (name) => symlink(name, "/etc/passwd")],
  ["outside", (name) => symlink(name, "../../../target")],
  ["inside", (name) => symlink(name, "real")],
  ["hardlink", (name) => hardlink(name, "real/file")],
  ["fifo", (name) => entry({ name, flag: "6", mode: 0o620 })],
];

/** Every order of some of these, with repetitions. */
function orders(kinds: readonly Kind[], length: number): readonly (readonly Kind[])[] {
  if (length === 0) return [[]];
  return orders(kinds, length - 1).flatMap((before) => kinds.map((kind) => [...before, kind]));
}

/** An archive that names a path several times, for each order; the names tell the order. */
function renamed(kinds: readonly (readonly Kind[])[]): Bytes[] {
  const real = [directory("real"), file("real/file", "real")];
  return [
    ...real,
    ...kinds.flatMap((order) => {
      const name = order.map(([word]) => word).join("-");
      return order.map(([, make]) => make(name));
    }),
  ];
}

const DIRECTORY: Kind = ["directory", (name) => directory(name, { mode: 0o711, uid: 5, mtime: 9 })];

Deno.test({
  name: `a path that is named again is what its last entry says, in any order${umoci.suffix}`,
  ignore: umoci.ignore,
  fn: async () => {
    await using dir = await tempDir();
    const before = orders(KINDS, 2);
    await assertAsUmoci(
      dir,
      renamed([...orders(KINDS, 3), ...before.map((order) => [...order, DIRECTORY])]),
    );
  },
});
