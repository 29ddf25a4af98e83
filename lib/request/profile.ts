/**
 * The three profiles, one for each of the functions that this project replaces. They differ in data only.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The name of a profile. */
export type ProfileName = "rootfs-mode" | "fixed-mode" | "manifest";

/** The names of all profiles. */
export const PROFILE_NAMES: readonly ProfileName[] = ["rootfs-mode", "fixed-mode", "manifest"];

/** The decisions of a profile. */
export interface Profile {
  /** The profile's name. */
  readonly name: ProfileName;
  /** Mode of the directories that only the pod's owner needs, unless the request has one. */
  readonly dirMode: number;
  /** Set if upper and rootfs take mode, owner and group of the lower; otherwise they get the dir mode. */
  readonly rootLikeLower: boolean;
  /** Set if `overlay/` is chmod'ed even if it was there, which drops its setgid bit. */
  readonly forceOverlayMode: boolean;
  /** Set if the image directory gets the group of the request. */
  readonly setsGroup: boolean;
  /** Set if a render without a manifest is an error. */
  readonly needsManifest: boolean;
}

/** Every profile by its name. Sources: rkt stage0 `prepareOverlay`, and its two `overlayRender`. */
export const PROFILES: Readonly<Record<ProfileName, Profile>> = {
  "rootfs-mode": {
    name: "rootfs-mode",
    dirMode: 0o750,
    rootLikeLower: true,
    forceOverlayMode: true,
    setsGroup: true,
    needsManifest: false,
  },
  "fixed-mode": {
    name: "fixed-mode",
    dirMode: 0o750,
    rootLikeLower: false,
    forceOverlayMode: true,
    setsGroup: true,
    needsManifest: false,
  },
  manifest: {
    name: "manifest",
    dirMode: 0o755,
    rootLikeLower: false,
    forceOverlayMode: false,
    setsGroup: false,
    needsManifest: true,
  },
};
