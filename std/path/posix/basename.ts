import { basename as untyped } from "npm:deno-std@1.3.1/path/posix/basename.js";

export const basename: (path: string | URL, suffix?: string) => string = untyped;
