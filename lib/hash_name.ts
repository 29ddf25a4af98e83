/**
 * A short name for a long one.
 *
 * Requires no permissions.
 *
 * @module
 */

/** Eight digits that tell names apart (FNV-1a). Not for what somebody could choose to be alike. */
export function hashOf(text: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, "0");
}
