import { assert, assertEquals, assertThrows } from "@std/assert";
import { COMMANDS } from "../../lib/cli/command_names.ts";
import { parseCommand } from "../../lib/cli/command.ts";
import { InvalidValueError } from "../../lib/core/errors.ts";
import { helpText } from "../../lib/cli/help.ts";
import { parseTreeCommand } from "../../lib/cli/tree_command.ts";
import { parseRun } from "../../lib/cli/run_command.ts";
import type { TreeAction } from "../../lib/cli/command_names.ts";

/** Parses the command line of a command whose flags this module must know. */
function parse([command = "", ...args]: string[]): unknown {
  return command === "run" ? parseRun(args, "/") : parseCommand([command, ...args], "/");
}

/** The long flags that the parser of a command takes, as it says itself when it refuses one. */
function flagsOf(command: string): string[] {
  const { hint } = assertThrows(() => parse([command, "--no-such-flag"]), InvalidValueError);
  return [...(hint ?? "").matchAll(/--[\w-]+/g)].map(([flag]) => flag).sort();
}

/** The flags that the list of a help text has. */
function listedFlags(text: string): string[] {
  const [, list = ""] = text.split("\nFlags:\n");
  const lines = list.slice(0, list.indexOf("\n\n")).matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm);
  return [...lines].map(([, flag]) => flag ?? "").sort();
}

for (const topic of [null, ...COMMANDS]) {
  Deno.test(`helpText() of ${topic ?? "everything"} fits 80 columns of plain text`, {
    permissions: "none",
  }, () => {
    const text = helpText(topic);
    for (const line of text.split("\n")) assert(line.length <= 80, line);
    assert(!/[^\n -~]/.test(text));
    assert(!/[ ]$/m.test(text));
    assert(text.endsWith("\n") && !text.endsWith("\n\n"));
  });

  Deno.test(`helpText() of ${topic ?? "everything"} has examples first and every exit status`, {
    permissions: "none",
  }, () => {
    const text = helpText(topic);
    const heads = [...text.matchAll(/^([A-Z][a-z ]+):/gm)].map(([, head]) => head);
    assertEquals(heads.slice(0, 2), ["Usage", "Examples"]);
    assertEquals(heads.at(-1), "Exit status");
    for (const status of ["0 done", "1 ", "2 ", "3 ", "4 ", "130, 143 "]) {
      assert(text.includes(status));
    }
  });
}

/** What can be done with the tree store, as the parser says itself. */
function treeActions(): string[] {
  const { hint } = assertThrows(() => parseCommand(["tree"], "/"), InvalidValueError);
  const [, list = ""] = /one of ([^;]+);/.exec(hint ?? "") ?? [];
  return list.split(", ");
}

Deno.test("helpText() of tree lists exactly what its parsers take", { permissions: "none" }, () => {
  const flags = new Set(
    treeActions().flatMap((action) => {
      const parse = () => parseTreeCommand(action as TreeAction, ["--no-such-flag"], "/");
      const { hint } = assertThrows(parse, InvalidValueError);
      return [...(hint ?? "").matchAll(/--[\w-]+/g)].map(([flag]) => flag);
    }),
  );
  const text = helpText("tree");
  assert(flags.has("--store") && flags.has("--quick") && flags.has("--strip"));
  assertEquals(listedFlags(text), [...flags].sort());
  for (const action of treeActions()) assert(new RegExp(`^  ${action}\\b`, "m").test(text), action);
});

for (const command of COMMANDS.filter((name) => name !== "tree")) {
  Deno.test(`helpText() of ${command} lists exactly the flags that its parser takes`, {
    permissions: "none",
  }, () => {
    const flags = flagsOf(command);
    assert(flags.includes("--help"));
    assertEquals(listedFlags(helpText(command)), flags);
  });

  Deno.test(
    `helpText() of ${command} says which short flags there are`,
    { permissions: "none" },
    () => {
      const text = helpText(command);
      for (const letter of "abcdefghijklmnopqrstuvwxyz") {
        const args = [command, `-${letter}`, "volatile", "--pod=/p"];
        let message = "";
        try {
          parse(args);
        } catch (error) {
          assert(error instanceof InvalidValueError);
          message = error.message;
        }
        const taken = !message.startsWith(`Cannot use flag "-${letter}": `);
        assertEquals(
          new RegExp(`^  -${letter}, --`, "m").test(text),
          taken,
          `${command} -${letter}`,
        );
      }
    },
  );
}

Deno.test(
  "helpText() of everything names every command, and no other",
  { permissions: "none" },
  () => {
    const [, list = ""] = helpText(null).split("Commands:\n");
    const names = [...list.matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name]) => name);
    assertEquals(names, [...COMMANDS]);
  },
);

Deno.test("helpText() of something unknown is that of everything", { permissions: "none" }, () => {
  for (const topic of ["nonsense", ""]) {
    assertEquals(helpText(topic), helpText(null));
  }
});

Deno.test("helpText() names examples that the parser takes", { permissions: "none" }, () => {
  for (const topic of [null, ...COMMANDS]) {
    const text = helpText(topic).replaceAll("\\\n", " ");
    const examples = [
      ...text.matchAll(
        /^ {2}.*?overlay-render ((?:plan|prepare|render|unmount|status|changes|reset|restore|gc|keep|unkeep|export|commit|doctor) --.*?|unshare \w+.*?|systemd \/.*?|completion \w+.*?)\)?"?$/gm,
      ),
    ];
    assert(examples.length > 0);
    for (const [, line = ""] of examples) {
      const [words = ""] = line.split(">");
      const args = words.trim().split(/\s+/);
      if (args.includes("--help")) continue;
      assertEquals(parseCommand(args, "/").kind, args[0] ?? "");
    }
  }
});
