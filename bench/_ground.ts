/**
 * A place on the disk that nothing was removed from lately.
 *
 * @module
 */
import { run } from "../tools/run.ts";

/**
 * Makes a directory in another part of the disk. ext4 gives no inode to a new file for some minutes after it
 * was freed, and looks at each of them again and again to find one it may give (kernel, `fs/ext4/ialloc.c`,
 * `recently_deleted`): what is made beside what a bench has removed takes twice as long. A directory in one
 * that is marked as the top of hierarchies (chattr(1), `T`) lies where its name leads by chance.
 *
 * @param scratch A directory that is there.
 * @returns The directory in it.
 */
export async function freshGround(scratch: string): Promise<string> {
  // Other file systems have no such mark, and do not need it.
  await run(["chattr", "+T", scratch]);
  const ground = `${scratch}/${crypto.randomUUID()}`;
  await Deno.mkdir(ground);
  return ground;
}
