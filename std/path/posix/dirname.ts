import { dirname as untyped } from "npm:deno-std@1.3.1/path/posix/dirname.js";

export const dirname: (path: string | URL) => string = untyped;
