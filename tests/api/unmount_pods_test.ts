/**
 * Unmounting some apps of a pod, unmounting lazily, and waiting for who else works on the pod.
 *
 * @module
 */
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import {
  OverlayError,
  overlayStatus,
  RefusedError,
  renderOverlay,
  renderPod,
  UnmountError,
  unmountOverlay,
} from "../../mod.ts";
import { holdLock } from "../_lock_holder.ts";
import { assertFails, disk, runMain } from "../_main.ts";
import { counter, idlePod, makePlace, mountedPod, nestedPod, occupy } from "../_pods.ts";
import type { Place } from "../_pods.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import { isMissing, MARKS } from "../_tree.ts";

interface Four {
  readonly pod: string;
  /** The rootfs of each app, `a` to `d`. */
  readonly rootfs: readonly [string, string, string, string];
}

/** A pod with four apps, all mounted; each has written a file. */
async function podOfFour({ pods, lower }: Place): Promise<Four> {
  const pod = `${pods}/one`;
  const apps = ["a", "b", "c", "d"].map((app) => ({ app, lower, options: MARKS }));
  const { renders } = await renderPod({ pod, apps });
  for (const { app, rootfs } of renders) await Deno.writeTextFile(`${rootfs}/made`, app);
  const [a = "", b = "", c = "", d = ""] = renders.map(({ rootfs }) => rootfs);
  return { pod, rootfs: [a, b, c, d] };
}

async function mountedApps(pod: string): Promise<string> {
  const apps = (await overlayStatus(pod)).filter(({ mounted }) => mounted);
  return apps.map(({ app }) => app).join(" ");
}

/** The apps that `mount --all` would mount. */
async function automaticApps(pod: string): Promise<string> {
  const lines = (await Deno.readTextFile(`${pod}/overlay.fstab`)).split("\n");
  const automatic = lines.filter((line) => line.startsWith("overlay ") && !/,noauto,/.test(line));
  return automatic.map((line) => /X-overlay-render\.app=([^,]*)/.exec(line)?.[1] ?? "?").join(" ");
}

Deno.test("unmountOverlay() unmounts some apps in one process, and no other", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs: [a, b, c, d] } = await podOfFour(place);
  const { trace, count } = counter();
  const { unmounted } = await unmountOverlay({ pod, app: ["b", "a", "b"] }, { trace });
  assertEquals(unmounted.map(({ app }) => app).sort(), ["a", "b"]);
  assertEquals(count("umount"), 1);
  assertEquals(await mountsBelow(dir.path), [c, d]);
  assertEquals([await mountedApps(pod), await automaticApps(pod)], ["c d", "c d"]);
  assertEquals([await isMissing(`${a}/file`), await isMissing(`${b}/file`)], [true, true]);
  assertEquals(await Deno.readTextFile(`${pod}/overlay/image/upper/b/made`), "b");
  assertEquals(await unmountOverlay({ pod, app: ["a", "b"] }), { pod, unmounted: [] });
});

Deno.test("unmountOverlay() of no apps unmounts none", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await podOfFour(place);
  assertEquals(await unmountOverlay({ pod, app: [] }), { pod, unmounted: [] });
  assertEquals(await mountsBelow(dir.path), [...rootfs]);
});

Deno.test("unmountOverlay() unmounts an image after the apps in it, in whatever order they are named", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const app of [["", "web", "db"], ["db", "", "web"]]) {
    const { pod } = await nestedPod(place, "one");
    const { unmounted } = await unmountOverlay({ pod, app });
    assertEquals(unmounted.map((one) => one.app).sort(), ["", "db", "web"]);
    assertEquals(unmounted.at(-1)?.app, "");
    assertEquals(await mountsBelow(dir.path), []);
  }
});

Deno.test("unmountOverlay() of apps of which one is not there unmounts none", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await podOfFour(place);
  const before = await disk(dir.path);
  const error = await assertRejects(
    () => unmountOverlay({ pod, app: ["a", "none", "b"] }),
    OverlayError,
  );
  assertEquals([error.code, error.path], ["missing", pod]);
  assertStringIncludes(error.message, 'app "none"');
  assertMatch(error.hint ?? "", /"a".*"b".*"c".*"d"/);
  assertEquals(await mountsBelow(dir.path), [...rootfs]);
  assertEquals(await disk(dir.path), before);
});

Deno.test("unmountOverlay() of apps of which one is in use unmounts the others, and names that one", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs: [a, b, c, d] } = await podOfFour(place);
  await using process = await occupy(b);
  const error = await assertRejects(
    () => unmountOverlay({ pod, app: ["a", "b", "c"] }),
    UnmountError,
  );
  assertEquals([error.code, error.path, error.exitStatus], ["busy", b, 1]);
  assertStringIncludes(error.message, `"${b}"`);
  assertEquals([a, c, d].filter((path) => error.message.includes(path)), []);
  assertEquals(error.unmounted.map(({ app }) => app).sort(), ["a", "c"]);
  assertEquals(await mountsBelow(dir.path), [b, d]);
  assertEquals([await mountedApps(pod), await automaticApps(pod)], ["b d", "b d"]);
  await process.end();
  const { unmounted } = await unmountOverlay({ pod, app: ["a", "b", "c"] });
  assertEquals(unmounted, [{ app: "b", rootfs: b }]);
});

Deno.test("unmountOverlay() names all apps that are in use", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs: [a, b, c, d] } = await podOfFour(place);
  await using _one = await occupy(a);
  await using _two = await occupy(c);
  const error = await assertRejects(() => unmountOverlay({ pod }), UnmountError);
  assertEquals([a, b, c, d].filter((path) => error.message.includes(`"${path}"`)), [a, c]);
  assertEquals(await mountsBelow(dir.path), [a, c]);
});

Deno.test("overlay-render unmount takes several apps, and prints what it unmounted though one is in use", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs: [a, b, c, d] } = await podOfFour(place);
  await using process = await occupy(b);
  const text = await runMain(["unmount", `--pod=${pod}`, "--app=a", "--app", "b"]);
  assertEquals([text.status, text.stdout], [1, `${a}\n`]);
  assertMatch(text.stderr, /^error: Cannot unmount ".*\/b\/rootfs": .*busy.*\nhint: .+\n$/);

  const json = await runMain(["unmount", "--json", `--pod=${pod}`, "--app=b", "--app=c"]);
  const { version, error, unmounted } = JSON.parse(json.stdout);
  assertEquals([json.status, version, error.code, error.path], [1, 1, "busy", b]);
  assertEquals(unmounted, [{ app: "c", rootfs: c }]);

  await process.end();
  const rest = await runMain(["unmount", "--json", `--pod=${pod}`, "--app=b", "--app=d"]);
  assertEquals([rest.status, rest.stderr], [0, ""]);
  assertEquals(JSON.parse(rest.stdout).unmounted.length, 2);
  assertEquals([await mountsBelow(dir.path), await isMissing(`${d}/file`)], [[], true]);
});

Deno.test("unmountOverlay() takes away what is in use when told to unmount lazily, and says so in its line", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs: [a, b, c, d] } = await podOfFour(place);
  await using process = await occupy(b);
  const { trace, lines } = counter();
  const { unmounted } = await unmountOverlay({ pod, app: ["a", "b"], lazy: true }, { trace });
  assertEquals(unmounted.map(({ app }) => app).sort(), ["a", "b"]);
  assertEquals(lines.filter((line) => line.includes("umount --lazy -- ")).length, 1);
  assertEquals(await mountsBelow(dir.path), [c, d]);
  assertEquals([await mountedApps(pod), await automaticApps(pod)], ["c d", "c d"]);
  const fstab = await Deno.readTextFile(`${pod}/overlay.fstab`);
  const marked = fstab.split("\n").filter((line) => line.includes("X-overlay-render.lazy"));
  assertEquals(marked.map((line) => /\.app=(\w)/.exec(line)?.[1]), ["a", "b"]);

  // Only what may be in use still can not be rendered.
  const request = { lower: place.lower, pod, options: MARKS };
  const error = await assertRejects(() => renderOverlay({ ...request, app: "b" }), RefusedError);
  assertEquals([error.code, error.path], ["busy", b]);
  assertEquals((await renderOverlay({ ...request, app: "a" })).mounted, true);
  assertEquals(await mountsBelow(dir.path), [c, d, a]);
  await process.end();
  await renderOverlay({ ...request, app: "b" });
  assertEquals(await Deno.readTextFile(`${b}/made`), "b");
  // And with that it is forgotten.
  const after = await Deno.readTextFile(`${pod}/overlay.fstab`);
  assertEquals(after.includes("X-overlay-render.lazy"), false);
});

Deno.test("unmountOverlay() marks what it unmounted lazily, though it was mounted by hand", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await idlePod(place, "one");
  await sh("mount", "--fstab", `${pod}/overlay.fstab`, "--", rootfs);
  await using _process = await occupy(rootfs);
  await unmountOverlay({ pod, lazy: true });
  const request = { lower: place.lower, pod, app: "web", options: MARKS };
  const error = await assertRejects(() => renderOverlay(request), RefusedError);
  assertEquals([error.code, error.path], ["busy", rootfs]);
});

Deno.test("overlay-render unmount --lazy keeps what was written by who uses the app still", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs, upper } = await mountedPod(place, "one", { ephemeral: false });
  await using writer = new Deno.Command("sh", {
    args: ["-c", "echo ready && read line && echo late > late && echo done && read line"],
    cwd: rootfs,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const [input, output] = [writer.stdin.getWriter(), writer.stdout.getReader()];
  await output.read();
  const busy = await runMain(["unmount", `--pod=${pod}`]);
  assertEquals([busy.status, await mountsBelow(dir.path)], [1, [rootfs]]);
  const lazy = await runMain(["unmount", `--pod=${pod}`, "--lazy"]);
  assertEquals(lazy, { status: 0, stdout: `${rootfs}\n`, stderr: "" });
  assertEquals(await mountsBelow(dir.path), []);
  await input.write(new TextEncoder().encode("\n"));
  await output.read();
  assertEquals(await Deno.readTextFile(`${upper}/late`), "late\n");
  await input.close();
  await output.cancel();
  await writer.status;
});

Deno.test("unmountOverlay() does not clear the mark of a volatile app that it unmounted lazily", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs, upper } = await mountedPod(place, "one", { options: ["volatile"] });
  const mark = `${upper.replace("/upper/", "/work/")}/work/incompat`;
  {
    await using _process = await occupy(rootfs);
    await unmountOverlay({ pod, lazy: true });
    // Whether what was written is complete, nobody knows yet.
    assertEquals(await isMissing(mark), false);
  }
  const request = { lower: place.lower, pod, app: "web", options: [...MARKS, "volatile"] };
  const error = await assertRejects(() => renderOverlay(request), RefusedError);
  assertEquals([error.code, error.path], ["volatile", mark]);
  await sh("rm", "-r", "--", mark);
  await renderOverlay(request);
});

Deno.test("unmountOverlay() does not take apps away with their image when told to unmount that one lazily", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await nestedPod(place, "one");
  const before = await disk(dir.path);
  const error = await assertRejects(
    () => unmountOverlay({ pod, app: "", lazy: true }),
    OverlayError,
  );
  assertEquals([error.code, error.path], ["busy", rootfs[0]]);
  assertStringIncludes(error.hint ?? "", `${rootfs[1]}`);
  assertEquals(await disk(dir.path), before);
  const { unmounted } = await unmountOverlay({ pod, lazy: true });
  assertEquals(unmounted.map(({ app }) => app), ["db", "web", ""]);
  assertEquals([await mountsBelow(dir.path), await automaticApps(pod)], [[], ""]);
});

/** What waits for who else works on a pod. */
const WAITING: readonly (readonly string[])[] = [["unmount"], ["restore"], ["gc"]];

Deno.test("overlay-render waits as long as it is told to for who else works on a pod, and names the process", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await mountedPod(place, "one");
  await using holder = await holdLock(`${pod}/overlay.lock`);
  const lower = ["--lower", place.lower, "--app", "other"];
  const refused = {
    status: 3,
    code: "locked",
    path: `${pod}/overlay.lock`,
    cause: `process ${holder.pid} holds it`,
  };
  for (const args of [["unmount"], ["render", ...lower], ["prepare", ...lower], ["gc"]]) {
    const start = performance.now();
    await assertFails(dir.path, [...args, `--pod=${pod}`, "--wait=200ms"], refused);
    const took = performance.now() - start;
    // Once in words and once as JSON; who is told nothing waits for ten seconds each time.
    assertEquals([args[0], took >= 400, took < 20_000], [args[0], true, true]);
  }
  await assertFails(dir.path, ["unmount", `--pod=${pod}`, "--wait=0"], refused);
});

Deno.test("overlay-render goes on as soon as who else worked on a pod was killed", async () => {
  for (const args of WAITING) {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const { pod } = await mountedPod(place, "one");
    await using holder = await holdLock(`${pod}/overlay.lock`);
    const running = runMain([...args, `--pod=${pod}`, "--wait=5m"]);
    const start = performance.now();
    await holder.kill();
    const { status, stderr } = await running;
    assertEquals([status, stderr], [0, ""], args.join(" "));
    assertEquals(performance.now() - start < 60_000, true);
  }
});

Deno.test("overlay-render refuses a time to wait that is none", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await mountedPod(place, "one");
  for (const time of ["soon", "10", "-1s", "1 s", "1h30m"]) {
    const args = ["unmount", `--pod=${pod}`, `--wait=${time}`];
    await assertFails(dir.path, args, { status: 2, code: "invalid-value", cause: time });
  }
});
