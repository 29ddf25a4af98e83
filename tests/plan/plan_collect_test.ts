import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { AppLine } from "../../lib/overlay/app_line.ts";
import { MissingPermissionError, OverlayError, RefusedError } from "../../lib/core/errors.ts";
import { keptBy, planCollect } from "../../lib/plan/plan_collect.ts";
import type { CollectRules, PodFacts } from "../../lib/plan/collect_rules.ts";
import type { MountState } from "../../lib/plan/snapshot.ts";
import { podLayout } from "../../lib/request/layout.ts";
import type { Mount } from "../../lib/system/mount_table.ts";

const POD = "/pods/a";
const GARBAGE = "/pods/garbage/a";
const NOW = 1_000_000_000_000;
const MINUTE = 60_000;
const ROOTFS = `${POD}/apps/web/rootfs`;
const UPPER = `${POD}/overlay/image/upper/web`;

const OUTSIDE: AppLine = {
  app: "web",
  tree: "image",
  rootfs: ROOTFS,
  source: "overlay",
  options: `lowerdir=/image,upperdir=${UPPER},workdir=${POD}/overlay/image/work/web`,
  auto: false,
  ephemeral: true,
};

const LINE: AppLine = { ...OUTSIDE, inPod: true };

/** Lines, and what the mount table says of them. */
function lines(
  state: MountState,
  ...lines: readonly AppLine[]
): Pick<PodFacts, "record" | "seen" | "unnamed"> {
  const seen = lines.map((line) => ({ line, state, target: line.rootfs, inside: [] }));
  return { record: { entries: lines, lines }, seen, unnamed: [] };
}

/** A pod with one app, that is not mounted and may go. */
const IDLE: PodFacts = {
  pod: podLayout(POD),
  real: POD,
  now: NOW,
  aside: null,
  garbage: GARBAGE,
  isPod: true,
  isKept: false,
  changed: NOW - MINUTE,
  ...lines("unmounted", LINE),
  inside: [],
  users: [],
};

const ASIDE: PodFacts = { ...IDLE, pod: podLayout(GARBAGE), real: GARBAGE, aside: NOW - MINUTE };

const RULES: CollectRules = { named: false, gracePeriodMs: 0 };
const NAMED: CollectRules = { ...RULES, named: true };

function mount(target: string, more: Partial<Mount> = {}): Mount {
  return { id: 1, parent: 0, target, fstype: "tmpfs", options: "", flags: [], ...more };
}

const MOUNTED: PodFacts = {
  ...IDLE,
  ...lines("mounted", { ...LINE, auto: true }),
  inside: [mount(ROOTFS, { fstype: "overlay", options: LINE.options })],
};

/** The steps of a plan, each in one line. */
function steps(facts: PodFacts, rules: CollectRules): string[] {
  const { mark, sweep } = planCollect(facts, rules);
  return [...mark, ...sweep].map(({ kind, path }) => `${kind} ${path}`);
}

/** A pod, the rules, and what is done. */
const PLANS: readonly [string, PodFacts, CollectRules, readonly string[]][] = [
  ["an idle pod", IDLE, RULES, [
    `open ${POD}`,
    `idle ${UPPER}`,
    `free ${POD}`,
    `set-aside ${POD}`,
    `open ${GARBAGE}`,
    `free ${GARBAGE}`,
    `remove ${GARBAGE}`,
  ]],
  ["an idle pod, in the first pass alone", IDLE, { ...RULES, phase: "mark" }, [
    `open ${POD}`,
    `idle ${UPPER}`,
    `free ${POD}`,
    `set-aside ${POD}`,
  ]],
  ["an idle pod, in the second pass alone", IDLE, { ...RULES, phase: "sweep" }, []],
  ["a mounted pod that is named", MOUNTED, NAMED, [
    `open ${POD}`,
    `unmount ${ROOTFS}`,
    `free ${POD}`,
    `idle ${UPPER}`,
    `set-aside ${POD}`,
    `open ${GARBAGE}`,
    `free ${GARBAGE}`,
    `remove ${GARBAGE}`,
  ]],
  ["a pod without lines that is named", { ...IDLE, ...lines("unmounted") }, NAMED, [
    `open ${POD}`,
    `free ${POD}`,
    `set-aside ${POD}`,
    `open ${GARBAGE}`,
    `free ${GARBAGE}`,
    `remove ${GARBAGE}`,
  ]],
  [
    "a view, which has no upper",
    {
      ...IDLE,
      ...lines("unmounted", { ...LINE, options: "lowerdir=/a:/b" }),
    },
    RULES,
    [
      `open ${POD}`,
      `free ${POD}`,
      `set-aside ${POD}`,
      `open ${GARBAGE}`,
      `free ${GARBAGE}`,
      `remove ${GARBAGE}`,
    ],
  ],
  [
    "destinations outside the pod that a render made",
    {
      ...IDLE,
      ...lines("unmounted", { ...OUTSIDE, rootfs: "/far/rootfs", made: "destination" }, {
        ...OUTSIDE,
        rootfs: "/there/rootfs",
        made: "rootfs",
      }),
    },
    RULES,
    [
      `open ${POD}`,
      `idle ${UPPER}`,
      `idle ${UPPER}`,
      `free ${POD}`,
      `set-aside ${POD}`,
      `open ${GARBAGE}`,
      `free ${GARBAGE}`,
      "rmdir /far",
      "rmdir /there/rootfs",
      `remove ${GARBAGE}`,
    ],
  ],
  [
    "a pod of the age that is asked for",
    {
      ...IDLE,
      ...lines("unmounted", { ...LINE, ephemeral: undefined } as unknown as AppLine),
    },
    { ...RULES, olderThanMs: MINUTE, phase: "mark" },
    [
      `open ${POD}`,
      `idle ${UPPER}`,
      `free ${POD}`,
      `set-aside ${POD}`,
    ],
  ],
  ["a pod that is aside", ASIDE, RULES, [
    `open ${GARBAGE}`,
    `free ${GARBAGE}`,
    `remove ${GARBAGE}`,
  ]],
  ["a pod that is aside, in the first pass alone", ASIDE, { ...RULES, phase: "mark" }, []],
  ["a pod that is aside for a shorter time", ASIDE, { ...RULES, gracePeriodMs: 2 * MINUTE }, []],
  [
    "a pod that is aside since a time in the future",
    { ...ASIDE, aside: NOW + MINUTE },
    { ...RULES, gracePeriodMs: MINUTE },
    [`grace ${GARBAGE}`],
  ],
  [
    "a pod that came aside with its mounts",
    {
      ...ASIDE,
      inside: [mount(`${GARBAGE}/apps/web/rootfs`, { fstype: "overlay", options: LINE.options })],
    },
    RULES,
    [
      `open ${GARBAGE}`,
      `unmount ${GARBAGE}/apps/web/rootfs`,
      `free ${GARBAGE}`,
      `remove ${GARBAGE}`,
    ],
  ],
];

for (const [name, facts, rules, expected] of PLANS) {
  Deno.test(`planCollect() plans the steps for ${name}`, { permissions: "none" }, () => {
    assertEquals(steps(facts, rules), expected);
  });
}

Deno.test("planCollect() unmounts the deepest app first", { permissions: "none" }, () => {
  const deep = { ...LINE, app: "deep", rootfs: `${ROOTFS}/in/rootfs` };
  const other = { ...LINE, app: "other", rootfs: `${POD}/apps/other/rootfs` };
  const all = lines("mounted", LINE, deep, other);
  const inside = all.seen.map(({ line }) => mount(line.rootfs));
  const plan = planCollect({ ...MOUNTED, ...all, inside }, NAMED);
  const paths = plan.mark.filter(({ kind }) => kind === "unmount").map(({ path }) => path);
  assertEquals(paths, [deep.rootfs, other.rootfs, ROOTFS]);
});

/** A pod, the rules, and the end of its grace period. */
const WAITS: readonly [PodFacts, CollectRules, string, string][] = [
  [IDLE, { ...RULES, gracePeriodMs: 30 * MINUTE }, GARBAGE, "30m"],
  [ASIDE, { ...RULES, gracePeriodMs: 2 * MINUTE }, GARBAGE, "1m"],
  [{ ...ASIDE, aside: NOW + 5 * MINUTE }, { ...RULES, gracePeriodMs: 2 * MINUTE }, GARBAGE, "2m"],
];

for (const [facts, rules, pod, left] of WAITS) {
  Deno.test(
    `planCollect() keeps ${pod} for its grace period of ${left}`,
    { permissions: "none" },
    () => {
      assertEquals(planCollect(facts, rules).kept, {
        pod,
        code: "grace-period",
        reason: `its grace period ends in ${left}`,
        hint: null,
        failed: false,
      });
    },
  );
}

const lasting = (more: Partial<AppLine> = {}): PodFacts => {
  const { ephemeral: _, ...line } = LINE;
  return { ...IDLE, ...lines("unmounted", { ...line, ...more }) };
};

/** A pod, the rules, and the refusal: its code, its path, its reason, and a part of its hint. */
const REFUSALS: readonly [string, PodFacts, CollectRules, RegExp, string, RegExp][] = [
  ["refused", { ...IDLE, isPod: false }, NAMED, /and is no pod$/, POD, /check --pod/],
  ["kept", { ...IDLE, isKept: true }, NAMED, /: it is kept$/, `${POD}/overlay.keep`, /unkeep/],
  ["not-due", lasting(), RULES, /not rendered as ephemeral$/, POD, /gc --pod \/pods\/a$/],
  [
    "not-due",
    lasting(),
    { ...RULES, olderThanMs: 2 * MINUTE },
    /used 1m ago$/,
    POD,
    /all the same/,
  ],
  [
    "not-due",
    { ...lasting(), changed: NOW + 1 },
    { ...RULES, olderThanMs: 0 },
    /in the future$/,
    POD,
    /all the same/,
  ],
  [
    "not-due",
    { ...IDLE, ...lines("unmounted") },
    RULES,
    /not rendered as ephemeral$/,
    POD,
    /all the same/,
  ],
  ["in-use", MOUNTED, RULES, /app "web" is mounted$/, POD, /^unmount it first/],
  ["in-use", MOUNTED, { ...NAMED, phase: "mark" }, /app "web" is mounted$/, POD, /^unmount/],
  [
    "foreign-mount",
    { ...IDLE, inside: [mount(`${POD}/data`)] },
    NAMED,
    /something else is mounted on "\/pods\/a\/data"$/,
    `${POD}/data`,
    /^umount \/pods\/a\/data if it may go$/,
  ],
  [
    "in-use",
    { ...IDLE, users: [mount("/mnt", { fstype: "overlay" })] },
    NAMED,
    /the mount on "\/mnt" is made of what is in it$/,
    POD,
    /^umount \/mnt if it may go, and then: overlay-render gc --pod/,
  ],
  [
    "in-use",
    { ...IDLE, ...lines("unmounted", { ...LINE, copy: true }) },
    RULES,
    /is a copy, and nothing tells/,
    POD,
    /by its name/,
  ],
  [
    "in-use",
    { ...IDLE, ...lines("unmounted", { ...LINE, auto: true }) },
    RULES,
    /was mounted when the machine/,
    POD,
    /restore, or unmount/,
  ],
  [
    "refused",
    {
      ...IDLE,
      ...lines("unmounted", { ...LINE, options: `lowerdir=${POD}/tree:/image` }),
    },
    NAMED,
    /the lower "\/pods\/a\/tree" lies in it$/,
    `${POD}/tree`,
    /move the tree/,
  ],
  [
    "refused",
    {
      ...IDLE,
      real: "/real/a",
      ...lines("unmounted", { ...LINE, options: "lowerdir=/real/a/tree:/b" }),
    },
    NAMED,
    /lies in it$/,
    "/real/a/tree",
    /move the tree/,
  ],
  ["kept", { ...ASIDE, isKept: true }, RULES, /: it is kept$/, `${GARBAGE}/overlay.keep`, /unkeep/],
  ["refused", { ...ASIDE, isPod: false }, RULES, /and is no pod$/, GARBAGE, /only pods/],
  [
    "foreign-mount",
    { ...ASIDE, inside: [mount(`${GARBAGE}/apps`)] },
    RULES,
    /something else is mounted on/,
    `${GARBAGE}/apps`,
    /if it may go$/,
  ],
  [
    "in-use",
    { ...ASIDE, users: [mount("/mnt", { fstype: "overlay" })] },
    RULES,
    /made of what is in it$/,
    GARBAGE,
    /umount \/mnt/,
  ],
];

for (const [code, facts, rules, reason, path, hint] of REFUSALS) {
  const how = rules.named ? "by its name" : "among others";
  Deno.test(`planCollect() refuses a pod ${how}: ${code}, ${reason.source}`, {
    permissions: "none",
  }, () => {
    const error = assertThrows(() => planCollect(facts, rules), RefusedError);
    assertEquals([error.code, error.path], [code, path]);
    assertMatch(error.message, reason);
    assertMatch(`${error.hint}`, hint);
  });
}

Deno.test(
  "planCollect() takes a pod that is named whatever its lines say",
  { permissions: "none" },
  () => {
    for (const more of [{ auto: true }, { copy: true }] as const) {
      assertEquals(planCollect(lasting(more), NAMED).sweep.at(-1)?.kind, "remove");
    }
  },
);

Deno.test("planCollect() refuses a pod whose lines are those of another place, unless it is kept", {
  permissions: "none",
}, () => {
  const copy = podLayout("/pods/copy");
  const plan = (isKept: boolean) => () => planCollect({ ...IDLE, pod: copy, isKept }, NAMED);
  assertEquals(assertThrows(plan(false), RefusedError).code, "pod-moved");
  assertEquals(assertThrows(plan(true), RefusedError).code, "kept");
});

Deno.test("keptBy() tells what is only not now from what is wrong", { permissions: "none" }, () => {
  const report = (error: OverlayError) => keptBy(error, POD).failed;
  for (const code of ["locked", "in-use", "busy", "kept", "not-due"] as const) {
    assertEquals(report(new RefusedError(code, "")), false, code);
    // The same after something was touched is a failure.
    assertEquals(report(new OverlayError(code, "")), true, code);
  }
  assertEquals(report(new RefusedError("shared-pod", "")), true);
  const whole = [
    new MissingPermissionError("", []),
    new OverlayError("interrupted", ""),
    new Error(),
  ];
  for (const error of whole) assertThrows(() => keptBy(error, POD), Error);
});
