import { assert, assertEquals } from "@std/assert";
import { formatJson, renderText, statusText, unmountedText } from "../../lib/cli/output.ts";
import { planJson, planText } from "../../lib/cli/plan_output.ts";
import { planRender } from "../../lib/plan/plan.ts";
import type { Render } from "../../lib/api/render.ts";
import type { OverlayStatus } from "../../lib/api/status.ts";

const STATUS: OverlayStatus = {
  pod: "/p",
  app: "web",
  tree: "debian",
  rootfs: "/r",
  lower: ["/l"],
  upper: "/u",
  work: "/w",
  mounted: true,
};

const RENDER: Render = {
  pod: "/p",
  app: "web",
  tree: "debian",
  rootfs: "/r",
  lower: ["/l", "/m n"],
  upper: "/u",
  work: "/w",
  options: "lowerdir=/l:/m n,upperdir=/u,workdir=/w",
  mounted: true,
  changed: false,
};

Deno.test("formatJson() is one line that starts with its version", { permissions: "none" }, () => {
  assertEquals(formatJson({}), '{"version":1}\n');
  assertEquals(formatJson({ a: "x\ny" }), '{"version":1,"a":"x\\ny"}\n');
});

Deno.test("formatJson() writes modes as octal strings, and other numbers as they are", {
  permissions: "none",
}, () => {
  const value = {
    mode: 0o750,
    n: [{ mode: { like: "/l", mask: 0o7777 } }, { mode: 0o5, size: 750 }],
  };
  assertEquals(
    formatJson(value),
    '{"version":1,"mode":"0750","n":[{"mode":{"like":"/l","mask":"7777"}},{"mode":"0005","size":750}]}\n',
  );
});

Deno.test(
  "formatJson() of a render is the form that is documented",
  { permissions: "none" },
  () => {
    const disposable = { ...RENDER, [Symbol.asyncDispose]: () => Promise.resolve() };
    assertEquals(
      formatJson(disposable),
      '{"version":1,"pod":"/p","app":"web","tree":"debian","rootfs":"/r","lower":["/l","/m n"],' +
        '"upper":"/u","work":"/w","options":"lowerdir=/l:/m n,upperdir=/u,workdir=/w",' +
        '"mounted":true,"changed":false}\n',
    );
  },
);

Deno.test(
  "formatJson() of a status is the form that is documented",
  { permissions: "none" },
  () => {
    assertEquals(
      formatJson({ renders: [{ ...STATUS, upper: null, work: null, mounted: false }] }),
      '{"version":1,"renders":[{"pod":"/p","app":"web","tree":"debian","rootfs":"/r","lower":["/l"],' +
        '"upper":null,"work":null,"mounted":false}]}\n',
    );
    assertEquals(formatJson({ renders: [] }), '{"version":1,"renders":[]}\n');
  },
);

Deno.test("planJson() has operations, mount and flags", { permissions: "none" }, () => {
  const plan = planRender({ lower: "/l", pod: "/p", tree: "t", options: ["volatile"] });
  const text = planJson(plan, { single: true });
  assert(text.startsWith('{"version":1,"operations":[{"kind":"require","path":"/l",'), text);
  assertEquals(text.split("\n").length, 2);
  const json = JSON.parse(text) as Record<string, unknown> & {
    operations: Record<string, unknown>[];
  };
  assertEquals(Object.keys(json), ["version", "operations", "mount", "flags"]);
  for (const operation of json.operations) {
    assertEquals(Object.keys(operation).slice(0, 2), ["kind", "path"]);
  }
  const find = (path: string) => json.operations.find((operation) => operation.path === path)?.mode;
  assertEquals(find("/p/overlay"), "0750");
  assertEquals(find("/p/overlay/t/upper"), { like: "/l", mask: "7777" });
  assertEquals(json.mount, {
    lower: ["/l"],
    upper: "/p/overlay/t/upper",
    work: "/p/overlay/t/work",
    label: null,
    options: "lowerdir=/l,upperdir=/p/overlay/t/upper,workdir=/p/overlay/t/work,volatile",
    pod: "/p",
    app: "",
    tree: "t",
    dest: "/p",
    rootfs: "/p/rootfs",
  });
  assertEquals(json.flags, [
    "--allow-read=/l,/p",
    "--allow-write=/p",
    "--allow-run=/bin/mount,/bin/umount,/bin/findmnt,/bin/find",
    "--allow-sys=uid",
  ]);
});

Deno.test("planText() has operations, options and flags", { permissions: "none" }, () => {
  const plan = planRender({ lower: "/l m", pod: "/p", tree: "t", dest: "/p", readOnly: true });
  assertEquals(
    planText(plan),
    `operations:
  require   /l m  must be a directory
  trust     /p  only root and the user of this command may change what is above it
  directory /p  0750
  lock      /p/overlay.lock
  directory /p/rootfs  mode of /l m
  record    /p/overlay.fstab  "/l\\\\040m /p/rootfs none bind,ro,X-overlay-render.in-pod,X-overlay-render.app=,X-overlay-render.tree=t 0 0"
  mount     /p/rootfs  as in /p/overlay.fstab
options:
  bind,ro
flags:
  '--allow-read=/l m,/p'
  --allow-write=/p
  --allow-run=/bin/mount,/bin/umount,/bin/findmnt,/bin/find
  --allow-sys=uid
`,
  );
});

Deno.test("planText() says that options were shortened, and why", { permissions: "none" }, () => {
  const pod = `/${"far/".repeat(30)}pod`;
  const lower = Array.from({ length: 40 }, (_, at) => `${pod}-lowers/${at}`);
  const plan = planRender({ lower, pod, tree: "t" });
  const [whole] = lower.join(":").match(/.*/) ?? [];
  const lines = planText(plan).split("\n");
  const at = lines.indexOf(`  ${plan.mounts[0].optionString}`);
  const [, length] =
    /^ {2}\(seen from (?:\S+): with whole paths they would be (\d+) bytes, of which the kernel reads 4095\)$/
      .exec(lines[at + 1] ?? "") ?? [];
  assertEquals(lines[at + 2], "flags:");
  const rest = `lowerdir=,upperdir=${plan.mounts[0].upper},workdir=${plan.mounts[0].work}`;
  assertEquals(Number(length), `${whole}${rest}`.length);
});

Deno.test("planText() shows nothing that a terminal acts on", { permissions: "none" }, () => {
  const lower = "/a\u001b[31m\tb\u202e\nc";
  for (const line of planText(planRender({ lower, pod: "/p", tree: "t" })).split("\n")) {
    assert(!/[\p{Cc}\u202e]/u.test(line), JSON.stringify(line));
    assert(line === "" || /^( {2}\S|operations:$|options:$|flags:$)/.test(line), line);
  }
});

Deno.test("renderText() shows the mount configuration", { permissions: "none" }, () => {
  assertEquals(
    renderText(RENDER),
    `rootfs   /r
lower    /l
lower    /m n
upper    /u
work     /w
options  lowerdir=/l:/m n,upperdir=/u,workdir=/w
`,
  );
  const view = { ...RENDER, lower: ["/a\nb"], upper: null, work: null, options: "bind,ro" };
  assertEquals(
    renderText(view),
    `rootfs   /r
lower    "/a\\nb"
upper    none
work     none
options  bind,ro
`,
  );
});

Deno.test("unmountedText() is one rootfs a line", { permissions: "none" }, () => {
  const unmounted = [{ app: "web", rootfs: "/r" }, { app: "", rootfs: "/a\u001bb" }];
  assertEquals(unmountedText({ unmounted }), '/r\n"/a\\u001bb"\n');
  assertEquals(unmountedText({ unmounted: [], foreign: ["/f"] }), "/f\n");
});

Deno.test("statusText() is a table with names as they are", { permissions: "none" }, () => {
  const renders = [
    { ...STATUS, app: "", tree: "stage1" },
    { ...STATUS, app: "a\nb", mounted: false, rootfs: "/a b" },
  ];
  assertEquals(
    statusText(renders),
    `APP     TREE    STATE      ROOTFS
""      stage1  mounted    /r
"a\\nb"  debian  unmounted  /a b
`,
  );
  assertEquals(statusText([]), "");
});
