import { assertEquals, assertThrows } from "@std/assert";
import type { AppLine } from "../../lib/overlay/app_line.ts";
import { OverlayError, RefusedError } from "../../lib/core/errors.ts";
import { linesLost, planRestore } from "../../lib/plan/plan_restore.ts";
import { requiredPermissions } from "../../lib/plan/required_permissions.ts";
import { brief, snapshotOf } from "../_snapshot.ts";
import type { Scene } from "../_snapshot.ts";

/** A snapshot, the apps that something is wrong with, and what is to be done. */
interface Row {
  readonly name: string;
  readonly scene: Scene;
  readonly wrong?: readonly string[];
  readonly live?: true;
  readonly plan: readonly string[];
}

const ROWS: readonly Row[] = [
  { name: "nothing, of a pod without lines", scene: { lines: [] }, plan: ["look"] },
  {
    name: "nothing that is mounted, or was unmounted",
    scene: { lines: [{ app: "a", state: "mounted" }, { app: "b", auto: false }] },
    plan: ["look"],
  },
  {
    name: "apps in the order of mounting",
    scene: { lines: [{ app: "b" }, { app: "c", auto: false }, { app: "a" }] },
    plan: ["open", "mount b", "mount a"],
  },
  {
    name: "only the first line of an app",
    scene: { lines: [{ app: "a" }, { app: "a", rootfs: "/pod/apps/b/rootfs" }] },
    plan: ["open", "mount a"],
  },
  {
    name: "no app whose first line is mounted",
    scene: {
      lines: [{ app: "a", state: "mounted" }, { app: "a", rootfs: "/pod/apps/b/rootfs" }],
    },
    plan: ["look"],
  },
  {
    name: "all but what something is wrong with",
    scene: { lines: [{ app: "a" }, { app: "b", state: "foreign" }, { app: "c" }] },
    wrong: ["b"],
    plan: ["open", "mount a", "mount c"],
  },
  {
    name: "nothing where something is wrong with all",
    scene: { lines: [{ app: "a" }] },
    wrong: ["a"],
    plan: ["look"],
  },
  {
    name: "apps in live images, where that is asked for",
    scene: { lines: [{ app: "a" }] },
    live: true,
    plan: ["open", "mount a live"],
  },
];

for (const { name, scene, wrong = [], live = false, plan } of ROWS) {
  Deno.test(`planRestore() mounts ${name}`, () => {
    const snapshot = snapshotOf(scene);
    const bad = snapshot.record.lines.filter(({ app }) => wrong.includes(app));
    const problems = new Map(bad.map((line) => [line, new OverlayError("failed", "Cannot")]));
    const planned = planRestore(snapshot, { problems, live });
    assertEquals(planned.operations.map(brief), plan);
    assertEquals([planned.action, planned.pod, planned.mounts], ["restore", "/pod", []]);
    assertEquals(planRestore(snapshot, { problems, live }), planned);
    assertEquals(JSON.parse(JSON.stringify(planned)), planned);
  });
}

Deno.test("planRestore() refuses a pod that was moved", () => {
  const snapshot = snapshotOf({ lines: [{ app: "web", rootfs: "/other/apps/web/rootfs" }] });
  const plan = () => planRestore(snapshot, { problems: new Map(), live: false });
  assertEquals(assertThrows(plan, RefusedError).code, "pod-moved");
});

Deno.test("linesLost() finds what lies in images that are in use", () => {
  const inImage = "/pod/apps/image/rootfs/apps/a/rootfs";
  const { lines } = snapshotOf({
    lines: [{ app: "image" }, { app: "a", rootfs: inImage }, { app: "b" }],
  }).record;
  const lost = (used: readonly (AppLine | undefined)[]) => {
    return linesLost(lines, used.flatMap((line) => line ?? [])).map(([{ app }, { code }]) => {
      return `${app}: ${code}`;
    });
  };
  assertEquals(lost([]), []);
  assertEquals(lost([lines[0]]), ["a: busy"]);
  assertEquals(lost([lines[0], lines[1]]), []);
  assertEquals(lost([lines[2]]), []);
});

Deno.test("requiredPermissions() of a restore asks for mount only where something is mounted", () => {
  const permissions = (scene: Scene) => {
    const facts = { problems: new Map(), live: false };
    return requiredPermissions(planRestore(snapshotOf(scene), facts));
  };
  assertEquals(permissions({ lines: [{ app: "a", auto: false }] }), {
    read: ["/pod"],
    write: [],
    run: ["/bin/findmnt", "/bin/find"],
    sys: ["uid"],
  });
  const line = { app: "a", rootfs: "/far/rootfs", inPod: false };
  assertEquals(permissions({ lines: [line] }), {
    read: ["/pod", "/far"],
    write: ["/pod"],
    run: ["/bin/mount", "/bin/umount", "/bin/findmnt", "/bin/find"],
    sys: ["uid"],
  });
});
