import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { formatAppLine } from "../../lib/overlay/app_line.ts";
import type { AppLine } from "../../lib/overlay/app_line.ts";
import { appLines, formatFstab, parseFstab, withLines } from "../../lib/overlay/fstab.ts";
import { RefusedError } from "../../mod.ts";
import { nastyAppName, nastyPath, random } from "../_random.ts";

function line(app: string, lower = "/l"): AppLine {
  return {
    app,
    tree: "t",
    rootfs: `/pod/${app}/rootfs`,
    source: "overlay",
    options: `lowerdir=${lower},upperdir=/u,workdir=/w`,
    auto: true,
  };
}

const FSTAB = "/pods/one/overlay.fstab";

/** Lines that are somebody else's, however odd. */
const FOREIGN = [
  "",
  "   ",
  "\t",
  "# a comment",
  "#",
  "  # an indented comment  ",
  "UUID=1234\t/\text4\tdefaults  0   1",
  "tmpfs /tmp tmpfs size=1G 0 0 ",
  "proc /proc proc defaults 0 0\r",
  "/dev/sda2 none swap sw",
  "/a\\040b /ä none bind 0 0",
];

Deno.test("formatFstab() keeps comments and lines of others byte for byte", {
  permissions: "none",
}, () => {
  const text = `${FOREIGN.join("\n")}\n${formatAppLine(line("web"))}\n${FOREIGN.join("\n")}\n`;
  assertEquals(formatFstab(parseFstab(text, FSTAB)), text);
  assertEquals(appLines(parseFstab(text, FSTAB)), [line("web")]);
});

Deno.test("formatFstab() reverses parseFstab() of any mixture of lines", {
  permissions: "none",
}, () => {
  const source = random(7);
  for (let i = 0; i < 500; i++) {
    const lines = Array.from({ length: source.int(8) }, () => {
      if (source.int(2) === 0) return source.pick(FOREIGN);
      return formatAppLine({ ...line(nastyAppName(source)), rootfs: nastyPath(source) });
    });
    const text = lines.map((line) => `${line}\n`).join("");
    assertEquals(formatFstab(parseFstab(text, FSTAB)), text);
  }
});

Deno.test("parseFstab() reads an empty file", { permissions: "none" }, () => {
  assertEquals(parseFstab("", FSTAB), []);
  assertEquals(parseFstab("\n", FSTAB), [""]);
});

/** The text of a pod with two apps, a comment, and a line of somebody else. */
const TEXT = formatFstab(withLines([], [
  line("web"),
  { ...line("far"), options: "bind,ro", source: "/l" },
  { ...line("copy"), options: "", source: "/l", auto: false, copy: true },
  { ...line("db"), lowers: "/store/l", lazy: true },
])) + "tmpfs /tmp tmpfs size=1G 0 0\n";

function refusedLine(text: string): number {
  const error = assertThrows(() => parseFstab(text, FSTAB), RefusedError);
  assertEquals([error.code, error.exitStatus, error.path], ["bad-record", 3, FSTAB]);
  assertStringIncludes(error.hint ?? "", "overlay-render unmount --foreign --pod /pods/one");
  const [, number] =
    /^Cannot read "\/pods\/one\/overlay\.fstab": line (\d+) /.exec(error.message) ?? [];
  return Number(number);
}

Deno.test("parseFstab() refuses a file that was cut off anywhere but at the end of a line", {
  permissions: "none",
}, () => {
  for (let at = 1; at < TEXT.length; at++) {
    const text = TEXT.slice(0, at);
    if (text.endsWith("\n")) parseFstab(text, FSTAB);
    else assertEquals(refusedLine(text), text.split("\n").length);
  }
});

Deno.test("parseFstab() refuses what was written after a line that was cut off", {
  permissions: "none",
}, () => {
  const whole = `${formatAppLine(line("new"))}\n`;
  const first = formatAppLine(line("web"));
  for (let at = 1; at < first.length; at++) {
    // What mount(8) would read of the two is neither.
    if (first.slice(0, at).trimEnd() !== "") {
      assertEquals(refusedLine(first.slice(0, at) + whole), 1);
    }
  }
});

Deno.test("parseFstab() refuses a line of an app that lost its end or any of its own options", {
  permissions: "none",
}, () => {
  const first = formatAppLine(line("web"));
  for (let at = 1; at < first.length; at++) {
    const text = first.slice(0, at);
    assertEquals(refusedLine(`# a\n${text}\n`), 2);
  }
});

/** Lines that are neither ours nor those of another file system. */
const GARBLED: readonly string[] = [
  "not an fstab line at all",
  "overlay /r overlay lowerdir=/a,upperdir=/u,workdir=/w 0 0",
  "X-overlay-render.app=web X-overlay-render.tree=t",
  "\u00a0\ufeff",
  "\u0000",
  `# ${"\u0000".repeat(4096)}`,
  "tmpfs tmp tmpfs size=1G 0 0",
  "tmpfs /tmp tmpfs size=1G 0 zero",
  "/l /r none bind,ro,X-overlay-render.app=web 0 0",
  "tmpfs /tmp tmpfs X-overlay-render.unknown=1 0 0",
  formatAppLine(line("web")).replace("=web", "=%2e%2e"),
  formatAppLine(line("web")).replace("tree=t", "tree="),
  formatAppLine(line("web")).replace("/pod/web", "pod/web"),
  formatAppLine(line("web")).replace("/pod/web", "/pod/../web"),
  formatAppLine(line("web")).replace("workdir", "werkdir"),
  formatAppLine(line("web")).replace("lowerdir", "lawerdir"),
  formatAppLine(line("web")).replace(" overlay ", " tmpfs "),
  formatAppLine({ ...line("web"), options: "bind,ro", source: "/l" }).replace(",ro", ""),
];

for (const text of GARBLED) {
  Deno.test(
    `parseFstab() refuses ${JSON.stringify(text.slice(0, 60))}`,
    { permissions: "none" },
    () => {
      assertEquals(refusedLine(`${text}\n`), 1);
      assertEquals(refusedLine(`${TEXT}${text}\n${TEXT}`), TEXT.split("\n").length);
    },
  );
}

Deno.test("withLines() starts a new file with a comment that says what it is", {
  permissions: "none",
}, () => {
  const entries = withLines([], [line("web")]);
  assertEquals(appLines(entries), [line("web")]);
  const comments = formatFstab(entries).split("\n").slice(0, -2);
  assert(comments.length > 0 && comments.every((comment) => comment.startsWith("# ")));
});

Deno.test(
  "withLines() replaces the line of the same app where it stands, and adds others at the end",
  {
    permissions: "none",
  },
  () => {
    const entries = ["# a", line("web"), "", line("db")];
    const changed = line("web", "/other");
    assertEquals(withLines(entries, [changed]), ["# a", changed, "", line("db")]);
    assertEquals(withLines(entries, [line("")]), [...entries, line("")]);
    assertEquals(withLines(["# a"], [line("web")]), ["# a", line("web")]);
    assertEquals(entries, ["# a", line("web"), "", line("db")]);
  },
);

Deno.test("withLines() puts many lines in at once, and drops further lines of the same app", {
  permissions: "none",
}, () => {
  const entries = [line("a"), "# b", line("b"), line("a", "/twice"), line("c")];
  const [a, c, d] = [line("a", "/new"), line("c", "/new"), line("d")];
  assertEquals(withLines(entries, [d, c, a]), [a, "# b", line("b"), c, d]);
});
