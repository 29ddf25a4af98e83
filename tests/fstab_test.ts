import { assert, assertEquals } from "@std/assert";
import { formatAppLine } from "../lib/app_line.ts";
import type { AppLine } from "../lib/app_line.ts";
import { appLines, formatFstab, parseFstab, withLines } from "../lib/fstab.ts";
import { nastyName, nastyPath, random } from "./_random.ts";

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
  "overlay /r overlay lowerdir=/a,upperdir=/u,workdir=/w 0 0",
  "proc /proc proc defaults 0 0\r",
  "not an fstab line at all",
  "X-overlay-render.app=web X-overlay-render.tree=t",
  "/a\\040b /ä none bind 0 0",
  "\u00a0\ufeff",
];

Deno.test("formatFstab() keeps comments and lines of others byte for byte", {
  permissions: "none",
}, () => {
  const text = `${FOREIGN.join("\n")}\n${formatAppLine(line("web"))}\n${FOREIGN.join("\n")}\n`;
  assertEquals(formatFstab(parseFstab(text)), text);
  assertEquals(appLines(parseFstab(text)), [line("web")]);
});

Deno.test("formatFstab() reverses parseFstab() of any mixture of lines", {
  permissions: "none",
}, () => {
  const source = random(7);
  for (let i = 0; i < 500; i++) {
    const lines = Array.from({ length: source.int(8) }, () => {
      if (source.int(2) === 0) return source.pick(FOREIGN);
      return formatAppLine({ ...line(nastyName(source)), rootfs: nastyPath(source) });
    });
    const text = lines.map((line) => `${line}\n`).join("");
    assertEquals(formatFstab(parseFstab(text)), text);
  }
});

Deno.test("parseFstab() reads an empty file and one whose last line has no end", {
  permissions: "none",
}, () => {
  assertEquals(parseFstab(""), []);
  assertEquals(parseFstab("\n"), [""]);
  assertEquals(formatFstab(parseFstab("# a")), "# a\n");
  assertEquals(parseFstab(formatAppLine(line("web"))), [line("web")]);
});

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
