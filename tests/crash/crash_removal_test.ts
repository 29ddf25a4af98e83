/**
 * An unmount, a restore or a collection that is killed after any single step: doing it again completes it,
 * or the pod can be removed as it is, and nothing that an app wrote is lost.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { collectPods, OverlayError, RefusedError, renderPod } from "../../mod.ts";
import { crash, perform } from "../_crash.ts";
import { tempDir } from "../_temp.ts";
import { isMissing, MARKS, namesIn } from "../_tree.ts";
import {
  assertStatus,
  atEveryStep,
  collect,
  COLLECT_ALL,
  collectInstead,
  COLLECTS,
  doAgain,
  inOnePiece,
  makePlace,
  mountsIn,
  named,
  requestOf,
  RESTORE,
  test,
  THREE,
  UNMOUNTS,
  use,
  written,
} from "../_crash_scenes.ts";
import type { Place, Scenario } from "../_crash_scenes.ts";

for (const scenario of [...UNMOUNTS, RESTORE, COLLECT_ALL]) {
  test(scenario, "can be done again", doAgain);
  test(scenario, "leaves what gc removes", collectInstead);
}

for (const scenario of COLLECTS) {
  test(scenario, "can be done again", async ({ place: { pod }, killed }) => {
    if (killed) await collectPods({ pod });
    else await assertRejects(() => collectPods({ pod }), OverlayError, "it does not exist");
  });

  test(scenario, "lets the pod be rendered again", async ({ place, kept }) => {
    const { pod, pods } = place;
    // Until it is aside, it is the same pod, with all that its apps wrote.
    const isNew = await isMissing(pod);
    await renderPod(requestOf(place, Object.keys(scenario.apps)));
    await assertStatus(place, scenario.apps);
    assertEquals(await written(place), isNew ? "" : kept);
    // What is left of the old one goes, and the new one is in use.
    const { kept: left } = await collectPods({ pods, gracePeriodMs: 0, olderThanMs: 0 });
    assertEquals(left.map(({ pod, code }) => [pod, code]), [[pod, "in-use"]]);
    assertEquals(await namesIn(pods), ["pod"]);
    await assertStatus(place, scenario.apps);
    await collect(place);
  });
}

const LAZY: Scenario = {
  name: "unmountOverlay() of three apps, lazily",
  prepare: (place) => use(requestOf(place, THREE)),
  deed: ({ pod }) => ({ kind: "unmount", request: { pod, lazy: true } }),
  steps: 3,
  apps: { web: false, db: false, cache: false },
};

/** A rootfs that a process uses is neither removed nor mounted a second time. */
async function assertHeld(place: Place): Promise<void> {
  const { pod } = place;
  const kept = await written(place);
  const isMounted = mountsIn(pod).length > 0;
  const held = await assertRejects<OverlayError>(() => collectPods({ pod }), OverlayError);
  assertEquals(held.code, "busy");
  if (!isMounted) {
    const request = requestOf(place, THREE);
    const refused = await assertRejects<OverlayError>(() => renderPod(request), OverlayError);
    assertEquals([refused.code, mountsIn(pod)], ["busy", []]);
  }
  assertEquals(await written(place), kept);
}

/** Kills it while a process uses an app, after so many steps. */
async function lazilyAt(place: Place, at: number, again: boolean): Promise<void> {
  await LAZY.prepare(place);
  const cwd = `${place.pod}/stage1/rootfs/opt/stage2/db/rootfs`;
  const user = new Deno.Command("sleep", { args: ["3600"], cwd }).spawn();
  try {
    assertEquals((await crash(LAZY.deed(place), at)).killed, true);
    if (again) await perform(LAZY.deed(place));
    await assertHeld(place);
  } finally {
    user.kill();
    await user.status;
  }
}

for (const again of [false, true]) {
  const words = again ? ", and does it again," : "";

  Deno.test(`unmountOverlay() that is killed while it unmounts lazily${words} keeps what is in use`, async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const { steps } = await inOnePiece(LAZY, place);
    for (let at = 1; at <= steps.length; at++) {
      await named(`killed after step ${at}, ${steps[at - 1]}`, () => lazilyAt(place, at, again));
      await collect(place);
    }
  });
}

Deno.test("unmountOverlay() leaves a volatile mark that it was killed before it took away", async () => {
  const request = (place: Place) => {
    return requestOf(place, ["web"], { options: [...MARKS, "volatile"] });
  };
  const scenario: Scenario = {
    name: "unmountOverlay() of a volatile app",
    prepare: (place) => use(request(place)),
    deed: ({ pod }) => ({ kind: "unmount", request: { pod } }),
    steps: 3,
    apps: { web: false },
  };
  await atEveryStep(scenario, async ({ place, steps, at, kept }) => {
    await perform(scenario.deed(place));
    await assertStatus(place, scenario.apps);
    const again = () => renderPod(request(place));
    // Nobody can tell this from a machine that stopped: what the app wrote may be incomplete.
    const isMarked = ["unmounted", "unmount"].includes(steps[at - 1] ?? "");
    if (isMarked) assertEquals((await assertRejects(again, RefusedError)).code, "volatile");
    else await again();
    assertEquals(await written(place), kept);
    await collect(place);
  });
});
