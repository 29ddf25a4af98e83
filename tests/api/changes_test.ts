import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  changesPermissions,
  InvalidValueError,
  overlayChanges,
  OverlayError,
  permissionFlags,
  RefusedError,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { changesOf, runIn } from "../_changes.ts";
import { cli } from "../_cli.ts";
import { assertRefused, lacks } from "../_lacks.ts";
import { disk, runMain } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import { makeRequest } from "../_scene.ts";
import { sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { MARKS } from "../_tree.ts";

/** A script that makes the tree of each case. */
const IMAGE = `
  mkdir -p etc d/sub only f2; mkdir -m 750 closed
  echo file > file; echo same > same; echo gone > gone; echo text1 > text; touch -d @1000 text
  echo a > d/a; echo b > d/b; echo z > d/sub/z; echo in > only/in; echo f > f2d
  ln -s file link; mkfifo fifo; printf x > "$(printf 'caf\\351')"; ln file hard`;

interface Case {
  readonly name: string;
  readonly script: string;
  readonly must: readonly string[];
  /** The options of the mount. */
  readonly options?: readonly string[];
  /** Set if it takes the machine's root. */
  readonly root?: true;
}

const CASES: readonly Case[] = [
  { name: "nothing", script: ":", must: [] },
  { name: "what is only read", script: "cat file d/a > /dev/null; ls -lR > /dev/null", must: [] },
  {
    name: "what podman misses: the same size and time, with other content",
    script: "echo text2 > text; touch -d @1000 text",
    must: ["C /text"],
  },
  {
    name: "copy-ups without a change",
    script: "echo same > same; touch file etc; chmod 700 closed; chmod 750 closed; : >> d/a",
    must: [],
  },
  {
    name: "a new tree, a changed file and a deleted one",
    script: "mkdir -p new/sub; echo n > new/sub/file; echo more >> file; rm gone",
    must: ["C /file", "D /gone", "A /new", "A /new/sub", "A /new/sub/file"],
  },
  {
    name: "what is made and deleted again",
    script: "echo n > etc/new; rm etc/new; mkdir x; rmdir x",
    must: [],
  },
  {
    name: "a file that became a directory",
    script: "rm f2d; mkdir f2d; echo in > f2d/in",
    must: [
      "C /f2d",
      "A /f2d/in",
    ],
  },
  {
    name: "a file that became a directory, and a file again",
    script: "rm f2d; mkdir f2d; echo in > f2d/in; rm -r f2d; echo f > f2d",
    must: [],
  },
  { name: "a directory that became a file", script: "rm -r d; echo d > d", must: ["C /d"] },
  {
    name: "a directory that became a file, and a directory again",
    script: "rm -r d; echo d > d; rm d; mkdir d; echo a > d/a",
    must: ["D /d/b", "D /d/sub"],
  },
  { name: "a directory that is gone", script: "rm -r d", must: ["D /d"] },
  {
    name: "an opaque directory, with one in it",
    script: "rm -r d; mkdir -p d/sub; echo a > d/a; echo n > d/sub/n",
    must: ["D /d/b", "A /d/sub/n", "D /d/sub/z"],
  },
  {
    name: "types, targets and modes",
    script: "ln -sfn other link; rm fifo; echo > fifo; chmod 600 file; chmod 700 closed; mkfifo p",
    must: ["C /closed", "C /fifo", "C /file", "C /link", "A /p"],
  },
  {
    name: "hard links",
    script: "ln file etc/link; ln etc/link etc/other",
    must: ["A /etc/link", "A /etc/other"],
  },
  {
    name: "names with all that a name may hold",
    script: `
      rm "$(printf 'caf\\351')"; echo n > "$(printf 'n\\351')"; echo n > "$(printf 'l\\nf')"
      echo n > 'a b '; echo n > 'é'; echo n > -x; echo n > '*'; mkdir "$(printf 'd\\377')"
      echo n > "$(printf 'd\\377/in')"`,
    must: [
      "A /*",
      "A /-x",
      "A /a b ",
      `D ${btoa("/caf\xe9")}`,
      `A ${btoa("/d\xff")}`,
      `A ${btoa("/d\xff/in")}`,
      "A /l\nf",
      `A ${btoa("/n\xe9")}`,
      "A /é",
    ],
  },
  {
    name: "a directory that is opaque, and holds names that are not UTF-8",
    script: `rm -r only; mkdir only; echo n > "$(printf 'only/\\351')"`,
    must: ["D /only/in", `A ${btoa("/only/\xe9")}`],
  },
  {
    name: "attributes and owners",
    root: true,
    script: `
      setfattr -n user.x -v 1 file; setfattr -n user.y -v 1 same; setfattr -x user.y same
      chown 7 text; chown 7 closed; chown 0 closed`,
    must: ["C /file", "C /text"],
  },
  {
    name: "devices, and a socket",
    root: true,
    script: `
      mknod null c 1 3; mknod block b 7 0
      perl -MSocket -e 'socket(S,PF_UNIX,SOCK_STREAM,0); bind(S,sockaddr_un("s"))'`,
    must: ["A /block", "A /null", "A /s"],
  },
  {
    name: "an attribute of the app that has a name of overlayfs",
    root: true,
    script:
      "setfattr -n trusted.overlay.opaque -v y etc || setfattr -n user.overlay.opaque -v y etc",
    must: ["C /etc"],
  },
  {
    name: "metacopy: a mode, and a time",
    root: true,
    options: ["metacopy=on"],
    script: "chmod 600 file; touch same",
    must: ["C /file"],
  },
];

for (const { name, script, must, options = MARKS, root = false } of CASES) {
  Deno.test({
    name: `overlayChanges() tells the same while mounted and after: ${name}`,
    ignore: root && !isRealRoot,
    fn: async () => {
      await using dir = await tempDir();
      const request = await makeCase(dir, { options });
      const { rootfs } = await renderOverlay(request);
      await runIn(rootfs, script);
      const before = await disk(dir.path);
      assertEquals(await changesOf({ pod: request.pod }), must);
      assertEquals(await disk(dir.path), before);
      await unmountOverlay({ pod: request.pod });
      assertEquals(await changesOf({ pod: request.pod, app: "web" }), must);
    },
  });
}

async function makeCase(
  dir: TempDir,
  more: Partial<RenderRequest> = {},
): Promise<RenderRequest & { lower: string }> {
  const lower = dir.join("image");
  await Deno.mkdir(lower);
  await runIn(lower, IMAGE);
  return { pod: dir.join("pod"), app: "web", options: MARKS, ...more, lower };
}

for (const profile of ["rootfs-mode", "fixed-mode"] as const) {
  Deno.test(`overlayChanges() tells nothing of an app that was only rendered: ${profile}`, async () => {
    await using dir = await tempDir();
    const request = await makeCase(dir, { profile, mtab: false });
    await renderOverlay(request);
    assertEquals(await changesOf({ pod: request.pod }), []);
  });
}

Deno.test("overlayChanges() compares with the lowers as they are seen: whiteouts, opaque directories, types", async () => {
  await using dir = await tempDir();
  const base = await makeCase(dir);
  await Deno.mkdir(dir.join("empty"));
  // The upper of one app is a lower of the next.
  const first = await renderOverlay({ ...base, app: "first" });
  await runIn(
    first.rootfs,
    "rm gone; rm -r d; mkdir d; echo n > d/n; rm link; mkdir link; rm -r only",
  );
  await unmountOverlay({ pod: base.pod });
  const upper = first.upper ?? "";
  const lower = [upper, base.lower];
  const next = await renderOverlay({ ...base, lower, pod: dir.join("next"), options: MARKS });
  await runIn(
    next.rootfs,
    "echo gone > gone; echo a > d/a; echo n > d/n; mkdir only; echo l > link/l",
  );
  assertEquals(await changesOf({ pod: next.pod }), ["A /d/a", "A /gone", "A /link/l", "A /only"]);
  await runIn(next.rootfs, "rm -r d");
  assertEquals(await changesOf({ pod: next.pod }), ["D /d", "A /gone", "A /link/l", "A /only"]);
});

Deno.test("overlayChanges() does not look through a symlink of the lowers", async () => {
  await using dir = await tempDir();
  const request = await makeCase(dir);
  await Deno.mkdir(dir.join("outside"));
  await Deno.writeTextFile(dir.join("outside", "file"), "outside");
  await Deno.symlink(dir.join("outside"), `${request.lower}/way`);
  const { rootfs } = await renderOverlay(request);
  await runIn(rootfs, "rm way; mkdir way; printf outside > way/file");
  assertEquals(await changesOf({ pod: request.pod }), ["C /way", "A /way/file"]);
});

Deno.test("overlayChanges() lists directories that only lead to a change, and types", async () => {
  await using dir = await tempDir();
  const request = await makeCase(dir);
  const { rootfs } = await renderOverlay(request);
  await runIn(rootfs, "echo n > d/sub/n; rm link; chmod 700 etc");
  assertEquals<unknown>(await overlayChanges({ pod: request.pod, all: true }), [
    { kind: "C", path: "/d", type: "directory" },
    { kind: "C", path: "/d/sub", type: "directory" },
    { kind: "A", path: "/d/sub/n", type: "file" },
    { kind: "C", path: "/etc", type: "directory" },
    { kind: "D", path: "/link", type: "symlink" },
  ]);
});

Deno.test({
  name: "overlayChanges() needs the mount to know what a renamed directory holds",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const request = await makeCase(dir, { options: ["redirect_dir=on", "metacopy=on"] });
    const { rootfs, upper } = await renderOverlay(request);
    await runIn(
      rootfs,
      "mv d moved; echo n > moved/n; rm moved/b; mv file other; mkdir d; echo a > d/a",
    );
    const must = [
      "D /d/b",
      "D /d/sub",
      "D /file",
      "A /moved",
      "A /moved/a",
      "A /moved/n",
      "A /moved/sub",
      "A /moved/sub/z",
      "A /other",
    ];
    assertEquals(await changesOf({ pod: request.pod }), must);
    await unmountOverlay({ pod: request.pod });
    const error = await assertRejects(() => overlayChanges({ pod: request.pod }), RefusedError);
    assertEquals([error.code, error.path], ["upper-redirected", upper]);
    await renderOverlay(request);
    assertEquals(await changesOf({ pod: request.pod }), must);
  },
});

Deno.test({
  name: "overlayChanges() takes the marks of fuse-overlayfs for what they mean",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const request = await makeCase(dir);
    const { upper } = await renderOverlay(request);
    await unmountOverlay({ pod: request.pod });
    await runIn(
      upper ?? "",
      "mkdir d; setfattr -n user.fuseoverlayfs.opaque -v y d; echo n > d/n; echo a > d/a; " +
        "mknod d/.wh..opq c 0 0; touch d/.wh..wh..opq; mknod gone c 0 0; " +
        "echo same > same; setfattr -n user.fuseoverlayfs.origin -v x same",
    );
    const must = ["D /d/b", "A /d/n", "D /d/sub", "D /gone"];
    assertEquals(await changesOf({ pod: request.pod }), must);
  },
});

Deno.test("overlayChanges() tells that an app writes meanwhile", async () => {
  await using dir = await tempDir();
  const request = await makeCase(dir);
  await Deno.writeFile(`${request.lower}/big`, new Uint8Array(64 << 20));
  const { rootfs } = await renderOverlay(request);
  // The size stays, so that the content is read; it changes all the time.
  const loop =
    'while :; do dd if=/dev/zero of="$1/big" bs=64k count=16 conv=notrunc 2>/dev/null; done';
  const app = new Deno.Command("sh", { args: ["-c", loop, "sh", rootfs] }).spawn();
  try {
    while (await isEmpty(`${request.pod}/overlay/image/upper/web`)) {
      await new Promise((wake) => setTimeout(wake, 5));
    }
    const error = await assertRejects(() => overlayChanges({ pod: request.pod }), OverlayError);
    assertEquals(error.code, "changed");
    assertStringIncludes(error.hint ?? "", "unmount");
  } finally {
    app.kill("SIGKILL");
    await app.status;
  }
});

async function isEmpty(directory: string): Promise<boolean> {
  return (await Array.fromAsync(Deno.readDir(directory))).length === 0;
}

Deno.test("overlayChanges() chooses the only app, and asks for one of several", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  await renderOverlay(request);
  await renderOverlay({ ...request, app: "view", readOnly: true, options: [] });
  const error = await assertRejects(() => overlayChanges({ pod: request.pod }), InvalidValueError);
  assertStringIncludes(error.hint ?? "", 'app "web", app "view"');
  assertEquals(await changesOf({ pod: request.pod, app: "view" }), []);
  const missing = () => overlayChanges({ pod: request.pod, app: "none" });
  assertEquals((await assertRejects(missing, OverlayError)).code, "missing");
  const pod = dir.join("copy");
  await renderOverlay({ ...request, pod, overlay: "never", options: [] });
  assertEquals((await assertRejects(() => overlayChanges({ pod }), RefusedError)).code, "refused");
});

Deno.test("overlay-render changes needs each of the flags that it names, and prints the changes", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { rootfs } = await renderOverlay(request);
  await runIn(rootfs, `rm gone; echo n > "$(printf 'new\\351')"`);
  const args = ["changes", `--pod=${request.pod}`];
  const flags = permissionFlags(await changesPermissions({ pod: request.pod }));
  const { stdout } = await runMain([...args, "--flags"]);
  assertEquals(stdout, `${flags.join(" ")}\n`);
  await assertRefused(dir.path, args, lacks(flags));
  const done = await cli(args, { flags });
  assertEquals(done, { status: 0, stdout: 'D /gone\nA "/newé"\n', stderr: "" });
  const json = await cli([...args, "--json"], { flags });
  assertEquals<unknown>(JSON.parse(json.stdout), {
    version: 1,
    changes: [
      { kind: "D", path: "/gone", type: "file" },
      { kind: "A", path: "/newé", base64: btoa("/new\xe9"), type: "file" },
    ],
  });
});

Deno.test("overlayChanges() does not read a file whose size tells the change", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { rootfs } = await renderOverlay(request);
  await sh("truncate", "--size=1T", `${rootfs}/huge`);
  assertEquals(await changesOf({ pod: request.pod }), ["A /huge"]);
});
