import { copy as untyped } from "npm:deno-std@1.3.1/fs/copy.js";

export interface CopyOptions {
  overwrite?: boolean;
  preserveTimestamps?: boolean;
}

export const copy: (
  src: string | URL,
  dest: string | URL,
  options?: CopyOptions,
) => Promise<void> = untyped;
