/**
 * Tests whether device nodes can be made.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import type { ProgramOptions } from "../system/run.ts";
import { PLAIN_DIRECTORY } from "../tar/tar_entry.ts";
import type { TarEntry } from "../tar/tar_entry.ts";
import { unpackEntries } from "./gnu_tar.ts";

/** The null device, which is harmless on every machine. */
const NULL_DEVICE: TarEntry = {
  ...PLAIN_DIRECTORY,
  name: "./null",
  type: "char",
  mode: 0,
  device: [1, 3],
};

/** The message of tar if device nodes cannot be made; on a full disk it is another one. */
const NO_DEVICES = /Cannot mknod: (Operation not (permitted|supported)|Invalid argument)/;

/**
 * Tries to make a device node in a directory. User namespaces and some file systems do not allow it.
 *
 * Requires `--allow-run` permission for tar.
 *
 * @returns `false` if that is not allowed. A node that was made stays for the caller to remove.
 * @throws {OverlayError} If it fails for another reason.
 */
export async function canMakeDevices(
  directory: string,
  options: ProgramOptions,
): Promise<boolean> {
  try {
    await unpackEntries(directory, [NULL_DEVICE], options);
    return true;
  } catch (error) {
    if (error instanceof OverlayError && NO_DEVICES.test(error.message)) return false;
    throw error;
  }
}
