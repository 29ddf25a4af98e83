import { exists as untyped } from "npm:deno-std@1.3.1/fs/exists.js";

export interface ExistsOptions {
  isReadable?: boolean;
  isDirectory?: boolean;
  isFile?: boolean;
}

export const exists: (path: string | URL, options?: ExistsOptions) => Promise<boolean> = untyped;
