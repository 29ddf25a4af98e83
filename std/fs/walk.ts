import { walk as untyped } from "npm:deno-std@1.3.1/fs/walk.js";

export interface WalkOptions {
  maxDepth?: number;
  includeFiles?: boolean;
  includeDirs?: boolean;
  includeSymlinks?: boolean;
  followSymlinks?: boolean;
  canonicalize?: boolean;
  exts?: string[];
  match?: RegExp[];
  skip?: RegExp[];
}

export interface WalkEntry extends Deno.DirEntry {
  path: string;
}

export const walk: (
  root: string | URL,
  options?: WalkOptions,
) => AsyncIterableIterator<WalkEntry> = untyped;
