import { normalize as untyped } from "npm:deno-std@1.3.1/path/posix/normalize.js";

export const normalize: (path: string | URL) => string = untyped;
