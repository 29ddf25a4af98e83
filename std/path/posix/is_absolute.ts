import { isAbsolute as untyped } from "npm:deno-std@1.3.1/path/posix/is_absolute.js";

export const isAbsolute: (path: string) => boolean = untyped;
