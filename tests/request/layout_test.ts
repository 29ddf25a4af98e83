import { assert, assertEquals, assertThrows } from "@std/assert";
import { InvalidValueError } from "../../lib/core/errors.ts";
import { appLayout, podLayout, treeLayout } from "../../lib/request/layout.ts";
import { isWithin } from "../../lib/core/path.ts";

Deno.test("podLayout() places everything of a pod below it", { permissions: "none" }, () => {
  assertEquals(podLayout("/pods/one"), {
    pod: "/pods/one",
    overlay: "/pods/one/overlay",
    fstab: "/pods/one/overlay.fstab",
    lock: "/pods/one/overlay.lock",
    batch: "/pods/one/overlay.mount",
    keep: "/pods/one/overlay.keep",
    stage1: "/pods/one/stage1",
    stage1Rootfs: "/pods/one/stage1/rootfs",
    stage1Manifest: "/pods/one/stage1/manifest",
    stage1TreeStoreId: "/pods/one/stage1TreeStoreID",
    apps: "/pods/one/apps",
    stage1Apps: "/pods/one/stage1/rootfs/opt/stage2",
    appsInfo: "/pods/one/appsinfo",
  });
});

Deno.test("podLayout() is the same for every spelling of a pod, and refuses /", {
  permissions: "none",
}, () => {
  for (const pod of ["/pods/one/", "//pods//one", "/pods/./one/."]) {
    assertEquals(podLayout(pod), podLayout("/pods/one"));
  }
  for (const pod of ["/", "//", "/."]) {
    assertThrows(() => podLayout(pod), InvalidValueError, 'pod "/": it is the root directory');
  }
});

Deno.test("appLayout() places everything of an app", { permissions: "none" }, () => {
  assertEquals(appLayout("/pods/one", { app: "web", tree: "debian" }), {
    image: "/pods/one/overlay/debian",
    uppers: "/pods/one/overlay/debian/upper",
    upper: "/pods/one/overlay/debian/upper/web",
    works: "/pods/one/overlay/debian/work",
    work: "/pods/one/overlay/debian/work/web",
    dest: "/pods/one/apps/web",
    rootfs: "/pods/one/apps/web/rootfs",
    manifest: "/pods/one/apps/web/manifest",
    info: "/pods/one/appsinfo/web",
    infoManifest: "/pods/one/appsinfo/web/manifest",
    treeStoreId: "/pods/one/appsinfo/web/treeStoreID",
  });
});

Deno.test("appLayout() of the empty name is the pod's own image", { permissions: "none" }, () => {
  const pod = podLayout("/pods/one");
  assertEquals(appLayout("/pods/one", { app: "", tree: "stage1" }), {
    image: "/pods/one/overlay/stage1",
    uppers: "/pods/one/overlay/stage1/upper",
    upper: "/pods/one/overlay/stage1/upper",
    works: "/pods/one/overlay/stage1/work",
    work: "/pods/one/overlay/stage1/work",
    dest: pod.pod,
    rootfs: "/pods/one/rootfs",
    manifest: "/pods/one/manifest",
    info: "/pods/one/appsinfo",
    infoManifest: "/pods/one/appsinfo/manifest",
    treeStoreId: pod.stage1TreeStoreId,
  });
});

Deno.test("appLayout() moves only what lies in the destination in rkt's layout", {
  permissions: "none",
}, () => {
  const pod = podLayout("/pods/one");
  for (const [app, dest] of [["web", `${pod.stage1Apps}/web`], ["", pod.stage1]] as const) {
    const own = appLayout("/pods/one", { app, tree: "debian" });
    assertEquals(appLayout("/pods/one", { app, tree: "debian", layout: "default" }), own);
    const rkt = appLayout("/pods/one", { app, tree: "debian", layout: "rkt" });
    const places = { dest, rootfs: `${dest}/rootfs`, manifest: `${dest}/manifest` };
    assertEquals(rkt, { ...own, ...places });
  }
  const dest = "/srv/web";
  const given = appLayout("/pods/one", { app: "web", tree: "debian", layout: "rkt", dest });
  assertEquals(given.dest, dest);
});

Deno.test("appLayout() moves only what lies in the destination when there is another", {
  permissions: "none",
}, () => {
  const own = appLayout("/pods/one", { app: "web", tree: "debian" });
  assertEquals(appLayout("/pods/one", { app: "web", tree: "debian", dest: "/srv/web/" }), {
    ...own,
    dest: "/srv/web",
    rootfs: "/srv/web/rootfs",
    manifest: "/srv/web/manifest",
  });
  assertEquals(appLayout("/pods/one", { app: "web", tree: "debian", dest: "/" }).rootfs, "/rootfs");
});

Deno.test("appLayout() keeps odd names inside the pod", { permissions: "none" }, () => {
  for (const name of ["..foo", "foo..", "...", " ", "-a", "a,ro", "a:b", "a\\b", 'a"b', "ä"]) {
    const { upper, work, rootfs } = appLayout("/p", { app: name, tree: name });
    assertEquals([upper, work], [
      `/p/overlay/${name}/upper/${name}`,
      `/p/overlay/${name}/work/${name}`,
    ]);
    assertEquals(rootfs, `/p/apps/${name}/rootfs`);
  }
});

Deno.test("the layouts refuse names and paths that could leave their directory", {
  permissions: "none",
}, () => {
  const table: readonly (() => unknown)[] = [
    () => podLayout("pods"),
    () => podLayout("/pods/.."),
    () => appLayout("/p", { app: "..", tree: "t" }),
    () => appLayout("/p", { app: "a/b", tree: "t" }),
    () => appLayout("/p", { app: "a", tree: "" }),
    () => appLayout("/p", { app: "a", tree: "." }),
    () => appLayout("/p", { app: "a", tree: "t", dest: "" }),
    () => appLayout("/p", { app: "a", tree: "t", dest: "x" }),
    () => appLayout("/p", { app: "a", tree: "t", dest: "/x/../y" }),
    () => treeLayout("store", "t"),
    () => treeLayout("/store", "../t"),
    () => treeLayout("/store", ""),
  ];
  for (const lay of table) assertThrows(lay, InvalidValueError, "Cannot use ");
});

Deno.test("treeLayout() places a tree in its store", { permissions: "none" }, () => {
  assertEquals(treeLayout("/store/", "debian"), {
    tree: "/store/tree/debian",
    rootfs: "/store/tree/debian/rootfs",
  });
  assertEquals(treeLayout("/", "t").rootfs, "/tree/t/rootfs");
});

Deno.test("isWithin() goes by whole names", { permissions: "none" }, () => {
  const within = [["/a", "/a"], ["/a/b", "/a"], ["/a/b/c", "/a"], ["/a", "/"], ["/", "/"]] as const;
  const outside = [["/ab", "/a"], ["/a", "/a/b"], ["/", "/a"], ["/b/a", "/a"], [
    "/a",
    "/ab",
  ]] as const;
  for (const [path, directory] of within) assert(isWithin(path, directory));
  for (const [path, directory] of outside) assert(!isWithin(path, directory));
});
