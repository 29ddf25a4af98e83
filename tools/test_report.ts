/**
 * Counts the results of tests in the report of `deno test`.
 *
 * @module
 */

/** How many tests did what. */
export interface Tally {
  passed: number;
  failed: number;
  /** The names of tests that could not run here; each says why. */
  skipped: string[];
}

/** Nothing counted yet. */
export function emptyTally(): Tally {
  return { passed: 0, failed: 0, skipped: [] };
}

interface Case {
  readonly name: string;
  readonly body: string;
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

function unescape(text: string): string {
  return text.replace(/&(?:#(x?)([0-9a-f]+)|(\w+));/gi, (entity, hex, number, name) => {
    if (number === undefined) return ENTITIES[name] ?? entity;
    return String.fromCodePoint(Number.parseInt(number, hex === "" ? 10 : 16));
  });
}

/** The tests of a JUnit report, without their steps: those carry the name of their test in front. */
function casesOf(report: string): Case[] {
  const found = report.matchAll(/<testcase name="([^"]*)"[^>]*>(.*?)<\/testcase>/gs);
  const cases = [...found].map(([, name = "", body = ""]) => ({ name: unescape(name), body }));
  const names = new Set(cases.map(({ name }) => name));
  return cases.filter(({ name }) => {
    const parts = name.split(" > ");
    return !parts.some((_, at) => at > 0 && names.has(parts.slice(0, at).join(" > ")));
  });
}

/** Reads a file that a run writes at its end; it is empty where the run was ended before. */
export async function readIfThere(path: string): Promise<string> {
  return await Deno.readTextFile(path).catch((error: unknown) => {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  });
}

/**
 * Counts the tests of one run of `deno test`.
 *
 * @param path Its JUnit report.
 * @param status Its exit status: a run that failed counts as failed, whatever it reported, and so does
 * one that ran no test.
 */
export async function readTestReport(path: string, status: number): Promise<Tally> {
  const report = await readIfThere(path);
  const cases = casesOf(report);
  const skipped = cases.filter(({ body }) => body.includes("<skipped"));
  const failed = cases.filter(({ body }) => /<(failure|error)\b/.test(body));
  const silent = failed.length === 0 && (status !== 0 || cases.length === 0);
  return {
    passed: cases.length - skipped.length - failed.length,
    failed: failed.length + (silent ? 1 : 0),
    skipped: skipped.map(({ name }) => name),
  };
}
