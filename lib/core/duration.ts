/**
 * Lengths of time as people write them.
 *
 * Requires no permissions.
 *
 * @module
 */
import { invalid } from "./invalid.ts";

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/**
 * Reads a length of time, such as `10s` or `1.5h`; `0` needs no unit.
 *
 * @param what The word for it in an error, such as `wait`.
 * @returns Milliseconds.
 * @throws {InvalidValueError} If it is not a number with a unit.
 */
export function parseDuration(what: string, value: string): number {
  if (value === "0") return 0;
  const [, number, unit = ""] = /^(\d{1,12}(?:\.\d{1,12})?)(ms|s|m|h|d)$/.exec(value) ?? [];
  const factor = UNITS[unit];
  if (number === undefined || factor === undefined) {
    const reason = "it must be a number with a unit: ms, s, m, h or d";
    throw invalid(what, value, reason, { hint: "write it like 500ms, 10s or 30m" });
  }
  return Number(number) * factor;
}

/** Writes a length of time in its largest whole unit. */
export function formatDuration(ms: number): string {
  const [unit, factor] = Object.entries(UNITS).findLast(([, factor]) => ms % factor === 0) ??
    ["ms", 1];
  return ms === 0 ? "0" : `${ms / factor}${unit}`;
}
