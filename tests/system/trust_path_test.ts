import { assertEquals, assertMatch } from "@std/assert";
import { prepareOverlay, renderOverlay } from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { cli } from "../_cli.ts";
import { assertErrorText, assertFails, disk, flagsOf, runMain } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import { modeOf, mountsBelow, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS } from "../_tree.ts";

/** A user who is neither root nor the tests' own. */
const OTHER = 65534;

async function setUp(dir: TempDir): Promise<RenderRequest> {
  // What the tests' own directory lies in is searched by others, as /tmp is.
  await Deno.chmod(dir.path, 0o755);
  await Deno.mkdir(dir.join("above", "pods"), { recursive: true });
  const lower = await makeTree(dir.join("image"));
  return { lower, pod: dir.join("above", "pods", "pod"), app: "web", options: MARKS };
}

interface Case {
  readonly name: string;
  /** Set if it takes another user's id. @default {false} */
  readonly needsRoot?: boolean;
  /** Set if it can be so before there is a pod. @default {false} */
  readonly above?: boolean;
  /** Set if it only matters to who makes something in the pod. @default {false} */
  readonly inside?: boolean;
  readonly profile?: "manifest";
  /** Makes it so, and says which path is to blame. */
  readonly arrange: (pod: string, dir: TempDir) => Promise<string>;
  readonly cause: string;
}

function chmod(name: string, mode: number): (pod: string) => Promise<string> {
  return async (pod) => {
    await Deno.chmod(`${pod}${name}`, mode);
    return `${pod}${name}`;
  };
}

function giveAway(name: string): (pod: string) => Promise<string> {
  return async (pod) => {
    await Deno.chown(`${pod}${name}`, OTHER, null);
    return `${pod}${name}`;
  };
}

/** A directory above the pod. */
function above(pod: string): string {
  return pod.replace(/\/pods\/pod$/, "");
}

const modes = [0o777, 0o770, 0o757, 0o1777, 0o2770, 0o720, 0o702];

const CASES: readonly Case[] = [
  ...modes.map((mode) => {
    const octal = mode.toString(8).padStart(4, "0");
    const cause = `others than its owner can write to it (mode ${octal})`;
    return { name: `a pod of mode ${octal}`, cause, arrange: chmod("", mode) };
  }),
  {
    name: "a pod of another user",
    needsRoot: true,
    cause: `it belongs to user ${OTHER}`,
    arrange: giveAway(""),
  },
  {
    name: "a pod in a directory where everybody can swap it",
    above: true,
    cause: "everybody can write to it (mode 0777)",
    arrange: async (pod) => {
      await Deno.chmod(`${above(pod)}/pods`, 0o777);
      return `${above(pod)}/pods`;
    },
  },
  {
    name: "a pod further below such a directory",
    above: true,
    cause: "everybody can write to it (mode 0757)",
    arrange: async (pod) => {
      await Deno.chmod(above(pod), 0o757);
      return above(pod);
    },
  },
  {
    name: "a pod in a directory where a group can swap it",
    above: true,
    cause: "its group can write to it (mode 2775)",
    arrange: async (pod) => {
      await Deno.chmod(`${above(pod)}/pods`, 0o2775);
      return `${above(pod)}/pods`;
    },
  },
  {
    name: "a pod in another user's directory",
    needsRoot: true,
    above: true,
    cause: `it belongs to user ${OTHER}`,
    arrange: async (pod) => {
      await Deno.chown(`${above(pod)}/pods`, OTHER, OTHER);
      return `${above(pod)}/pods`;
    },
  },
  {
    name: "a pod below another user's directory in one that is sticky",
    needsRoot: true,
    above: true,
    cause: `it belongs to user ${OTHER}`,
    arrange: async (pod, dir) => {
      await Deno.chmod(dir.path, 0o1777);
      await Deno.chown(above(pod), OTHER, OTHER);
      return above(pod);
    },
  },
  {
    name: "an overlay/ of another user",
    needsRoot: true,
    inside: true,
    cause: `it belongs to user ${OTHER}`,
    arrange: giveAway("/overlay"),
  },
  {
    name: "an overlay/ that others can write to, of a profile that leaves it so",
    inside: true,
    profile: "manifest",
    cause: "others than its owner can write to it (mode 0775)",
    arrange: chmod("/overlay", 0o775),
  },
  {
    name: "an image directory of another user",
    needsRoot: true,
    inside: true,
    cause: `it belongs to user ${OTHER}`,
    arrange: giveAway("/overlay/image"),
  },
  ...["", "/upper", "/work"].map((name) => ({
    name: `an image directory's ${name || "."} that others can write to`,
    inside: true,
    cause: "others than its owner can write to it (mode 0770)",
    arrange: chmod(`/overlay/image${name}`, 0o770),
  })),
];

for (const { name, needsRoot, above, inside, profile, arrange, cause } of CASES) {
  const ignore = needsRoot === true && !isRealRoot;
  const suffix = needsRoot ? " [skipped: needs root]" : "";
  const refused = { status: 3, code: "shared-pod", cause };

  Deno.test(`overlay-render refuses ${name}${suffix}`, { ignore }, async () => {
    await using dir = await tempDir();
    const manifest = dir.join("manifest.json");
    await Deno.writeTextFile(manifest, "{}");
    const request = {
      ...await setUp(dir),
      ...(profile === undefined ? {} : { profile, manifest }),
    };
    await prepareOverlay({ ...request, app: "db" });
    const path = await arrange(request.pod, dir);
    for (const command of ["render", "prepare"]) {
      await assertFails(dir.path, [command, ...flagsOf(request)], { ...refused, path });
    }
    if (inside) return;
    await assertFails(dir.path, ["unmount", `--pod=${request.pod}`], { ...refused, path });
  });

  if (!above) continue;
  Deno.test(`overlay-render does not make ${name}${suffix}`, { ignore }, async () => {
    await using dir = await tempDir();
    const request = await setUp(dir);
    const path = await arrange(request.pod, dir);
    await assertFails(dir.path, ["render", ...flagsOf(request)], { ...refused, path });
    assertEquals(await isMissing(request.pod), true);
  });
}

Deno.test("overlay-render refuses a pod behind a symlink into a directory that others can write to", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir);
  await Deno.chmod(dir.join("above", "pods"), 0o777);
  await Deno.symlink(dir.join("above", "pods"), dir.join("link"));
  const pod = dir.join("link", "pod");
  await assertFails(dir.path, ["render", ...flagsOf({ ...request, pod })], {
    status: 3,
    code: "shared-pod",
    path: dir.join("above", "pods"),
  });
});

Deno.test({
  name: "overlay-render refuses a pod behind another user's symlink [skipped: needs root]",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const request = await setUp(dir);
    await Deno.symlink(dir.join("above", "pods"), dir.join("link"));
    const command = new Deno.Command("chown", {
      args: ["--no-dereference", `${OTHER}`, dir.join("link")],
    });
    assertEquals((await command.output()).success, true);
    await assertFails(
      dir.path,
      ["render", ...flagsOf({ ...request, pod: dir.join("link", "pod") })],
      {
        status: 3,
        code: "shared-pod",
        path: dir.join("link"),
        cause: `it belongs to user ${OTHER}, who could swap it for a symlink`,
      },
    );
  },
});

Deno.test("overlay-render exits 3 for a shared pod, with the command that cures it", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir);
  await Deno.mkdir(request.pod);
  await Deno.chmod(request.pod, 0o775);
  const before = await disk(dir.path);
  const { status, stdout, stderr } = await cli(["render", ...flagsOf(request)]);
  assertEquals([status, stdout], [3, ""]);
  assertErrorText(stderr);
  const cure = /\nhint: .*: (chmod .*)\n$/.exec(stderr)?.[1] ?? "";
  assertEquals(await disk(dir.path), before);
  assertEquals((await new Deno.Command("sh", { args: ["-c", cure] }).output()).success, true);
  assertEquals((await cli(["render", ...flagsOf(request)])).status, 0);
});

interface Fine {
  readonly name: string;
  readonly needsRoot?: boolean;
  readonly arrange: (pod: string, dir: TempDir) => Promise<unknown>;
}

const FINE: readonly Fine[] = [
  { name: "a sticky directory above", arrange: (_pod, dir) => Deno.chmod(dir.path, 0o1777) },
  { name: "a sticky parent", arrange: (pod) => Deno.chmod(`${above(pod)}/pods`, 0o1777) },
  {
    name: "a sticky parent that a group can write to",
    arrange: (pod) => Deno.chmod(above(pod), 0o3775),
  },
  { name: "a pod that others can read", arrange: (pod) => Deno.chmod(pod, 0o2755) },
  { name: "a pod with a foreign group", needsRoot: true, arrange: (pod) => Deno.chown(pod, 0, 1) },
  {
    name: "an overlay/ that will get its mode",
    arrange: (pod) => Deno.chmod(`${pod}/overlay`, 0o2777),
  },
  {
    name: "an upper that everybody can write to, as the lower",
    arrange: async (pod) => {
      await Deno.mkdir(`${pod}/overlay/image/upper/web`);
      await Deno.chmod(`${pod}/overlay/image/upper/web`, 0o1777);
    },
  },
];

for (const { name, needsRoot, arrange } of FINE) {
  const ignore = needsRoot === true && !isRealRoot;
  const suffix = needsRoot ? " [skipped: needs root]" : "";
  Deno.test(`renderOverlay() accepts ${name}${suffix}`, { ignore }, async () => {
    await using dir = await tempDir();
    const request = await setUp(dir);
    await prepareOverlay({ ...request, app: "db" });
    await arrange(request.pod, dir);
    const { rootfs } = await renderOverlay(request);
    assertEquals(await mountsBelow(dir.path), [rootfs]);
    assertEquals(modeOf(`${request.pod}/overlay`), "0750");
  });
}

Deno.test("main() says in the hint how a directory above a pod is made safe", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir);
  await Deno.chmod(dir.join("above"), 0o777);
  const { stderr } = await runMain(["render", ...flagsOf(request)]);
  assertMatch(
    stderr,
    /\nhint: take that away, chmod go-w .*\/above, or set its sticky bit: chmod \+t\n$/,
  );
});
