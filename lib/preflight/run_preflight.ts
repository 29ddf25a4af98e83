/**
 * The checks of a render before anything is made.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { RefusedError } from "../core/errors.ts";
import type { AppFailure } from "../core/pod_error.ts";
import { collectFacts, FactsCache } from "./disk_facts.ts";
import type { CollectFactsOptions } from "./disk_facts.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import { conflictingOptions, preflight } from "./disk_rules.ts";
import type { Finding } from "./lower.ts";

/** The findings that the operations requiring a lower report with the same message. */
const LEFT_TO_OTHERS: readonly Finding["code"][] = ["missing", "not-a-directory"];

/** The findings about the apps of a call. */
export interface Findings {
  /** The findings, by app. */
  readonly byApp: readonly { readonly mount: MountPlan; readonly findings: readonly Finding[] }[];
  /** The checks that the permissions do not allow. */
  readonly unchecked: readonly string[];
}

/**
 * Checks all apps of a call that is only planned, as far as the permissions allow.
 *
 * Requires no permissions; with the permissions of the plan, every check is made.
 */
export async function collectFindings(mounts: readonly MountPlan[]): Promise<Findings> {
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

/** The findings that only appear when mount(8) fails. */
const AT_MOUNT: readonly Finding["code"][] = [
  "unsupported-lower",
  "unknown-option",
  "unsupported-mount",
  "no-overlayfs",
  "not-permitted",
  "invalid-label",
];

/**
 * Tells whether a finding prevents the plan from being applied.
 *
 * @param mounts `true` if the plan mounts anything.
 */
export function isInTheWay({ code }: Finding, mounts: boolean): boolean {
  return code !== "label-left-out" && (mounts || !AT_MOUNT.includes(code));
}

/** Predicts the exit status of a render: 0 done, 1 failed, 3 refused; several apps count as one call. */
export function predictStatus({ byApp }: Findings, mounts: boolean): number {
  const failed = byApp.flatMap(({ findings }) => {
    return findings.find((finding) => isInTheWay(finding, mounts))?.code ?? [];
  });
  if (failed.length === 0) return 0;
  return failed.some((code) => [...AT_MOUNT, ...LEFT_TO_OTHERS].includes(code)) ? 1 : 3;
}

/**
 * Refuses a render that would fail or end badly, as far as the facts show it.
 *
 * @param how The facts that are already known.
 * @throws {RefusedError} If one app is rendered and would; the reason is the clearest finding.
 * @throws {PodError} If several apps are rendered and one or more would.
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
  await refuse(mounts, failures);
}

/**
 * Refuses apps with options that exclude each other, before anything is made: no look at the disk is needed.
 *
 * @throws {RefusedError} If one app is rendered and has such options.
 * @throws {PodError} If several apps are rendered and one or more have.
 */
export async function refuseConflicts(mounts: readonly MountPlan[]): Promise<void> {
  const failures = mounts.flatMap((mount) => {
    const finding = conflictingOptions(mount);
    return finding === null ? [] : [{ app: mount.app, error: refusalOf(finding) }];
  });
  await refuse(mounts, failures);
}

async function refuse(
  mounts: readonly MountPlan[],
  failures: readonly AppFailure[],
): Promise<void> {
  const [first] = failures;
  if (first === undefined) return;
  if (mounts.length === 1) throw first.error;
  const { podError } = await import("../core/pod_error.ts");
  throw podError("render", failures);
}

function refusalOf({ code, paths: [path], sentence, hint }: Finding): RefusedError {
  return new RefusedError(code, sentence, { path, hint });
}
