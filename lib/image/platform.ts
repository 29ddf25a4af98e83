/**
 * Platforms of images, `<os>/<architecture>` or `<os>/<architecture>/<variant>`, and their compatibility.
 *
 * Requires no permissions.
 *
 * @module
 */

/** Other names of architectures, with the variant that they imply. */
const ALIASES: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  "x86_64": ["amd64"],
  "x86-64": ["amd64"],
  "aarch64": ["arm64"],
  "armhf": ["arm", "v7"],
  "armel": ["arm", "v6"],
  "i386": ["386"],
};

/** The default variants of architectures. */
const DEFAULTS: Readonly<Record<string, string>> = { amd64: "v1", arm64: "v8", arm: "v7" };

/** Parses a platform; the default variant of an architecture becomes empty. */
function parse(platform: string): readonly [os: string, architecture: string, variant: string] {
  const [os = "", said = "", given] = platform.toLowerCase().split("/");
  const [architecture, implied = ""] = ALIASES[said] ?? [said];
  const variant = (given ?? implied).replace(/^(\d)/, "v$1");
  return [os, architecture, variant === DEFAULTS[architecture] ? "" : variant];
}

function parseVersion(architecture: string, variant: string): number {
  const text = variant === "" ? DEFAULTS[architecture] ?? "" : variant;
  return /^v\d/.test(text) ? Number(text.slice(1)) : NaN;
}

/**
 * Measures how well an image of a platform fits another platform: 0 for the same, larger for older variants,
 * and `Infinity` for a newer variant if none was requested.
 *
 * @returns The distance; `null` if it does not fit.
 */
export function measureDistance(platform: string, wanted: string): number | null {
  const [os, architecture, variant] = parse(platform);
  const [wantedOs, wantedArchitecture, wantedVariant] = parse(wanted);
  if (os !== wantedOs || architecture !== wantedArchitecture) return null;
  if (variant === wantedVariant) return 0;
  const older = parseVersion(architecture, wantedVariant) - parseVersion(architecture, variant);
  if (older > 0) return older;
  return wanted.split("/").length === 2 ? Infinity : null;
}

/** The platforms whose programs another platform can run. */
const RUNS: Readonly<Record<string, readonly string[]>> = {
  "linux/amd64": ["linux/386"],
  "linux/arm64": ["linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"],
};

/** Lists the platforms whose programs this platform can run, the best first. */
export function listRunnable(platform: string): readonly string[] {
  return [platform, ...RUNS[platform] ?? []];
}

/** Returns the platform of this machine, as images name it. */
export function getOwnPlatform(): string {
  const { arch } = Deno.build;
  const [architecture] = ALIASES[arch] ?? [arch];
  return `linux/${architecture}`;
}
