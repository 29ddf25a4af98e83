import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import { makeDeb } from "../../tools/deb.ts";
import { makeDist } from "../../tools/dist.ts";
import { alsoDebian, HOST, SUITE } from "../_debian.ts";
import { mountTmpfs } from "../_disks.ts";
import { sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { needs } from "../_tool_images.ts";

const DEB = `overlay-render_${config.version}_all.deb`;

const dpkg = needs("dpkg-deb");
const debian = alsoDebian(needs("mmdebstrap"));

/** The environment of a program in a root of Debian. */
const ENV = [
  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  "HOME=/root",
  "DENO_NO_UPDATE_CHECK=1",
  "NO_COLOR=1",
];

async function checkFiles(dist: string): Promise<void> {
  const checked = await sh("sh", "-c", 'cd "$0" && sha256sum --check SHA256SUMS', dist);
  const files = [
    ...["overlay-render.js", "mod.js", "mod.d.ts", "tree.js", "tree.d.ts", DEB],
    ...["man/overlay-render.1", "man/overlay-render-tree.1", "completions/overlay-render"],
    ...["completions/_overlay-render", "completions/overlay-render.fish"],
    ...["units/overlay-render-restore@.service", "units/overlay-render-gc@.timer"],
  ];
  for (const file of files) assertStringIncludes(checked, `${file}: OK\n`);
  let refused = "";
  await makeDist(dist).catch((error) => void (refused = error.message));
  assertEquals(refused, `Cannot write into ${dist}: it is not empty`);
}

async function checkPackage(dist: string): Promise<void> {
  const fields = await sh("dpkg-deb", "--field", `${dist}/${DEB}`);
  assertStringIncludes(fields, `Version: ${config.version}\n`);
  const list = await sh("dpkg-deb", "--contents", `${dist}/${DEB}`);
  for (const line of list.trim().split("\n")) {
    assert(/^(d|-)rw[x-]r-[x-]r-[x-] root\/root /.test(line), line);
  }
  assertStringIncludes(list, " ./usr/lib/systemd/system/overlay-render-restore@.service\n");
  const make = async () => await Deno.readFile(`${dist}/${await makeDeb(dist, 1_700_000_000)}`);
  const first = await make();
  const umask = Deno.umask(0o077);
  try {
    // A copy has other times, and a mode by the umask.
    await sh(
      "sh",
      "-c",
      'cp -R "$0/man" "$0/copy" && rm -r "$0/man" && mv "$0/copy" "$0/man"',
      dist,
    );
    assertEquals(await make(), first);
  } finally {
    Deno.umask(umask);
  }
}

/** Installs the package in a fresh root, renders there, and takes all away again. */
async function checkInstalled(dir: TempDir, dist: string): Promise<void> {
  // Not on the disk: dpkg syncs each file.
  const root = `${await mountTmpfs(dir.join("memory"))}/root`;
  await sh("mmdebstrap", "--quiet", "--variant=minbase", SUITE, root, HOST);
  await Deno.copyFile(`${dist}/${DEB}`, `${root}/tmp/${DEB}`);
  await Deno.copyFile(await Deno.realPath(Deno.execPath()), `${root}/usr/local/bin/deno`);
  await sh("mount", "-t", "proc", "proc", `${root}/proc`);
  const inside = (...argv: string[]) => sh("chroot", root, "/usr/bin/env", "-i", ...ENV, ...argv);
  await inside("dpkg", "--install", `/tmp/${DEB}`);
  assertEquals(await inside("dpkg", "--verify", "overlay-render"), "");
  assertEquals(await inside("overlay-render", "--version"), `overlay-render ${config.version}\n`);
  await inside("mkdir", "-p", "/srv/image");
  await inside("sh", "-c", "echo hello > /srv/image/hello");
  const pod = ["--pod", "/srv/pods/one"];
  const rootfs = await inside("overlay-render", "render", "--lower", "/srv/image", ...pod);
  assertEquals(rootfs, "/srv/pods/one/rootfs\n");
  assertEquals(await inside("cat", `${rootfs.trim()}/hello`), "hello\n");
  assertStringIncludes(await inside("overlay-render", "status", ...pod), "mounted");
  assertEquals(await inside("overlay-render", "unmount", ...pod), rootfs);
  await inside("dpkg", "--purge", "overlay-render");
}

Deno.test({
  name: `task dist makes all of a release, and a package for Debian that works${dpkg.suffix}`,
  ignore: dpkg.ignore,
  async fn(t): Promise<void> {
    await using dir = await tempDir();
    const dist = dir.join("dist");
    // A binary is made by compile_test.
    await makeDist(dist, { withoutBinary: true });
    await t.step("has each file, and the sums of all", () => checkFiles(dist));
    await t.step("the package has the same bytes for the same files", () => checkPackage(dist));
    await t.step({
      name: `the package, installed in a fresh root of Debian, renders there${debian.suffix}`,
      ignore: debian.ignore,
      fn: () => checkInstalled(dir, dist),
    });
  },
});
