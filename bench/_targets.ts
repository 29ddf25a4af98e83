/**
 * What the project wants to reach, and whether it does. Nothing fails when it does not.
 *
 * @module
 */
import { say } from "../tools/run.ts";
import { medianOf } from "./_measure.ts";
import type { Measured } from "./_measure.ts";
import { OURS } from "./_table.ts";

/** How the time an app changes from few apps to many. */
interface Flatness {
  /** Of whole processes: the start is shared by more apps. */
  readonly whole: number;
  /** Without the time of the render of one app, which is nearly all start. */
  readonly further: number;
}

/** The time an app at the larger number, divided by that at the smaller one. */
function flatness(all: readonly Measured[], few: number, many: number): Flatness {
  const time = (apps: number) => medianOf(all, OURS, apps);
  const whole = (apps: number) => time(apps) / apps;
  const further = (apps: number) => (time(apps) - time(1)) / (apps - 1);
  return { whole: whole(many) / whole(few), further: further(many) / further(few) };
}

/** Something that the project wants to reach. */
export interface Target {
  readonly what: string;
  readonly figure: number;
  readonly goal: { readonly atLeast: number } | { readonly atMost: number };
}

function verdict({ figure, goal }: Target): string {
  if (Number.isNaN(figure)) return "not measured";
  const isMet = "atLeast" in goal ? figure >= goal.atLeast : figure <= goal.atMost;
  return isMet ? "met" : "not met";
}

/** What is to be reached with renders. */
export function renderTargets(one: readonly Measured[], many: readonly Measured[]): Target[] {
  const ratio = (by: string, to = OURS) => medianOf(many, by, 100) / medianOf(many, to, 100);
  const first = medianOf(one, OURS, 1) / medianOf(one, "buildah", 1);
  const { whole, further } = flatness(many, 10, 1000);
  return [
    { what: "100 apps: sh loop / overlay-render", figure: ratio("sh"), goal: { atLeast: 5 } },
    { what: "100 apps: buildah / overlay-render", figure: ratio("buildah"), goal: { atLeast: 40 } },
    // What is in the way of these two, if they are not met either.
    {
      what: "100 apps: sh loop / the least in Deno",
      figure: ratio("sh", "least"),
      goal: { atLeast: 5 },
    },
    {
      what: "100 apps: buildah / the least in Deno",
      figure: ratio("buildah", "least"),
      goal: { atLeast: 40 },
    },
    { what: "one app: overlay-render / buildah", figure: first, goal: { atMost: 1 } },
    {
      what: "time an app, 1000 apps / 10 apps, whole processes (the start is shared by more)",
      figure: whole,
      goal: { atMost: 1.5 },
    },
    {
      what: "time a further app, 1000 apps / 10 apps, the render of 1 app subtracted from both",
      figure: further,
      goal: { atMost: 1.5 },
    },
  ];
}

/** Prints the targets, what was measured, and whether they are met. */
export function sayTargets(targets: readonly Target[]): void {
  say("\nTargets\n\n");
  for (const target of targets) {
    const { what, figure, goal } = target;
    const limit = "atLeast" in goal ? `at least ${goal.atLeast}` : `at most ${goal.atMost}`;
    const shown = Number.isNaN(figure) ? "-" : figure.toFixed(2);
    say(`${shown.padStart(9)}  ${limit.padEnd(11)}  ${verdict(target).padEnd(12)}  ${what}\n`);
  }
}
