/**
 * A render that is killed after any single step: doing it again completes it, or the pod can be removed as
 * it is, and nothing that an app wrote is lost.
 *
 * @module
 */
import { crash } from "../_crash.ts";
import {
  collectInstead,
  doAgain,
  MORE_RENDERS,
  named,
  NESTED,
  RENDERS,
  test,
} from "../_crash_scenes.ts";

for (const scenario of RENDERS) {
  test(scenario, "can be done again", doAgain);
  test(scenario, "leaves what gc removes", collectInstead);
}

for (const scenario of MORE_RENDERS) {
  test(scenario, "can be done again, or gc removes it", async (aftermath) => {
    // By turns.
    await (aftermath.at % 2 === 0 ? doAgain : collectInstead)(aftermath);
  });
}

test(NESTED, "can be done again when that was killed too", async (aftermath) => {
  // Late where the first one was killed early.
  const second = Math.max(1, aftermath.steps.length - aftermath.at);
  await crash(NESTED.deed(aftermath.place), second);
  await named(`and then after step ${second}`, () => doAgain(aftermath));
});
