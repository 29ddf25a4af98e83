/**
 * Platforms as images name them, `<os>/<architecture>` or `<os>/<architecture>/<variant>`: which of them
 * is what another one means, or runs on it.
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

/** The variants that an architecture without one has. */
const DEFAULTS: Readonly<Record<string, string>> = { amd64: "v1", arm64: "v8", arm: "v7" };

/** The parts of a platform: the variant is empty where it is the one that goes without saying. */
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
 * How well an image of a platform serves where another one is wanted: 0 if it is the same, more the older
 * its variant is, `Infinity` for a newer variant where none was asked for.
 *
 * @returns `null` when it does not serve.
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

/** Platforms whose programs others run. */
const RUNS: Readonly<Record<string, readonly string[]>> = {
  "linux/amd64": ["linux/386"],
  "linux/arm64": ["linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"],
};

/** The platforms of which a machine of this one runs the programs, the most fitting first. */
export function listRunnable(platform: string): readonly string[] {
  return [platform, ...RUNS[platform] ?? []];
}

/** This machine's platform, in the words of images. */
export function getOwnPlatform(): string {
  const { arch } = Deno.build;
  const [architecture] = ALIASES[arch] ?? [arch];
  return `linux/${architecture}`;
}
