import { relative as untyped } from "npm:deno-std@1.3.1/path/posix/relative.js";

export const relative: (from: string, to: string) => string = untyped;
