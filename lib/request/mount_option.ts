/**
 * The further mount options of a request. Only known ones are allowed: any other option could name
 * another upper, or turn the mount into a remount.
 *
 * Requires no permissions.
 *
 * @module
 */
import { invalid } from "../core/invalid.ts";

/** The further mount options that are allowed, each with its values; `null` for a bare word. */
const OPTION_VALUES: Readonly<Record<string, readonly string[] | null>> = {
  volatile: null,
  userxattr: null,
  nodev: null,
  nosuid: null,
  noexec: null,
  index: ["on", "off"],
  metacopy: ["on", "off"],
  nfs_export: ["on", "off"],
  redirect_dir: ["on", "off", "follow", "nofollow"],
  xino: ["on", "off", "auto"],
};

/** The same as words for a help text, such as `index=on|off`. */
export const OPTION_FORMS: readonly string[] = Object.entries(OPTION_VALUES).map(
  ([name, values]) => {
    return values === null ? name : `${name}=${values.join("|")}`;
  },
);

/** The options that mount(8) applies to any mount, a bind mount included. */
export const GENERIC_OPTIONS: readonly string[] = ["nodev", "nosuid", "noexec"];

function parseOption(option: string): string {
  const [name = "", ...rest] = option.split("=");
  const value = rest.length === 0 ? null : rest.join("=");
  const allowed = Object.hasOwn(OPTION_VALUES, name) ? OPTION_VALUES[name] : undefined;
  if (allowed === undefined) {
    if (name === "ro") {
      throw invalid("option", option, "a view has a flag of its own", { hint: "--read-only" });
    }
    const names = Object.keys(OPTION_VALUES).join(", ");
    throw invalid("option", option, `it must be one of ${names}`);
  }
  if (allowed === null && value !== null) throw invalid("option", option, `it takes no value`);
  if (allowed !== null && (value === null || !allowed.includes(value))) {
    throw invalid("option", option, `write ${allowed.map((v) => `${name}=${v}`).join(" or ")}`);
  }
  return option;
}

/**
 * Parses further mount options; each element may hold several, with commas between them.
 *
 * @throws {InvalidValueError} If one is not in the list of allowed options, lacks its value, or is
 * given twice.
 */
export function parseOptions(values: readonly string[]): readonly string[] {
  const options = values.flatMap((value) => value.split(",")).map(parseOption);
  const names = options.map((option) => option.split("=")[0]);
  const twice = options.find((_, i) => names.indexOf(names[i]) !== i);
  if (twice !== undefined) throw invalid("option", twice, "it is given twice");
  return options;
}

/** Tells whether options hold `userxattr`. */
export function hasUserxattr(options: readonly string[] = []): boolean {
  return options.some((option) => option.split(",").includes("userxattr"));
}

/**
 * Adds `userxattr` to the options of a request, unless it has it. A copy has no marks, nor has a view of one lower,
 * which is no overlay.
 */
export function withUserxattr<
  T extends {
    readonly options?: readonly string[];
    readonly overlay?: string;
    readonly readOnly?: boolean;
  },
>(request: T, lowers: number): T {
  const { options = [], overlay, readOnly } = request;
  const isOverlay = overlay !== "never" && (readOnly !== true || lowers > 1);
  if (!isOverlay || hasUserxattr(options)) return request;
  return { ...request, options: [...options, "userxattr"] };
}
