/**
 * The look at a render before anything is made.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { RefusedError } from "../core/errors.ts";
import { collectFacts, FactsCache } from "./disk_facts.ts";
import type { CollectFactsOptions } from "./disk_facts.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import { preflight } from "./disk_rules.ts";
import type { Finding } from "./lower.ts";

/** Found by the operations that require a lower, which name it in the same words. */
const LEFT_TO_OTHERS: readonly Finding["code"][] = ["missing", "not-a-directory"];

/** What was found out about the apps of a call. */
export interface Findings {
  /** What is wrong, by app. */
  readonly byApp: readonly { readonly mount: MountPlan; readonly findings: readonly Finding[] }[];
  /** What could not be looked at with the permissions that there are. */
  readonly unchecked: readonly string[];
}

/**
 * Judges all apps of a call that is only planned, as far as the permissions go.
 *
 * Requires no permissions; with those that the plan needs, all is looked at.
 */
export async function findingsOf(mounts: readonly MountPlan[]): Promise<Findings> {
  const { KernelProbe } = await import("./kernel_probe.ts");
  const { lookThoroughly } = await import("./diagnose_mount.ts");
  const known = { cache: new FactsCache(), probe: new KernelProbe({}) };
  const unchecked = new Set<string>();
  const byApp = [];
  for (const mount of mounts) {
    const seen = await lookThoroughly(mount, known);
    seen.unchecked.forEach((words) => unchecked.add(words));
    byApp.push({ mount, findings: seen.findings });
  }
  return { byApp, unchecked: [...unchecked] };
}

/** Findings that only a mount shows; mount(8) fails then. */
const AT_MOUNT: readonly Finding["code"][] = [
  "unsupported-lower",
  "unknown-option",
  "unsupported-mount",
  "no-overlayfs",
  "not-permitted",
  "invalid-label",
];

/**
 * Tells whether a finding keeps a plan from being carried out.
 *
 * @param mounts `true` if the plan mounts anything.
 */
export function isInTheWay({ code }: Finding, mounts: boolean): boolean {
  return code !== "label-left-out" && (mounts || !AT_MOUNT.includes(code));
}

/** The exit status that a render ends with: 0 done, 1 failed, 3 refused; of several apps, as one call. */
export function statusOf({ byApp }: Findings, mounts: boolean): number {
  const failed = byApp.flatMap(({ findings }) => {
    return findings.find((finding) => isInTheWay(finding, mounts))?.code ?? [];
  });
  if (failed.length === 0) return 0;
  return failed.some((code) => [...AT_MOUNT, ...LEFT_TO_OTHERS].includes(code)) ? 1 : 3;
}

/**
 * Refuses a render of which it is known that it would fail, or would end badly.
 *
 * @param how What was looked at already.
 * @throws {RefusedError} If it is so; with one app, the plainest reason.
 * @throws {PodError} If it is so of one or more of many.
 */
export async function runPreflight(
  mounts: readonly MountPlan[],
  options: ChangeOptions,
  { cache = new FactsCache() }: Pick<CollectFactsOptions, "cache"> = {},
): Promise<void> {
  const programs = programOptions(options);
  const failures = [];
  for (const mount of mounts) {
    const findings = preflight(mount, await collectFacts(mount, programs, { cache }));
    const finding = findings.find(({ code }) => !LEFT_TO_OTHERS.includes(code));
    if (finding !== undefined) failures.push({ app: mount.app, error: refusalOf(finding) });
  }
  const [first] = failures;
  if (first === undefined) return;
  if (mounts.length === 1) throw first.error;
  const { podError } = await import("../core/pod_error.ts");
  throw podError("render", failures);
}

function refusalOf({ code, paths: [path], sentence, hint }: Finding): RefusedError {
  return new RefusedError(code, sentence, { path, hint });
}
