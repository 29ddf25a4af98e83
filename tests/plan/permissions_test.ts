import { assert, assertEquals } from "@std/assert";
import { isWithin } from "../../lib/core/path.ts";
import { permissionFlags } from "../../lib/system/permissions.ts";
import { PROGRAMS } from "../../lib/system/programs.ts";
import { requiredPermissions } from "../../lib/plan/required_permissions.ts";
import type { RequiredPermissions } from "../../lib/system/permissions.ts";
import { planRender } from "../../lib/plan/plan.ts";
import type { RenderRequest } from "../../lib/request/options.ts";

const { mount, umount, findmnt, chcon, find } = PROGRAMS;
const WEB: RenderRequest = { lower: "/images/debian", pod: "/pod", app: "web" };
const TOOLS = [mount, umount, findmnt, find];
const sys = ["uid"] as const;

const REQUIRED: readonly [what: string, request: RenderRequest, required: RequiredPermissions][] = [
  ["an app", WEB, { read: ["/images/debian", "/pod"], write: ["/pod"], run: TOOLS, sys }],
  [
    "several lowers",
    { ...WEB, lower: ["/a", "/b", "/a/c"] },
    { read: ["/a", "/b", "/pod"], write: ["/pod"], run: TOOLS, sys },
  ],
  ["a lower in the pod", { ...WEB, lower: "/pod/image" }, {
    read: ["/pod"],
    write: ["/pod"],
    run: TOOLS,
    sys,
  }],
  ["a pod in the lower", { ...WEB, lower: "/", tree: "t" }, {
    read: ["/"],
    write: ["/pod"],
    run: TOOLS,
    sys,
  }],
  [
    "a lower beside the pod with its name in front",
    { ...WEB, lower: "/pod2" },
    { read: ["/pod2", "/pod"], write: ["/pod"], run: TOOLS, sys },
  ],
  [
    "a destination outside the pod",
    { ...WEB, dest: "/srv/web" },
    { read: ["/images/debian", "/pod", "/srv/web"], write: ["/pod", "/srv/web"], run: TOOLS, sys },
  ],
  [
    "a manifest",
    { ...WEB, manifest: "/m.json" },
    { read: ["/images/debian", "/m.json", "/pod"], write: ["/pod"], run: TOOLS, sys },
  ],
  ["a group's id", { ...WEB, group: 5 }, {
    read: ["/images/debian", "/pod"],
    write: ["/pod"],
    run: TOOLS,
    sys,
  }],
  [
    "a group's name",
    { ...WEB, group: "rkt" },
    { read: ["/images/debian", "/pod", "/etc/group"], write: ["/pod"], run: TOOLS, sys },
  ],
  [
    "a group's name where the profile sets none",
    { ...WEB, group: "rkt", profile: "manifest", manifest: "/images/debian/m" },
    { read: ["/images/debian", "/pod"], write: ["/pod"], run: TOOLS, sys },
  ],
  [
    "a label",
    { ...WEB, label: "u:r:t" },
    {
      read: ["/images/debian", "/pod"],
      write: ["/pod"],
      run: [mount, umount, findmnt, chcon, find],
      sys,
    },
  ],
];

for (const [what, request, required] of REQUIRED) {
  Deno.test(`requiredPermissions() of ${what} are the least`, { permissions: "none" }, () => {
    assertEquals(requiredPermissions(planRender(request)), required);
  });
}

Deno.test("requiredPermissions() without the mount need neither mount nor umount", {
  permissions: "none",
}, () => {
  const { run } = requiredPermissions(planRender(WEB, { mount: false }));
  assertEquals(run, [findmnt, find]);
});

Deno.test(
  "requiredPermissions() hold nothing that another value covers, and cover every operation",
  {
    permissions: "none",
  },
  () => {
    for (const [, request] of REQUIRED) {
      const plan = planRender(request);
      const { read, write } = requiredPermissions(plan);
      for (const paths of [read, write]) {
        assertEquals(new Set(paths).size, paths.length);
        for (const path of paths) {
          assertEquals(paths.filter((other) => isWithin(path, other)), [path]);
        }
      }
      for (const { path } of plan.operations) {
        assert(read.some((granted) => isWithin(path, granted)));
      }
    }
  },
);

Deno.test("permissionFlags() are one argument a kind", { permissions: "none" }, () => {
  const table: readonly [permissions: RequiredPermissions, flags: string[]][] = [
    [{ read: [], write: [], run: [] }, []],
    [{ read: ["/a", "/b"], write: ["/b"], run: [mount] }, [
      "--allow-read=/a,/b",
      "--allow-write=/b",
      "--allow-run=/bin/mount",
    ]],
    [{ read: [], write: [], run: [umount, findmnt] }, [
      "--allow-run=/bin/umount,/bin/findmnt",
    ]],
    [{ read: ["/a b'\n"], write: [], run: [] }, ["--allow-read=/a b'\n"]],
  ];
  for (const [permissions, flags] of table) assertEquals(permissionFlags(permissions), flags);
});

Deno.test(
  "permissionFlags() grant the nearest parent without a comma, which flags cannot express",
  {
    permissions: "none",
  },
  () => {
    const table: readonly [read: string[], flag: string][] = [
      [["/a/b,ro"], "--allow-read=/a"],
      [["/a/b,c/d"], "--allow-read=/a"],
      [["/a,b/c,d/e"], "--allow-read=/"],
      [["/a,b"], "--allow-read=/"],
      [["/a/b,c", "/a/d", "/e"], "--allow-read=/a,/e"],
      [["/a/b,c", "/a/b,d"], "--allow-read=/a"],
      [["/a/,"], "--allow-read=/a"],
    ];
    for (const [read, flag] of table) {
      assertEquals(permissionFlags({ read, write: [], run: [] }), [flag]);
      assertEquals(permissionFlags({ read: [], write: read, run: [] }), [
        flag.replace("read", "write"),
      ]);
    }
  },
);

Deno.test(
  "permissionFlags() of a plan are as the plan prints them",
  { permissions: "none" },
  () => {
    assertEquals(
      permissionFlags(requiredPermissions(planRender({ ...WEB, lower: "/images/a,b" }))),
      [
        "--allow-read=/images,/pod",
        "--allow-write=/pod",
        "--allow-run=/bin/mount,/bin/umount,/bin/findmnt,/bin/find",
        "--allow-sys=uid",
      ],
    );
  },
);

Deno.test("PROGRAMS are named by absolute path", { permissions: "none" }, () => {
  for (const [name, path] of Object.entries(PROGRAMS)) {
    assertEquals<string>(path, `/bin/${name}`);
  }
});
