/**
 * Layers of apps against umoci, buildah and the import: the image that an app was rendered from and the layer
 * of what it wrote are, unpacked by each of them, the root of the app, entry by entry.
 *
 * @module
 */
import { tempDir } from "../_temp.ts";
import {
  assertSameEntries,
  Buildah,
  imported,
  makeOdd,
  needs,
  renderedEntries,
  umociEntries,
  withoutRoot,
} from "../_tool_images.ts";
import { Stack } from "./_stack.ts";

const tools = needs("umoci", "buildah");

/** A base, and the changes of one app after the other. */
interface Case {
  readonly name: string;
  readonly base: string;
  readonly changes: readonly string[];
}

/** The first cases have the names of the suite of containerd's continuity that they have in common. */
const CASES: readonly Case[] = [
  {
    name: "Basic",
    base: "mkdir -p etc root; echo one >etc/hosts; echo p >etc/profile; echo u >etc/unchanged",
    changes: [
      "echo two >etc/hosts; echo n >etc/new; rm etc/profile; echo b >root/.rc",
      "rm etc/new; mv root/.rc root/.moved; echo three >>etc/hosts; mkdir -p var/lib",
    ],
  },
  {
    name: "Deletion",
    base:
      "echo k >keep; mkdir -p t/a/b/c t/k; echo 1 >t/a/b/c/f; echo 2 >t/a/g; echo 3 >t/k/h; echo 4 >top",
    changes: [
      "rm -r t/a; rm top",
      "mkdir -p t/a/b; echo again >t/a/b/f",
      "rm -r t",
    ],
  },
  {
    name: "Update",
    base:
      "mkdir d; echo 1 >d/size; echo 2 >d/mode; echo 3 >d/owner; ln -s a d/link; echo 4 >d/same",
    changes: [
      "echo longer >d/size; chmod 0700 d/mode; chown 1000:50 d/owner; ln -sfn b d/link",
      "touch -d '2001-01-01 UTC' d/same; printf '9\\n' >d/size; chown -h 7:7 d/link; chmod 4755 d/mode",
    ],
  },
  {
    name: "DirectoryPermission",
    base: "mkdir -m 0700 d1; mkdir -m 0751 d2; mkdir -m 0777 d3; chown 5:6 d2",
    changes: ["mkdir -m 0700 n1; mkdir -m 0751 n2; chmod 0711 d1; chown 1:1 d3", "chmod 2775 d1"],
  },
  {
    name: "ParentDirectoryPermission",
    base:
      "mkdir -m 0700 d1; mkdir -m 0751 d2; mkdir -m 1777 d3; mkdir -m 0700 d3/e; chown 8:9 d3/e",
    changes: ["echo f >d1/f; echo f >d2/f; echo f >d3/e/f", "rm d1/f; echo g >d3/e/g"],
  },
  {
    name: "HardlinkUnmodified",
    base: "mkdir d; echo 1 >d/f1",
    changes: ["ln d/f1 d/f2", "ln d/f2 d/f3"],
  },
  {
    name: "HardlinkBeforeUnmodified",
    base: "mkdir d; echo 1 >d/f1; ln d/f1 d/f2",
    changes: ["echo other >d/other", "echo more >more"],
  },
  {
    name: "HardlinkBeforeModified",
    base: "mkdir d; echo 1 >d/f1",
    changes: ["ln d/f1 d/f2", "echo 2 >>d/f1"],
  },
  {
    name: "three layers in a chain, in which a path is removed and made again",
    base: "echo k >keep; mkdir -p d/sub; echo base >d/sub/f; echo base >f; mkdir x; echo x >x/x",
    changes: [
      "rm -r d; rm f; rm -r x",
      "mkdir -p d/sub; echo new >d/sub/g; mkdir f; echo in >f/in; echo file >x",
      "rm -r f; echo file >f; rm x; mkdir x; echo y >x/y; rm d/sub/g",
    ],
  },
  {
    name: "types that change, and back",
    base: "mkdir -p d2f/in; echo 1 >d2f/in/a; echo 2 >f2d; ln -s f2d l2d; mkdir -p e/f",
    changes: [
      "rm -r d2f; echo f >d2f; rm f2d l2d; mkdir f2d l2d; echo in >f2d/in; echo in >l2d/in",
      "rm d2f; mkdir d2f; echo b >d2f/b; rm -r f2d; ln -s d2f f2d; rm -r l2d; mkfifo l2d",
    ],
  },
  {
    name: "odd names, owners, times and devices",
    base: String
      .raw`echo a >"$(printf 'b\344')"; mkdir 'größe €'; echo c >'größe €/x'; echo d >-dash`,
    changes: [
      String
        .raw`rm "$(printf 'b\344')" -- -dash; echo new >'größe €/日本'; echo q >"$(printf 'n\nl')"
        mknod -m 0666 null c 1 3; mknod -m 0660 sda b 8 0; mkfifo fifo
        echo o >owner; chown 3000000:4294967294 owner; touch -d '2100-01-01 UTC' owner
        n=$(printf 'n%.0s' $(seq 120)); mkdir -p "deep/$n/$n/$n"; echo p >"deep/$n/$n/$n/$n"
        truncate -s 1M sparse; printf end >>sparse; head -c 70000 /dev/zero >zeros`,
    ],
  },
  {
    name: "setuid, capabilities, ACLs and attributes",
    base: "cp /bin/true s; chmod 4755 s; mkdir d; echo a >d/a",
    changes: [
      `cp /bin/true c; setcap cap_net_raw+ep c; cp /bin/true g; chmod 2755 g; echo b >d/b
       setfattr -n user.new -v 2 d/a; setfattr -n user.dir -v 3 d; setfacl -m u:1000:rwx d/b`,
      "setfattr -x user.new d/a; setcap -r c; setfacl -d -m g:50:rx d",
    ],
  },
];

for (const { name, base, changes } of CASES) {
  Deno.test({
    name: `base and layers are the root of the app: ${name}${tools.suffix}`,
    ignore: tools.ignore,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      const stack = await Stack.make(dir, base);
      // Times in the root have fractions, which a layer does not keep.
      const WHOLE = "find . -xdev -newermt @1000000001 ! -type l -exec touch -hd @1700000000 {} +";
      const buildah = new Buildah(dir, "vfs");
      for (const change of changes) {
        await stack.change(`${change}\n${WHOLE}; ${LINKS}`);
        const must = withoutRoot(await stack.entries());
        await stack.commit();
        assertSameEntries(withoutRoot(await stack.entries()), must, "imported and rendered");
        const layout = await stack.layout();
        assertSameEntries(
          withoutRoot(await umociEntries(dir, `${layout}:test`)),
          must,
          "unpacked by umoci",
        );
        const found = await buildah.entries(`oci:${layout}:test`);
        assertSameEntries(found, withoutAcls(must), "unpacked by buildah");
      }
    },
  });
}

/** Buildah copies no ACLs from layer to layer with its driver vfs. */
function withoutAcls(entries: ReadonlyMap<string, string>): Map<string, string> {
  const without = (words: string) => words.replaceAll(/ system\.posix_acl_\w+=\w+/g, "");
  return new Map([...entries].map(([path, words]) => [path, without(words)]));
}

/** Sets the times of links, which `touch` would follow. */
const LINKS = "find . -xdev -type l -exec touch -hd @1700000000 {} +";

Deno.test({
  name: `a tree with all that is odd goes through an upper and comes back${tools.suffix}`,
  ignore: tools.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const stack = await Stack.make(dir, "echo base >base");
    await makeOdd(dir, `${stack.rootfs}/odd`);
    await stack.change(`find odd -exec touch -hd @1600000000 {} +`);
    const must = withoutRoot(await stack.entries());
    await stack.commit();
    assertSameEntries(withoutRoot(await stack.entries()), must, "imported and rendered");
    const { id } = await imported(dir, await stack.layout());
    assertSameEntries(withoutRoot(await renderedEntries(dir, id)), must, "imported again");
    const layout = await stack.layout();
    const umoci = withoutRoot(await umociEntries(dir, `${layout}:test`));
    assertSameEntries(umoci, must, "unpacked by umoci");
  },
});
