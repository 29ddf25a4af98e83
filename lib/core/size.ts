/**
 * Parses and writes sizes as people write them.
 *
 * Requires no permissions.
 *
 * @module
 */
import { invalid } from "./invalid.ts";

const UNITS = ["", "K", "M", "G", "T"];

/**
 * Parses a size: digits, and after them K, M, G or T for powers of 1024.
 *
 * @param what The word for it in an error.
 * @returns Bytes.
 * @throws {InvalidValueError} If it is no size, or not above 0.
 */
export function parseSize(what: string, value: string): number {
  const [, digits = "", unit = ""] = /^(\d{1,15})([KMGT]?)$/.exec(value) ?? [];
  const bytes = Number(digits) * 1024 ** UNITS.indexOf(unit);
  if (digits !== "" && bytes > 0 && Number.isSafeInteger(bytes)) return bytes;
  throw invalid(what, value, "it must be such as 500M or 64G, or a number of bytes");
}

/** Writes a size for people: three digits at most, and a unit. */
export function formatSize(bytes: number): string {
  let [size, unit] = [bytes, 0];
  while (size >= 999.5 && unit < UNITS.length - 1) [size, unit] = [size / 1024, unit + 1];
  const text = unit === 0 || size >= 99.5 ? size.toFixed(0) : size.toPrecision(2);
  return `${Number(text)} ${UNITS[unit]}${unit === 0 ? "bytes" : "iB"}`;
}
