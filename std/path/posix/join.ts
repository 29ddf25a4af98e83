import { join as untyped } from "npm:deno-std@1.3.1/path/posix/join.js";

export const join: (path: string | URL, ...paths: string[]) => string = untyped;
