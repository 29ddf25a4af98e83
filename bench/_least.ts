/**
 * The least that a pod can cost who uses Deno and one mount process: its directories, a table of its
 * mounts, and `mount --all`. It checks nothing, notes nothing, waits for nobody and takes nothing back, so
 * that nobody should use it: `_least.ts TREE POD APPS`.
 *
 * @module
 */

if (import.meta.main) {
  const [tree = "", pod = "", count = ""] = Deno.args;
  const [overlay, apps] = [`${pod}/overlay/tree`, `${pod}/apps`];
  const parents = [`${overlay}/upper`, `${overlay}/work`, apps];
  for (const parent of parents) Deno.mkdirSync(parent, { recursive: true, mode: 0o755 });
  let table = "";
  for (let at = 0; at < Number(count); at++) {
    const [upper, work, app] = parents.map((parent) => `${parent}/app-${at}`) as [
      string,
      string,
      string,
    ];
    for (const path of [upper, work, app, `${app}/rootfs`]) Deno.mkdirSync(path, { mode: 0o755 });
    const options = `lowerdir=${tree},upperdir=${upper},workdir=${work}`;
    table += `overlay ${app}/rootfs overlay ${options} 0 0\n`;
  }
  Deno.writeTextFileSync(`${pod}/overlay.fstab`, table);
  const { code } = await new Deno.Command("/bin/mount", {
    args: ["--all", "--fstab", `${pod}/overlay.fstab`],
    clearEnv: true,
    stdin: "null",
  }).output();
  Deno.exitCode = code;
}
