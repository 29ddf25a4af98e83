/**
 * The steps that differ between a render of one app and a render of several.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { Applied } from "../apply/apply.ts";
import type { ApplyOptions } from "../apply/apply_run.ts";
import type { PlanOptions, RenderPlan } from "../plan/plan.ts";

/** The steps that differ between a request for one app and one for several. */
export interface RequestKind<R> {
  /** Checks a request, and looks up the trees and lowers that it names. */
  readonly resolve: (request: R) => Promise<R>;
  /** Plans a request that was resolved. */
  readonly plan: (request: R, options: PlanOptions) => RenderPlan;
  /** Applies the plan. @default {applyPlan} */
  readonly apply?: (plan: RenderPlan, options: ApplyOptions, request: R) => Promise<Applied>;
}
