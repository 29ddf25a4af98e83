import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { COMMANDS } from "../../lib/cli/command_names.ts";
import { parseCommand } from "../../lib/cli/command.ts";
import type { Command } from "../../lib/cli/typed_command.ts";
import { InvalidValueError } from "../../lib/core/errors.ts";

const SILENT = { json: false, quiet: false, verbose: false };
const LEAST = ["--lower", "/l", "--pod", "/p"];

function parse(...args: string[]): Command {
  return parseCommand(args, "/work/dir");
}

function refused(...args: string[]): InvalidValueError {
  const error = assertThrows(() => parse(...args), InvalidValueError);
  assertEquals(error.exitStatus, 2);
  return error;
}

Deno.test("parseCommand() reads plan, prepare and render", { permissions: "none" }, () => {
  const request = { pod: "/p", lower: ["/l"] };
  const table: readonly [args: string[], kind: string, mount: boolean][] = [
    [["plan", ...LEAST], "plan", true],
    [["render", ...LEAST], "render", true],
    [["prepare", ...LEAST], "prepare", false],
    [["render", ...LEAST, "--dry-run"], "plan", true],
    [["render", "-n", ...LEAST], "plan", true],
    [["prepare", ...LEAST, "-n"], "plan", false],
    [["plan", ...LEAST, "--dry-run"], "plan", true],
  ];
  for (const [args, kind, mount] of table) {
    assertEquals<unknown>(parse(...args), { kind, request, output: SILENT, mount });
  }
});

Deno.test("parseCommand() reads every flag of a render", { permissions: "none" }, () => {
  const command = parse(
    ...["render", "--lower", "/a", "--lower=/b", "--tree", "t", "--store", "/s", "--pod", "/p"],
    ...["--app", "web", "--dest", "/d", "--profile", "fixed-mode", "--dir-mode", "0700"],
    ...["--group", "0042", "--label", "u:r:t:s0:c1,c2", "--manifest", "/m", "-o", "volatile"],
    ...["--layout", "rkt", "--option", "nodev,nosuid", "--read-only", "--json", "-q", "--verbose"],
  );
  assertEquals<unknown>(command, {
    kind: "render",
    request: {
      pod: "/p",
      lower: ["/a", "/b"],
      tree: "t",
      store: "/s",
      app: "web",
      dest: "/d",
      layout: "rkt",
      profile: "fixed-mode",
      dirMode: "0700",
      group: "0042",
      label: "u:r:t:s0:c1,c2",
      manifest: "/m",
      options: ["volatile", "nodev,nosuid"],
      readOnly: true,
    },
    output: { json: true, quiet: true, verbose: true },
    mount: true,
  });
});

Deno.test("parseCommand() reads unmount and status", { permissions: "none" }, () => {
  const table: readonly [args: string[], command: unknown][] = [
    [["unmount", "--pod", "/p"], { kind: "unmount", request: { pod: "/p" }, output: SILENT }],
    [["unmount", "--pod", "/p", "--app", "web"], {
      kind: "unmount",
      request: { pod: "/p", app: "web" },
      output: SILENT,
    }],
    [["unmount", "--pod", "/p", "--app", ""], {
      kind: "unmount",
      request: { pod: "/p", app: "" },
      output: SILENT,
    }],
    [["status", "--pod", "/p", "--quiet"], {
      kind: "status",
      request: { pod: "/p" },
      output: { ...SILENT, quiet: true },
    }],
  ];
  for (const [args, command] of table) assertEquals<unknown>(parse(...args), command);
});

Deno.test(
  "parseCommand() unmounts the pod's own image alone for an empty app, however it is written",
  {
    permissions: "none",
  },
  () => {
    assertEquals(
      parse("unmount", "--pod", "/p", "--app="),
      parse("unmount", "--pod", "/p", "--app", ""),
    );
  },
);

Deno.test("parseCommand() takes relative paths from the working directory", {
  permissions: "none",
}, () => {
  const command = parse(
    ...["render", "--lower", "l", "--lower", "./m/", "--lower", "/abs/../l", "--pod", "../p"],
    ...["--store", ".", "--dest", "a//b/../c", "--manifest", "../../../../m"],
  );
  assert(command.kind === "render");
  const { lower, pod, store, dest, manifest } = command.request;
  // What ".." means in an absolute path is for nobody but the kernel to say.
  assertEquals(lower, ["/work/dir/l", "/work/dir/m/", "/abs/../l"]);
  assertEquals([pod, store, dest, manifest], ["/work/p", "/work/dir", "/work/dir/a/c", "/m"]);

  const unmount = parse("unmount", "--pod", "p");
  assert(unmount.kind === "unmount");
  assertEquals("pod" in unmount.request && unmount.request.pod, "/work/dir/p");
  const status = parse("status", "--pod=-p");
  assert(status.kind === "status");
  assertEquals(status.request, { pod: "/work/dir/-p" });
});

Deno.test("parseCommand() takes relative paths from / as the working directory", {
  permissions: "none",
}, () => {
  const status = parseCommand(["status", "--pod", "p"], "/");
  assert(status.kind === "status");
  assertEquals(status.request, { pod: "/p" });
});

Deno.test("parseCommand() leaves names that are no paths alone", { permissions: "none" }, () => {
  const command = parse("plan", ...LEAST, "--tree", "..", "--app", "./a", "--group", "../g");
  assert(command.kind === "plan");
  const { tree, app, group } = command.request;
  assertEquals([tree, app, group], ["..", "./a", "../g"]);
});

Deno.test(
  "parseCommand() gives help before it looks at anything else",
  { permissions: "none" },
  () => {
    const table: readonly [args: string[], topic: string | null][] = [
      [["--help"], null],
      [["-h"], null],
      [["help"], null],
      [["--help", "render"], "render"],
      [["help", "status"], "status"],
      [["render", "--help"], "render"],
      [["unmount", "-h"], "unmount"],
      [["render", "--typo", "--help"], "render"],
      [["status", "positional", "-h"], "status"],
      [["plan", "--json=0", "--help"], "plan"],
    ];
    for (const [args, topic] of table) assertEquals(parse(...args), { kind: "help", topic });
  },
);

Deno.test("parseCommand() gives the version", { permissions: "none" }, () => {
  assertEquals(parse("--version"), { kind: "version" });
});

Deno.test("parseCommand() refuses no command and an unknown one by naming all", {
  permissions: "none",
}, () => {
  for (
    const args of [[], ["mount"], [""], ["Render"], ["--json"], ["constructor"], ["-x", "render"]]
  ) {
    const error = refused(...args);
    assertEquals(error.code, "usage");
    assertStringIncludes(error.hint ?? "", COMMANDS.join(", "));
    if (args[0] !== undefined) assertStringIncludes(error.message, JSON.stringify(args[0]));
  }
});

/** The commands that can be given without a pod. */
const WITHOUT_POD: readonly string[] = [
  "run",
  "unshare",
  "doctor",
  "systemd",
  "completion",
  "tree",
];

Deno.test("parseCommand() refuses a command without a pod", { permissions: "none" }, () => {
  for (const name of COMMANDS.filter((name) => !WITHOUT_POD.includes(name))) {
    const error = refused(name);
    assertEquals(error.code, "usage");
    assertStringIncludes(error.message, `Cannot run ${name}: --pod `);
    assertStringIncludes(error.hint ?? "", "--pod DIR");
  }
});

Deno.test("parseCommand() refuses the flags of other commands", { permissions: "none" }, () => {
  const table: readonly [args: string[], flag: string][] = [
    [["unmount", "--pod", "/p", "--lower", "/l"], "--lower"],
    [["status", "--pod", "/p", "-n"], "-n"],
    [["doctor", "--pod", "/p", "--dry-run"], "--dry-run"],
    [["status", "--pod", "/p", "--app", "web"], "--app"],
    [["status", "--pod", "/p", "-o", "volatile"], "-o"],
    [["render", ...LEAST, "--all"], "--all"],
    [["render", ...LEAST, "--version"], "--version"],
  ];
  for (const [args, flag] of table) {
    assert(
      refused(...args).message.startsWith(`Cannot use flag "${flag}": ${args[0]} has no such flag`),
    );
  }
});

Deno.test(
  "parseCommand() refuses repeated, empty and unknown values",
  { permissions: "none" },
  () => {
    const table: readonly [args: string[], message: string][] = [
      [["render", ...LEAST, "--pod", "/q"], 'Cannot use --pod "/q": it was given before'],
      [["render", ...LEAST, "--tree="], "Cannot use --tree with an empty value"],
      [["render", "--pod", "", "--lower", "/l"], "Cannot use --pod with an empty value"],
      [["render", ...LEAST, "--profile", "x"], 'Cannot use profile "x"'],
      [["render", ...LEAST, "--layout", "x"], 'Cannot use layout "x": it must be default or rkt'],
      [["render", "--spec", "/s", "--layout", "rkt"], "Cannot use --layout with --spec"],
      [["render", ...LEAST, "extra"], 'Cannot use argument "extra": render takes flags only'],
      [["status", "/p"], 'Cannot use argument "/p": status takes flags only'],
    ];
    for (const [args, message] of table) {
      assert(refused(...args).message.startsWith(message), args.join(" "));
    }
  },
);
