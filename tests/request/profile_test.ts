import { assertEquals } from "@std/assert";
import { PROFILES } from "../../lib/request/profile.ts";

Deno.test(
  "PROFILES are the three of the design, by their own names",
  { permissions: "none" },
  () => {
    const rows = Object.entries(PROFILES).map(([key, profile]) => {
      assertEquals<string>(profile.name, key);
      const { dirMode, rootLikeLower, forceOverlayMode, setsGroup, needsManifest } = profile;
      return [key, dirMode, rootLikeLower, forceOverlayMode, setsGroup, needsManifest];
    });
    assertEquals(rows, [
      ["rootfs-mode", 0o750, true, true, true, false],
      ["fixed-mode", 0o750, false, true, true, false],
      ["manifest", 0o755, false, false, false, true],
    ]);
  },
);
