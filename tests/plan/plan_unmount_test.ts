import { assertEquals, assertThrows } from "@std/assert";
import { OverlayError, RefusedError } from "../../lib/core/errors.ts";
import type { ErrorCode } from "../../lib/core/errors.ts";
import { describeOperation } from "../../lib/plan/describe.ts";
import { chooseLines, planUnmount } from "../../lib/plan/plan_unmount.ts";
import { requiredPermissions } from "../../lib/plan/required_permissions.ts";
import { parseUnmount } from "../../lib/request/unmount_request.ts";
import type { UnmountRequest } from "../../lib/request/unmount_request.ts";
import { brief, snapshotOf } from "../_snapshot.ts";
import type { Scene } from "../_snapshot.ts";

/** A snapshot, what is asked for, and what is to be done. */
interface Row {
  readonly name: string;
  readonly scene: Scene;
  readonly request?: Partial<UnmountRequest>;
  readonly plan: readonly string[];
}

const B = "/pod/apps/b/rootfs";

const ROWS: readonly Row[] = [
  { name: "nothing, of a pod without lines", scene: { lines: [] }, plan: ["open"] },
  {
    name: "nothing, of apps that are only prepared",
    scene: { lines: [{ app: "web", auto: false }] },
    plan: ["open"],
  },
  {
    name: "only the line of an app that a reboot has stopped",
    scene: { lines: [{ app: "web" }] },
    plan: ["open", "record web noauto"],
  },
  {
    name: "an app, and its line is kept",
    scene: { lines: [{ app: "web", state: "mounted" }] },
    plan: ["open", "unmount web", "record web noauto"],
  },
  {
    name: "an app that is not to be mounted with the others, whose line stays as it is",
    scene: { lines: [{ app: "web", state: "mounted", auto: false }] },
    plan: ["open", "unmount web"],
  },
  {
    name: "an ephemeral app, and empties its upper, but not that of another app",
    scene: {
      lines: [{ app: "a", state: "mounted" }, { app: "b", state: "mounted", ephemeral: true }],
    },
    plan: [
      "open",
      "unmount b",
      "unmount a",
      "record b noauto spent",
      "record a noauto",
      "idle",
      "reset",
      "record b noauto",
    ],
  },
  {
    name: "an ephemeral app that is to be restored, with what it wrote",
    scene: { lines: [{ app: "a", state: "mounted", ephemeral: true }] },
    request: { restorable: true },
    plan: ["open", "unmount a"],
  },
  {
    name: "the upper of an ephemeral app that a killed unmount left",
    scene: { lines: [{ app: "a", auto: false, ephemeral: true, spent: true }] },
    plan: ["open", "record a noauto spent", "idle", "reset", "record a noauto"],
  },
  {
    name: "nothing of an ephemeral app that is only prepared, or was unmounted",
    scene: { lines: [{ app: "a", auto: false, ephemeral: true }] },
    plan: ["open"],
  },
  {
    name: "an ephemeral app without its upper, which holds the rootfs of an app that is not",
    scene: {
      lines: [
        { app: "a", state: "mounted", ephemeral: true },
        { app: "b", rootfs: "/pod/apps/a/rootfs/b/rootfs", auto: false },
      ],
    },
    plan: ["open", "unmount a", "record a noauto"],
  },
  {
    name: "apps in the opposite order of mounting",
    scene: { lines: [{ app: "a", state: "mounted" }, { app: "b", state: "mounted" }] },
    plan: ["open", "unmount b", "unmount a", "record b noauto", "record a noauto"],
  },
  {
    name: "what lies in an image before the image",
    scene: {
      lines: [
        { app: "web", state: "mounted", rootfs: "/pod/apps/x/rootfs/apps/web/rootfs" },
        { app: "x", state: "mounted" },
      ],
    },
    plan: ["open", "unmount web", "unmount x", "record web noauto", "record x noauto"],
  },
  {
    name: "some apps, and no others",
    scene: { lines: [{ app: "a", state: "mounted" }, { app: "b", state: "mounted" }] },
    request: { app: "a" },
    plan: ["open", "unmount a", "record a noauto"],
  },
  {
    name: "lazily, which is noted before",
    scene: { lines: [{ app: "web", state: "mounted" }, { app: "db" }] },
    request: { lazy: true },
    plan: [
      "open",
      "record web lazy",
      "unmount web lazy",
      "record db noauto",
      "record web noauto lazy",
    ],
  },
  {
    name: "a volatile app, and takes away its mark",
    scene: { lines: [{ app: "web", state: "mounted", volatile: true }] },
    plan: ["open", "unmount web", "volatile web", "record web noauto"],
  },
  {
    name: "a volatile app lazily, and leaves its mark",
    scene: { lines: [{ app: "web", state: "mounted", volatile: true }] },
    request: { lazy: true },
    plan: ["open", "record web lazy", "unmount web lazy", "record web noauto lazy"],
  },
  {
    name: "what no line names, the last one first, and what lies deeper before",
    scene: { lines: [{ app: "web", state: "mounted" }], unnamed: ["/pod/x", "/pod/y", "/pod/z/a"] },
    request: { foreign: true },
    plan: [
      "open",
      "unmount web",
      "unmount /pod/z/a",
      "unmount /pod/y",
      "unmount /pod/x",
      "record web noauto",
    ],
  },
  {
    name: "some apps beside what no line names, and leaves that",
    scene: { lines: [{ app: "web", state: "mounted" }], unnamed: ["/pod/x"] },
    request: { app: "web" },
    plan: ["open", "unmount web", "record web noauto"],
  },
  {
    name: "what a restore mounts again, whose lines stay as they are",
    scene: { lines: [{ app: "web", state: "mounted" }, { app: "db" }] },
    request: { restorable: true },
    plan: ["open", "unmount web"],
  },
  {
    name: "lazily what a restore mounts again",
    scene: { lines: [{ app: "web", state: "mounted" }] },
    request: { restorable: true, lazy: true },
    plan: ["open", "record web lazy", "unmount web lazy", "record web lazy"],
  },
  {
    name: "what is mounted inside an app, as often as it is",
    scene: {
      lines: [
        { app: "a", state: "mounted" },
        { app: "b", state: "mounted", inside: [`${B}/x/y`, `${B}/x/y`, `${B}/x`] },
      ],
    },
    request: { recursive: true, app: "b" },
    plan: [
      "open",
      `unmount ${B}/x/y`,
      `unmount ${B}/x/y`,
      `unmount ${B}/x`,
      "unmount b",
      "record b noauto",
    ],
  },
  {
    name: "an image with the apps in it, of which each line is noted",
    scene: {
      lines: [
        { app: "b", state: "mounted", inside: [`${B}/in/rootfs/proc`, `${B}/in/rootfs`] },
        { app: "in", state: "mounted", rootfs: `${B}/in/rootfs`, inside: [`${B}/in/rootfs/proc`] },
      ],
    },
    request: { recursive: true },
    plan: [
      "open",
      `unmount ${B}/in/rootfs/proc`,
      "unmount in",
      "unmount b",
      "record in noauto",
      "record b noauto",
    ],
  },
];

for (const { name, scene, request, plan } of ROWS) {
  Deno.test(`planUnmount() unmounts ${name}`, () => {
    const wanted = parseUnmount({ pod: "/pod", ...request });
    const snapshot = snapshotOf(scene, wanted.apps);
    const planned = planUnmount(snapshot, wanted);
    assertEquals(planned.operations.map(brief), plan);
    assertEquals([planned.action, planned.pod, planned.mounts], ["unmount", "/pod", []]);
    assertEquals(planUnmount(snapshot, wanted), planned);
    assertEquals(JSON.parse(JSON.stringify(planned)), planned);
    assertEquals(Object.isFrozen(planned.operations), true);
  });
}

const REFUSALS: readonly {
  readonly name: string;
  readonly scene: Scene;
  readonly request?: Partial<UnmountRequest>;
  readonly code: ErrorCode;
}[] = [
  {
    name: "something else on a rootfs",
    scene: { lines: [{ app: "a", state: "mounted" }, { app: "b", state: "foreign" }] },
    code: "foreign-mount",
  },
  {
    name: "a mount that no line names",
    scene: { lines: [], unnamed: ["/pod/x"] },
    code: "foreign-mount",
  },
  {
    name: "to take away lazily what is mounted in an app",
    scene: { lines: [{ app: "web", state: "mounted", inside: ["/pod/apps/web/rootfs/proc"] }] },
    request: { lazy: true },
    code: "busy",
  },
  {
    name: "a pod that was moved",
    scene: { lines: [{ app: "web", rootfs: "/other/apps/web/rootfs" }] },
    code: "pod-moved",
  },
];

for (const { name, scene, request, code } of REFUSALS) {
  Deno.test(`planUnmount() refuses ${name}`, () => {
    const wanted = parseUnmount({ pod: "/pod", ...request });
    const plan = () => planUnmount(snapshotOf(scene, wanted.apps), wanted);
    assertEquals(assertThrows(plan, RefusedError).code, code);
  });
}

Deno.test("chooseLines() chooses the apps in an app too, if what is inside it is to be unmounted", () => {
  const { record } = snapshotOf({
    lines: [{ app: "b" }, { app: "in", rootfs: `${B}/in/rootfs` }, { app: "bb" }],
  });
  const apps = (request: Partial<UnmountRequest>) => {
    return chooseLines(record, parseUnmount({ pod: "/pod", app: "b", ...request }))
      .map(({ app }) => app);
  };
  assertEquals([apps({}), apps({ recursive: true })], [["b"], ["b", "in"]]);
});

Deno.test("chooseLines() refuses an app that the pod has not", () => {
  const { record } = snapshotOf({ lines: [{ app: "web" }] });
  const wanted = parseUnmount({ pod: "/pod", app: ["web", "db"] });
  const error = assertThrows(() => chooseLines(record, wanted), OverlayError);
  assertEquals([error.code, error.hint], ["missing", 'the pod has app "web"']);
});

Deno.test("requiredPermissions() of an unmount asks for umount only where something is unmounted", () => {
  const permissions = (scene: Scene) => {
    return requiredPermissions(planUnmount(snapshotOf(scene), parseUnmount({ pod: "/pod" })));
  };
  const idle = permissions({ lines: [{ app: "web" }] });
  assertEquals(idle, {
    read: ["/pod"],
    write: ["/pod"],
    run: ["/bin/findmnt", "/bin/find"],
    sys: ["uid"],
  });
  const line = { app: "web", state: "mounted", rootfs: "/far/rootfs", inPod: false } as const;
  const mounted = permissions({ lines: [line] });
  assertEquals(mounted.read, ["/pod", "/far"]);
  assertEquals(mounted.run.includes("/bin/umount"), true);
});

Deno.test("describeOperation() describes how a pod is unmounted", () => {
  const scene: Scene = { lines: [{ app: "web", state: "mounted", volatile: true }] };
  const { operations } = planUnmount(snapshotOf(scene), parseUnmount({ pod: "/pod" }));
  assertEquals(operations.map(describeOperation).map((line) => /^\w+ +\S+/.exec(line)?.[0]), [
    "open      /pod",
    "unmount   /pod/apps/web/rootfs",
    "volatile  /pod/overlay/image/work/web/work/incompat",
    "record    /pod/overlay.fstab",
  ]);
});
