/**
 * Plans as text and as JSON, and the flags of `deno run` that they need.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { ImagePull } from "../api/pull_images.ts";
import type { OutputOptions } from "./typed_command.ts";
import { formatJson } from "./output.ts";
import { shellQuote, showName } from "../core/quote.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import { mountOptions, OPTIONS_MAX } from "../overlay/mount_config.ts";
import { describeOperation } from "../plan/describe.ts";
import type { Operation } from "../plan/operation.ts";
import { toMountConfig } from "../plan/render_mount.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { joinPermissions, permissionFlags } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";

/** The parts of a plan that are printed. */
export interface PrintedPlan {
  /** The operations, in the order in which they are applied. */
  readonly operations: readonly Operation[];
  /** The mounts of a render. @default {none} */
  readonly mounts?: readonly MountPlan[];
  /** The pulls before a render. @default {none} */
  readonly pulls?: readonly ImagePull[];
  /** The permissions of the pulls. @default {none} */
  readonly pulling?: RequiredPermissions;
}

/** The permissions that every command needs here. */
let further: readonly RequiredPermissions[] = [];

/** Adds permissions to those that are printed, as a user needs who is not root. */
export function alsoNeed(permissions: RequiredPermissions): void {
  further = [permissions];
}

function listFlags(permissions: RequiredPermissions): readonly string[] {
  return permissionFlags(joinPermissions([permissions, ...further]));
}

/** Returns the permissions of a plan and of its pulls. */
function permissionsOf(plan: PrintedPlan): RequiredPermissions {
  const needs = requiredPermissions(plan);
  return plan.pulling === undefined ? needs : joinPermissions([needs, plan.pulling]);
}

function describePull({ kind, path, reference }: ImagePull): string {
  return `${kind.padEnd(9)} ${showName(path)}  ${showName(reference)}, from its registry`;
}

/** How {@linkcode planJson} writes a plan. */
export interface PlanJsonOptions {
  /** Set if it has one mount, and not a list of mounts. @default {false} */
  readonly single?: boolean;
  /** Further parts. @default {none} */
  readonly more?: object;
}

/** Writes a plan as JSON. */
export function planJson(plan: PrintedPlan, { single, more = {} }: PlanJsonOptions = {}): string {
  const { operations, mounts = [], pulls = [] } = plan;
  const shown = mounts.map(({ optionString, ...mount }) => ({ ...mount, options: optionString }));
  const flags = listFlags(permissionsOf(plan));
  const named = single ? { mount: shown[0] } : { mounts: shown };
  return formatJson({ operations: [...pulls, ...operations], ...named, flags, ...more });
}

/** Writes the flags of `deno run` in one line for a shell, or as JSON. */
export function flagsText(permissions: RequiredPermissions, json: boolean): string {
  const flags = listFlags(permissions);
  return json ? formatJson({ flags }) : `${flags.map(shellQuote).join(" ")}\n`;
}

function indented(head: string, lines: readonly string[]): string {
  return [head, ...lines.map((line) => `  ${line}`), ""].join("\n");
}

/** Describes how options were shortened that would be too long with whole paths. */
function shortened(mount: MountPlan): string[] {
  const whole = mount.copy ? mount.optionString : mountOptions(toMountConfig(mount));
  if (whole === mount.optionString) return [];
  const length = new TextEncoder().encode(whole).length;
  return [
    `(seen from ${showName(mount.pod)}: with whole paths they would be ${length} bytes, ` +
    `of which the kernel reads ${OPTIONS_MAX})`,
  ];
}

/** Writes a plan in the form that was asked for. */
export function formatPlan(
  plan: PrintedPlan,
  { json, flags }: OutputOptions,
  options: PlanJsonOptions = {},
): string {
  if (flags) return flagsText(permissionsOf(plan), json);
  return json ? planJson(plan, options) : planText(plan);
}

/** Writes a plan as text. */
export function planText(plan: PrintedPlan): string {
  const { operations, mounts = [], pulls = [] } = plan;
  const options = mounts.flatMap((mount) => [showName(mount.optionString), ...shortened(mount)]);
  const flags = listFlags(permissionsOf(plan)).map(shellQuote);
  const lines = [...pulls.map(describePull), ...operations.map(describeOperation)];
  return indented("operations:", lines) +
    (mounts.length === 0 ? "" : indented("options:", options)) +
    indented("flags:", flags);
}
