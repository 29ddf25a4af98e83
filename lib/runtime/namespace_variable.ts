/**
 * The variable by which a command knows a namespace that another one made.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The variable for what runs in a namespace of the command: `<user>:<process that made it>`. */
export const NAMESPACE_VARIABLE = "OVERLAY_RENDER_NAMESPACE";
