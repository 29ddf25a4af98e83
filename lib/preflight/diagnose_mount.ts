/**
 * The thorough check of a render, which also runs programs. It is for a mount that is only planned, or has
 * failed.
 *
 * @module
 */
import { collectFacts } from "./disk_facts.ts";
import type { FactsCache } from "./disk_facts.ts";
import type { KernelProbe } from "./kernel_probe.ts";
import { collectMountingFacts } from "./kernel_facts.ts";
import { judgeMounting } from "./kernel_rules.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import { preflight } from "./disk_rules.ts";
import type { Finding } from "./lower.ts";

/** The result of a check of a render. */
export interface Seen {
  /** The findings, the clearest first. */
  readonly findings: readonly Finding[];
  /** The checks that could not be made. */
  readonly unchecked: readonly string[];
}

/**
 * Checks a render as far as the permissions allow.
 *
 * Requires no permissions.
 *
 * @param known The facts and answers that were collected for other apps.
 */
export async function lookThoroughly(
  mount: MountPlan,
  known: { readonly cache: FactsCache; readonly probe: KernelProbe },
): Promise<Seen> {
  const { cache, probe } = known;
  const facts = await collectFacts(mount, probe.programs, { thorough: true, cache });
  const findings = preflight(mount, facts);
  // A copy is no mount.
  if (mount.copy) return { findings, unchecked: facts.unchecked };
  const more = await collectMountingFacts(mount, facts, probe);
  return {
    findings: [...findings, ...judgeMounting(mount, more)],
    unchecked: [...facts.unchecked, ...more.unchecked],
  };
}
