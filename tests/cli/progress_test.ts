import { assertEquals } from "@std/assert";
import { progressLine, progressTo } from "../../lib/cli/progress.ts";
import type { Blob } from "../../lib/image/blob.ts";
import type { Unpacked } from "../../lib/layer/unpack.ts";

const BLOB: Blob = {
  name: `sha256:${"0123456789abcdef".repeat(4)}`,
  path: "/image",
  offset: 0,
  size: 4 << 20,
  digest: null,
  diffId: null,
};

const UNPACKED: Unpacked = {
  diffId: "",
  archive: { size: 0, digest: "" },
  implicit: [],
  whiteouts: [],
  emptied: [],
  unset: 0,
  summary: {
    entries: 12,
    bytes: 10 << 20,
    devices: { kept: 0, left: 0 },
    setuid: { kept: 0, left: 0 },
    opaque: 0,
    opaqueRoot: false,
    hasRoot: true,
    implicit: 0,
  },
};

Deno.test("progressLine() tells bytes, rate and the time that is left", {
  permissions: "none",
}, () => {
  const table: readonly [read: number, ms: number, text: string][] = [
    [0, 0, "0 bytes of 4 MiB, 0 bytes/s"],
    [1 << 20, 1000, "1 MiB of 4 MiB, 1 MiB/s, 3 s left"],
    [2 << 20, 500, "2 MiB of 4 MiB, 4 MiB/s, 1 s left"],
    [4 << 20, 2000, "4 MiB of 4 MiB, 2 MiB/s, 0 s left"],
  ];
  for (const [read, ms, text] of table) {
    assertEquals(progressLine(1, BLOB, { read, ms }), `layer 2 sha256:0123456789ab: ${text}`);
  }
});

Deno.test("progressLine() says nothing of an end that it does not know, or of a name's bytes", {
  permissions: "none",
}, () => {
  const blob = { ...BLOB, name: "a\n\x1b[2J", size: 0 };
  const line = progressLine(0, blob, { read: 1 << 20, ms: 1000 });
  assertEquals(line, 'layer 1 "a\\n\\u001b[2J": 1 MiB, 1 MiB/s');
});

interface Screen {
  readonly text: () => string;
  readonly wait: (ms: number) => void;
}

function tell(isTerminal: boolean): Screen & ReturnType<typeof progressTo> {
  let [text, now] = ["", 1000];
  const output = { write: (more: string) => void (text += more), isTerminal, now: () => now };
  return { ...progressTo(output), text: () => text, wait: (ms) => void (now += ms) };
}

const NAME = "sha256:0123456789ab";

Deno.test("progressTo() writes a line of each layer where it cannot be written again", {
  permissions: "none",
}, () => {
  const { onHave, onRead, onUnpacked, text, wait } = tell(false);
  onHave?.(0, BLOB);
  onRead?.(1, 1 << 20, BLOB);
  wait(1000);
  onRead?.(1, 3 << 20, BLOB);
  onUnpacked?.(1, BLOB, UNPACKED);
  assertEquals(
    text(),
    `layer 1 ${NAME}: is there already\nlayer 2 ${NAME}: 12 entries, 10 MiB\n`,
  );
});

Deno.test("progressTo() writes a line every ten seconds where it cannot be written again", {
  permissions: "none",
}, () => {
  const { onRead, text, wait } = tell(false);
  onRead?.(0, 1 << 20, BLOB);
  wait(9_999);
  onRead?.(0, 1 << 19, BLOB);
  assertEquals(text(), "");
  wait(1);
  onRead?.(0, 1 << 19, BLOB);
  wait(5_000);
  onRead?.(0, 1 << 19, BLOB);
  assertEquals(text(), `layer 1 ${NAME}: 2 MiB of 4 MiB, 205 KiB/s, 10 s left\n`);
});

Deno.test("progressTo() keeps one line of a terminal up to date, ten times a second", {
  permissions: "none",
}, () => {
  const { onRead, onUnpacked, text, wait } = tell(true);
  onRead?.(0, 1 << 20, BLOB);
  wait(50);
  onRead?.(0, 1 << 19, BLOB);
  wait(950);
  onRead?.(0, 1 << 19, BLOB);
  onUnpacked?.(0, BLOB, UNPACKED);
  assertEquals(
    text(),
    [
      `layer 1 ${NAME}: 1 MiB of 4 MiB, 0 bytes/s`,
      `\r\x1b[Klayer 1 ${NAME}: 2 MiB of 4 MiB, 2 MiB/s, 1 s left`,
      `\r\x1b[Klayer 1 ${NAME}: 12 entries, 10 MiB\n`,
    ].join(""),
  );
});

Deno.test("progressTo() leaves no line open where an error is told next", {
  permissions: "none",
}, () => {
  const terminal = tell(true);
  terminal.end();
  assertEquals(terminal.text(), "");
  terminal.onRead?.(0, 1 << 20, BLOB);
  terminal.end();
  terminal.end();
  assertEquals(terminal.text(), `layer 1 ${NAME}: 1 MiB of 4 MiB, 0 bytes/s\r\x1b[K`);
  const file = tell(false);
  file.onRead?.(0, 1 << 20, BLOB);
  file.end();
  assertEquals(file.text(), "");
});

Deno.test("progressTo() keeps the layers apart", { permissions: "none" }, () => {
  const { onRead, text, wait } = tell(true);
  onRead?.(0, 1 << 20, BLOB);
  wait(1000);
  onRead?.(1, 1 << 21, BLOB);
  wait(1000);
  onRead?.(0, 1 << 20, BLOB);
  const last = text().split("\r\x1b[K").at(-1);
  assertEquals(last, `layer 1 ${NAME}: 2 MiB of 4 MiB, 1 MiB/s, 2 s left`);
});
