import { assertEquals, assertRejects } from "@std/assert";
import {
  overlayStatus,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { cli } from "../_cli.ts";
import { mountsBelow, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS, mountsOn, namesIn } from "../_tree.ts";

/** Names that a directory may have, and that an option string, an fstab(5) line or a flag may not. */
const NAMES = [
  // Each character that means something to somebody.
  ..." \t\n\r\v,:\\\"'=#-*?%;&|<>~!()[]{}`$^@+".split("").map((char) => `a${char}b`),
  ..." \t\n,:\\\"'=#-*?%~".split(""),
  ..." \t\n,:\\\"'=#-".split("").flatMap((char) => [`${char}a`, `a${char}`]),
  "\u0001",
  "a\u007fb",
  "a\u0085b",
  "a\u00a0b",
  "a\u2028b",
  // Options of mount(8), of overlayfs and of our own.
  ..."ro,rw,bind,rbind,remount,move,loop,user,defaults,noauto,nofail,_netdev,nosuid,private,shared"
    .split(",").map((option) => `a,${option}`),
  ..."x-foo,X-mount.mkdir,context=x,offset=1,helper=x,comment=,uid=3,volatile,lowerdir=x,upperdir=x"
    .split(",").map((option) => `a,${option}`),
  "a,X-overlay-render.app=other",
  "a,X-overlay-render.tree=other,noauto",
  "x,x-foo",
  ",context=x",
  ",ro",
  "ro",
  "bind",
  'a,context="u:r:t:s0"',
  'a,context="b',
  "lowerdir=a,upperdir=b,workdir=c",
  // Several in a row, at the ends, and in each other.
  "ab,",
  "a,,b",
  "a,,",
  ",,",
  "a,,ro",
  "a,:b",
  "a,\\b",
  "a,\\,b",
  "a::b",
  "::",
  "a\\",
  "a\\\\",
  "a\\\\b",
  "\\\\",
  "a\\:b",
  "a\\,b",
  "a\\,ro",
  'a\\"b',
  '""',
  '"""',
  '"a"',
  'a"b"c"d',
  '"a,ro"',
  '"a,ro',
  'a,"ro',
  'a,ro"',
  'a",ro',
  'a":",b',
  '"\\',
  '",',
  '\\",',
  // Escapes as they are written elsewhere.
  "\\040",
  "a\\040b",
  "a\\134b",
  "\\x2c",
  "%2C",
  "%",
  "a%",
  "$(x)",
  "`x`",
  "$HOME",
  "~root",
  "'\"'\"'",
  // Names that look like other things.
  "--",
  "-o",
  "--fstab",
  "-a=#b",
  "overlay",
  "none",
  "a (deleted)",
  "a//deleted".replace("//", " "),
  "...",
  "..a",
  " a b ",
  // Other scripts, and the longest.
  "é",
  "e\u0301",
  "日本語",
  "עברית",
  "😀",
  "😀,😀",
  ",😀",
  "x".repeat(250),
  "é".repeat(125),
  "😀".repeat(62),
  ",".repeat(250),
  "\\".repeat(250),
  ":".repeat(250),
  '"'.repeat(249),
  "a,ro".repeat(62),
];

/** Where the name stands. */
const ROLES = ["lower", "pod", "destination", "app", "view", "everything"] as const;
type Role = (typeof ROLES)[number];

// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** An app or a tree id may hold anything but control characters. */
function mayBeApp(name: string): boolean {
  return !CONTROL.test(name);
}

async function requestFor(dir: TempDir, role: Role, name: string): Promise<RenderRequest> {
  const all = role === "everything";
  for (const above of ["lowers", "pods", "dests"]) {
    await Deno.mkdir(dir.join(role, above), { recursive: true });
  }
  const named = (own: boolean, plain: string) => own || all ? name : plain;
  const request = {
    lower: await makeTree(`${dir.join(role, "lowers")}/${named(role === "lower", "l")}`),
    pod: `${dir.join(role, "pods")}/${named(role === "pod", "p")}`,
    app: mayBeApp(name) ? named(role === "app", "web") : "web",
    options: MARKS,
  };
  if (role === "destination" || all) {
    return { ...request, dest: `${dir.join(role, "dests")}/${name}` };
  }
  if (role === "app") return { ...request, tree: name };
  if (role !== "view") return request;
  const { options: _options, ...view } = request;
  const lower = await makeTree(`${dir.join(role, "lowers")}/${name}`);
  return { ...view, lower, pod: `${dir.join(role, "pods")}/${name}`, readOnly: true };
}

async function check(request: RenderRequest, where: string): Promise<void> {
  const before = await namesIn(`${request.lower}`);
  const render = await renderOverlay(request);
  const { pod, app, tree, rootfs, lower, upper, work } = render;
  assertEquals([where, pod, lower], [where, request.pod, [`${request.lower}`]]);
  assertEquals(rootfs, `${request.dest ?? `${pod}/apps/${app}`}/rootfs`);
  assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the tree", where);
  if (upper !== null) {
    await Deno.writeTextFile(`${rootfs}/made`, where);
    assertEquals([await namesIn(upper), await namesIn(`${work}`)], [["made"], ["work"]]);
    assertEquals(await Deno.readTextFile(`${upper}/made`), where);
    assertEquals(`${upper}`, `${pod}/overlay/${tree}/upper/${app}`);
  } else await assertRejects(() => Deno.writeTextFile(`${rootfs}/made`, where), Error, "Read-only");
  assertEquals(await namesIn(`${request.lower}`), before);

  const status = { pod, app, tree, rootfs, lower, upper, work };
  assertEquals(await overlayStatus(pod), [{ ...status, mounted: true }], where);
  const again = await renderOverlay(request);
  assertEquals([where, again.changed, await mountsOn(rootfs)], [where, false, 1]);
  assertEquals(await unmountOverlay({ pod, app }), { pod, unmounted: [{ app, rootfs }] });
  assertEquals(await overlayStatus(pod), [{ ...status, mounted: false }], where);
}

for (const name of new Set(NAMES)) {
  const shown = name.length > 40 ? `${name.slice(0, 8)}… (${name.length})` : name;
  Deno.test(`renderOverlay() renders any path: ${JSON.stringify(shown)}`, async () => {
    await using dir = await tempDir();
    // In one option string, an odd number of quotes in one path is another case than in each.
    const roles: readonly Role[] = name.includes('"') ? ROLES : ["view", "everything"];
    await Promise.all(roles.map(async (role) => {
      await check(await requestFor(dir, role, name), `${role} ${JSON.stringify(shown)}`);
    }));
    assertEquals(await mountsBelow(dir.path), []);
  });
}

Deno.test("renderOverlay() renders from several lowers of any name", async () => {
  await using dir = await tempDir();
  const names = [
    "a:b",
    "a,b",
    "a\\:b",
    'a"b',
    "a,ro",
    "ab,",
    ":",
    ",",
    "a\\",
    'q"',
    "😀,x",
    "c\nd",
  ];
  const lower: string[] = [];
  for (const [i, name] of names.entries()) {
    lower.push(await makeTree(dir.join(name)));
    await Deno.writeTextFile(`${dir.join(name)}/own-${i}`, name);
  }
  const pod = dir.join("pod");
  for (const [app, readOnly] of [["web", false], ["view", true]] as const) {
    const { rootfs } = await renderOverlay({ lower, pod, app, readOnly, options: MARKS });
    for (const [i, name] of names.entries()) {
      assertEquals(await Deno.readTextFile(`${rootfs}/own-${i}`), name);
    }
  }
  assertEquals((await overlayStatus(pod)).map((render) => render.lower), [lower, lower]);
  assertEquals((await overlayStatus(pod)).map(({ mounted }) => mounted), [true, true]);
});

/** A name, and another that it becomes where somebody drops or reads an escape of it. */
const SIBLINGS = [
  ["a\\:b", "a:b"],
  ["a:b", "a\\:b"],
  ["a\\,b", "a,b"],
  ["a,b", "a\\,b"],
  ["a\\\\b", "a\\b"],
  ["a\\b", "ab"],
  ["a,ro", "a"],
  ["a,remount", "a"],
  ["a,x-foo", "a"],
  ["ab,", "ab"],
  ["a,,b", "a,b"],
  ["a:b", "a"],
  ["a\\", "a"],
  ['a"b', "ab"],
  ['"ab"', "ab"],
  ['a"', 'a"a'],
  ["a\\040b", "a b"],
  ["a b", "a\\040b"],
  ["a%2Cb", "a,b"],
  ["a,b", "a%2Cb"],
  ["a ", "a"],
  [" a", "a"],
  ["-a", "a"],
  ["#a", "a"],
] as const;

for (const [name, sibling] of SIBLINGS) {
  const shown = `${JSON.stringify(name)} beside ${JSON.stringify(sibling)}`;
  Deno.test(`renderOverlay() never writes into another directory: ${shown}`, async () => {
    await using dir = await tempDir();
    await Deno.mkdir(dir.join("lowers"));
    await Deno.mkdir(dir.join("pods"));
    await Deno.mkdir(dir.join("dests"));
    const requestOf = async (own: string): Promise<RenderRequest> => ({
      lower: await makeTree(`${dir.join("lowers")}/${own}`),
      pod: `${dir.join("pods")}/${own}`,
      dest: `${dir.join("dests")}/${own}`,
      app: own,
      options: MARKS,
    });
    // All that a mount could take instead is there.
    const other = await prepareOverlay(await requestOf(sibling));
    const request = await requestOf(name);
    const inSame = { ...request, dest: dir.join("dests", "same"), app: sibling };
    await prepareOverlay({ ...inSame, tree: sibling });
    const places = [`${other.lower[0]}`, other.pod, `${inSame.pod}/overlay/${sibling}`];
    const before = await Promise.all(places.map(snapshot));

    const { rootfs, upper } = await renderOverlay(request);
    await Deno.writeTextFile(`${rootfs}/made`, "here");
    await Deno.remove(`${rootfs}/gone`);
    assertEquals(await namesIn(`${upper}`), ["gone", "made"]);
    assertEquals(await Promise.all(places.map(snapshot)), before);
    assertEquals(await mountsBelow(dir.path), [rootfs]);
    await unmountOverlay({ pod: `${dir.join("pods")}/${name}` });
    assertEquals(await mountsBelow(dir.path), []);
  });
}

Deno.test("renderOverlay() refuses a symlinked pod with an odd number of quotes", async () => {
  await using dir = await tempDir();
  const real = dir.join("real");
  await makeTree(`${real}/image`);
  await Deno.symlink(real, dir.join('in"ches'));
  const pod = `${dir.join('in"ches')}/pod`;
  const request = { lower: `${real}/image`, pod, app: "web", options: MARKS };
  const before = await snapshot(dir.path);
  const error = await assertRejects(() => renderOverlay(request), RefusedError);
  assertEquals([error.code, error.path], ["symlink", pod]);
  assertEquals(error.hint?.includes(JSON.stringify(`${real}/pod`)), true, `${error.hint}`);
  assertEquals(await snapshot(dir.path), before);
  const marks = MARKS.map((mark) => `--option=${mark}`);
  const args = ["--lower", request.lower, "--pod", request.pod, "--app", "web", ...marks];
  const { status, stderr } = await cli(["render", ...args]);
  assertEquals([status, stderr.includes("hint: ")], [3, true]);

  // As the hint says, and through a symlink whose quotes are even.
  await Deno.symlink(real, dir.join('"in"'));
  const even = { ...request, pod: dir.join('"in"', "pod") };
  const { upper, rootfs } = await renderOverlay(even);
  await Deno.writeTextFile(`${rootfs}/made`, "here");
  assertEquals(await namesIn(`${upper}`), ["made"]);
  assertEquals((await overlayStatus(even.pod)).map(({ mounted }) => mounted), [true]);
  await unmountOverlay({ pod: even.pod });
  assertEquals(await mountsBelow(dir.path), []);
});

/** Names that are given to the command relative to its directory, as `--flag=NAME`. */
const RELATIVE = ["-a", "--", "-o", "=a", " ", "a,ro", 'a"b', "a\\:b", "#", "$(x)", "a\nb", "😀"];

for (const name of RELATIVE) {
  Deno.test(`overlay-render takes any relative path: ${JSON.stringify(name)}`, async () => {
    await using dir = await tempDir();
    const cwd = dir.path;
    const lower = await makeTree(`${cwd}/lowers/${name}`);
    await Deno.mkdir(`${cwd}/pods`);
    await Deno.mkdir(`${cwd}/in`);
    const marks = MARKS.map((mark) => `--option=${mark}`);
    const app = mayBeApp(name) ? name : "web";
    const args = [`--lower=../lowers/${name}`, `--pod=${name}`, `--app=${app}`, ...marks];
    const { status, stdout, stderr } = await cli(["render", ...args], { cwd: `${cwd}/in` });
    const pod = `${cwd}/in/${name}`;
    const rootfs = `${pod}/apps/${app}/rootfs`;
    assertEquals([status, stdout, stderr], [0, `${rootfs}\n`, ""]);
    await Deno.writeTextFile(`${rootfs}/made`, "here");

    const json = await cli(["status", `--pod=${name}`, "--json"], { cwd: `${cwd}/in` });
    const { renders: [render] } = JSON.parse(json.stdout);
    assertEquals([render.pod, render.app, render.rootfs], [pod, app, rootfs]);
    assertEquals([render.lower, render.mounted], [[lower], true]);
    assertEquals(await namesIn(render.upper), ["made"]);
    const text = await cli(["status", `--pod=${name}`], { cwd: `${cwd}/in` });
    // A name cannot break the table.
    assertEquals(text.stdout.split("\n").length, 3);
    const gone = await cli(["unmount", `--pod=${name}`, `--app=${app}`], { cwd: `${cwd}/in` });
    assertEquals([gone.status, gone.stderr, await isMissing(`${rootfs}/made`)], [0, "", true]);
    assertEquals(await mountsBelow(cwd), []);
  });
}
