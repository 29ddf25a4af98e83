import { assertEquals } from "@std/assert";
import type { AppLine } from "../../lib/overlay/app_line.ts";
import { linesWithin, Overlaps } from "../../lib/overlay/overlaps.ts";
import { Writers } from "../../lib/pod/writers.ts";

const POD = "/pods/one";

function line(app: string, options = "lowerdir=/l,upperdir=/u,workdir=/w"): AppLine {
  return { app, tree: "t", rootfs: `${POD}/${app}/rootfs`, source: "overlay", options, auto: true };
}

function lineOf(app: string, parts: { upper?: string; work?: string }): AppLine {
  const { upper = "/own/u", work = "/own/w" } = parts;
  return line(app, `lowerdir=/l,upperdir=${upper},workdir=${work}`);
}

Deno.test("Overlaps finds an upper or work that is another app's, or in or above it", {
  permissions: "none",
}, () => {
  const db = lineOf("db", { upper: "/p/u/db", work: "/p/w/db" });
  const shared = (web: AppLine) => new Overlaps([db, web], POD).sharingUpper(web)?.app;
  assertEquals(shared(lineOf("web", { upper: "/p/u/web", work: "/p/w/web" })), undefined);
  assertEquals(shared(lineOf("web", { upper: "/p/u/dbx", work: "/p/w/dbx" })), undefined);
  assertEquals(shared(lineOf("web", { upper: "/p/u/db-2", work: "/p/u/db.w" })), undefined);
  assertEquals(new Overlaps([db], POD).sharingUpper(db), undefined);
  const cases = [
    { upper: "/p/u/db" },
    { work: "/p/w/db" },
    { upper: "/p/u" },
    { upper: "/p/u/db/x" },
    { work: "/p/u/db" },
    { upper: "../../p/u/db" },
  ];
  for (const parts of cases) assertEquals(shared(lineOf("web", parts)), "db");
});

Deno.test("Overlaps tells each of many apps of another one, whoever was there first", {
  permissions: "none",
}, () => {
  const apps = ["a", "b", "c"].map((app) => lineOf(app, { upper: "/p/u", work: `/p/w/${app}` }));
  const overlaps = new Overlaps(apps, POD);
  const others = apps.map((app) => overlaps.sharingUpper(app)?.app);
  assertEquals(others.every((other, at) => other !== undefined && other !== apps[at]?.app), true);
});

Deno.test("Overlaps finds what lies deep in another app's upper, among others beside it", {
  permissions: "none",
}, () => {
  const uppers = ["/p/u", "/p/u/x", "/p/u-1", "/p/u/x/y/z", "/p/u1", "/q"];
  const apps = uppers.map((upper, at) => lineOf(`${at}`, { upper, work: `/w/${at}` }));
  const overlaps = new Overlaps(apps, POD);
  const others = apps.map((app) => overlaps.sharingUpper(app)?.app);
  assertEquals(others, ["1", "0", undefined, "0", undefined, undefined]);
  // Who the directories of a line are is known to a plan without reading its options.
  const known = new Overlaps(apps, POD, ({ app }) => [`/known/${app}`]);
  assertEquals(apps.map((app) => known.sharingUpper(app)), apps.map(() => undefined));
});

Deno.test("Overlaps finds another app with the same rootfs", { permissions: "none" }, () => {
  const [a, b] = [line("a"), { ...line("b"), rootfs: `${POD}/a/rootfs` }];
  const overlaps = new Overlaps([a, b, line("c")], POD);
  assertEquals(overlaps.sharingRootfs(a)?.app, "b");
  assertEquals(overlaps.sharingRootfs(b)?.app, "a");
  assertEquals(overlaps.sharingRootfs(line("c")), undefined);
});

Deno.test("Writers finds a mount elsewhere that writes into an upper or work", {
  permissions: "none",
}, () => {
  const mount = (options: string, target = "/mnt", fstype = "overlay") => {
    return new Writers([{ id: 1, parent: 0, target, fstype, options, flags: [] }]);
  };
  const web = line("web");
  assertEquals(mount("lowerdir=/l,upperdir=/u2,workdir=/w2").of(web, web.rootfs), undefined);
  assertEquals(mount(web.options, web.rootfs).of(web, web.rootfs), undefined);
  assertEquals(mount(web.options, "/mnt", "ext4").of(web, web.rootfs), undefined);
  const view = line("web", "ro,lowerdir=/l:/m");
  assertEquals(mount("lowerdir=/l:/m").of(view, view.rootfs), undefined);
  const options = [web.options, "lowerdir=/x,upperdir=/u,workdir=/y", "upperdir=/z,workdir=/w"];
  for (const used of options) assertEquals(mount(used).of(web, web.rootfs)?.target, "/mnt");
});

Deno.test("Writers does not take relative paths of another pod for this one's", {
  permissions: "none",
}, () => {
  const options = "lowerdir=../l,upperdir=overlay/t/upper/web,workdir=overlay/t/work/web";
  const target = "/pods/two/web/rootfs";
  const writers = new Writers([{
    id: 1,
    parent: 0,
    target,
    fstype: "overlay",
    options,
    flags: [],
  }]);
  assertEquals(writers.of(line("web", options), null), undefined);
});

Deno.test("linesWithin() finds what lies in the rootfs of others, at any depth", {
  permissions: "none",
}, () => {
  const own = { ...line(""), rootfs: `${POD}/stage1/rootfs` };
  const web = { ...line("web"), rootfs: `${own.rootfs}/opt/stage2/web/rootfs` };
  const deep = { ...line("deep"), rootfs: `${web.rootfs}/srv/rootfs` };
  const beside = { ...line("beside"), rootfs: `${own.rootfs}x/rootfs` };
  const found = linesWithin([web, deep, beside], new Set([own.rootfs, web.rootfs]));
  assertEquals(found.get(own.rootfs), [web, deep]);
  assertEquals(found.get(web.rootfs), [web, deep]);
  assertEquals(found.size, 2);
});
