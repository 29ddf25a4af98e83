import { assert, assertEquals } from "@std/assert";
import type { Collected } from "../../lib/plan/plan_collect.ts";
import {
  collectedText,
  formatJson,
  restoredText,
  statusText,
  unmountedText,
} from "../../lib/cli/output.ts";
import { planJson, planText } from "../../lib/cli/plan_output.ts";
import { planRender } from "../../lib/plan/plan.ts";
import { planPod } from "../../lib/plan/pod_plan.ts";
import type { PodRequest } from "../../lib/request/options.ts";
import type { Restored } from "../../lib/api/restore_run.ts";
import type { Drift, OverlayStatus } from "../../lib/api/status.ts";

const POD: PodRequest = {
  pod: "/p",
  apps: [{ app: "web", lower: "/l m", readOnly: true, dest: "/p/web" }, {
    app: "",
    lower: "/l",
    tree: "t",
    readOnly: true,
  }],
};

Deno.test("planText() of a pod has the operations and options of all apps, and the flags", {
  permissions: "none",
}, () => {
  const line = (lower: string, rootfs: string, app: string, tree: string) => {
    const names =
      `X-overlay-render.in-pod,X-overlay-render.app=${app},X-overlay-render.tree=${tree}`;
    return `${lower} ${rootfs} none bind,ro,${names} 0 0`;
  };
  assertEquals(
    planText(planPod(POD)),
    `operations:
  require   /l m  must be a directory
  require   /l  must be a directory
  trust     /p  only root and the user of this command may change what is above it
  directory /p  0750
  lock      /p/overlay.lock
  directory /p/rootfs  mode of /l
  directory /p/web  0750
  directory /p/web/rootfs  mode of /l m
  record    /p/overlay.fstab  "${line("/l\\\\040m", "/p/web/rootfs", "web", "l%20m")}"
  record    /p/overlay.fstab  ${line("/l", "/p/rootfs", "", "t")}
  mount     /p/web/rootfs  as in /p/overlay.fstab
  mount     /p/rootfs  as in /p/overlay.fstab
options:
  bind,ro
  bind,ro
flags:
  '--allow-read=/l m,/l,/p'
  --allow-write=/p
  --allow-run=/bin/mount,/bin/umount,/bin/findmnt,/bin/find
  --allow-sys=uid
`,
  );
});

Deno.test("planText() of a pod shows nothing that a terminal acts on", {
  permissions: "none",
}, () => {
  const lower = "/a\u001b[31m\tb\u202e\nc";
  const apps = ["web", "a\u200eb"].map((app) => ({ app, lower, tree: "t" }));
  for (const line of planText(planPod({ pod: "/p", apps })).split("\n")) {
    assert(!/[\p{Cc}\u200e\u202e]/u.test(line), JSON.stringify(line));
    assert(line === "" || /^( {2}\S|operations:$|options:$|flags:$)/.test(line), line);
  }
});

Deno.test("planJson() of a pod has operations, mounts and flags", { permissions: "none" }, () => {
  const plan = planPod(POD);
  const text = planJson(plan);
  assertEquals(text.split("\n").length, 2);
  const json = JSON.parse(text);
  assertEquals(Object.keys(json), ["version", "operations", "mounts", "flags"]);
  assertEquals(json.version, 1);
  assertEquals(json.operations.length, plan.operations.length);
  assertEquals(json.operations[3].mode, "0750");
  assertEquals(json.mounts, [
    {
      lower: ["/l m"],
      upper: null,
      work: null,
      label: null,
      options: "bind,ro",
      pod: "/p",
      app: "web",
      tree: "l m",
      dest: "/p/web",
      rootfs: "/p/web/rootfs",
    },
    {
      lower: ["/l"],
      upper: null,
      work: null,
      label: null,
      options: "bind,ro",
      pod: "/p",
      app: "",
      tree: "t",
      dest: "/p",
      rootfs: "/p/rootfs",
    },
  ]);
  assertEquals(json.flags.length, 4);
});

Deno.test("planJson() of a pod of one app differs from that of an app in its mounts alone", {
  permissions: "none",
}, () => {
  const app = { app: "web", lower: "/l", options: ["volatile"] };
  const { mounts, ...pod } = JSON.parse(planJson(planPod({ pod: "/p", apps: [app] })));
  const alone = planJson(planRender({ pod: "/p", ...app }), { single: true });
  const { mount, ...single } = JSON.parse(alone);
  assertEquals([pod, mounts], [single, [mount]]);
});

const STATUS: OverlayStatus = {
  pod: "/pods/one",
  app: "web",
  tree: "debian",
  rootfs: "/r",
  lower: ["/l"],
  upper: "/u",
  work: "/w",
  mounted: true,
};

Deno.test("statusText() of several pods begins with their names", { permissions: "none" }, () => {
  const renders = [STATUS, { ...STATUS, pod: "/pods/two\n", app: "", mounted: false }];
  assertEquals(
    statusText(renders, true),
    `POD            APP  TREE    STATE      ROOTFS
/pods/one      web  debian  mounted    /r
"/pods/two\\n"  ""   debian  unmounted  /r
`,
  );
  assertEquals(statusText([], true), "");
});

const DRIFTS: readonly (readonly [drift: Drift, mounted: boolean, words: string])[] = [
  ["not-mounted", false, "to be restored"],
  ["not-recorded", true, "mounted by hand"],
  ["foreign", false, "hidden by another mount"],
  ["missing", false, "directories missing"],
  ["replaced", true, "lower replaced"],
];

for (const [drift, mounted, words] of DRIFTS) {
  Deno.test(`statusText() says in words how a line and the kernel differ: ${drift}`, {
    permissions: "none",
  }, () => {
    const [head = "", row = ""] = statusText([{ ...STATUS, mounted, drift }]).split("\n");
    assertEquals(head.replaceAll(/ +/g, " "), "APP TREE STATE ROOTFS");
    assertEquals(row, `web  debian  ${words}  /r`);
  });
}

Deno.test("statusText() shows sizes where they were asked for", { permissions: "none" }, () => {
  const renders = [
    { ...STATUS, size: { bytes: 1_234_567, files: 89 } },
    // A view has no upper that could have a size.
    { ...STATUS, app: "view", upper: null, work: null },
  ];
  assertEquals(
    statusText(renders),
    `APP   TREE    STATE    BYTES    FILES  ROOTFS
web   debian  mounted  1234567  89     /r
view  debian  mounted  0        0      /r
`,
  );
  const [head] = statusText(renders, true).split("\n");
  assertEquals(head?.split(/ +/), ["POD", "APP", "TREE", "STATE", "BYTES", "FILES", "ROOTFS"]);
});

Deno.test("formatJson() of a status says more only where there is more", {
  permissions: "none",
}, () => {
  const size = { bytes: 10, files: 2 };
  const { renders } = JSON.parse(formatJson({
    renders: [STATUS, { ...STATUS, drift: "missing", size }],
  }));
  const keys = ["pod", "app", "tree", "rootfs", "lower", "upper", "work", "mounted"];
  assertEquals(Object.keys(renders[0]), keys);
  assertEquals(Object.keys(renders[1]), [...keys, "drift", "size"]);
  assertEquals(renders[1].size, size);
});

const COLLECTED: Collected = {
  marked: [{ pod: "/pods/a", garbage: "/pods/garbage/a" }, {
    pod: "/pods/b\u001b",
    garbage: "/pods/garbage/b\u001b~1",
  }],
  removed: [{ garbage: "/pods/garbage/a" }],
  kept: [{ pod: "/pods/c", code: "in-use", reason: "app is mounted", hint: null, failed: false }],
};

Deno.test("collectedText() is one pod a line, and says nothing of those that stay", {
  permissions: "none",
}, () => {
  assertEquals(
    collectedText(COLLECTED),
    `marked   /pods/a as /pods/garbage/a
marked   "/pods/b\\u001b" as "/pods/garbage/b\\u001b~1"
removed  /pods/garbage/a
`,
  );
  assertEquals(collectedText({ marked: [], removed: [], kept: COLLECTED.kept }), "");
});

Deno.test("formatJson() of what gc did has all of it", { permissions: "none" }, () => {
  assertEquals(JSON.parse(formatJson(COLLECTED)), { version: 1, ...COLLECTED });
  assertEquals(
    formatJson({ marked: [], removed: [], kept: [] }),
    '{"version":1,"marked":[],"removed":[],"kept":[]}\n',
  );
});

const RESTORED: Restored = {
  restored: [
    { pod: "/pods/a", app: "", rootfs: "/pods/a/rootfs" },
    { pod: "/pods/a", app: "web", rootfs: "/r\n" },
  ],
  failed: [{ pod: "/pods/b", app: null, code: "locked", reason: "Cannot lock", hint: null }],
};

Deno.test("restoredText() is one rootfs a line, and says nothing of what failed", {
  permissions: "none",
}, () => {
  assertEquals(restoredText(RESTORED), '/pods/a/rootfs\n"/r\\n"\n');
  assertEquals(restoredText({ restored: [], failed: RESTORED.failed }), "");
});

Deno.test("formatJson() of what was restored has all of it", { permissions: "none" }, () => {
  assertEquals(JSON.parse(formatJson(RESTORED)), { version: 1, ...RESTORED });
});

Deno.test("unmountedText() of many apps keeps the order of unmounting", {
  permissions: "none",
}, () => {
  const unmounted = ["c", "a", ""].map((app) => ({ app, rootfs: `/r/${app}` }));
  assertEquals(unmountedText({ unmounted }), "/r/c\n/r/a\n/r/\n");
});
