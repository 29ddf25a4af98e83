import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { absolute, parseCommand } from "../../lib/cli/command.ts";
import { COMMANDS } from "../../lib/cli/command_names.ts";
import { parseRun } from "../../lib/cli/run_command.ts";
import type { Command } from "../../lib/cli/typed_command.ts";
import { InvalidValueError } from "../../lib/core/errors.ts";

const SILENT = { json: false, quiet: false, verbose: false };
const POD = { pod: "/p" };
const PODS = { pods: "/pods" };

function parse(...args: string[]): Command {
  const command = parseCommand(args, "/work/dir");
  // Its flags are read by a module that only it loads.
  if (command.kind === "run") parseRun(command.args, command.cwd);
  return command;
}

function refused(...args: string[]): InvalidValueError {
  const error = assertThrows(() => parse(...args), InvalidValueError);
  assertEquals(error.exitStatus, 2);
  return error;
}

function assertParsed(table: readonly (readonly [args: string[], command: object])[]): void {
  for (const [args, command] of table) {
    assertEquals<unknown>(parse(...args), { output: SILENT, ...command });
  }
}

Deno.test("parseCommand() reads status of a pod and of all pods", { permissions: "none" }, () => {
  const kind = "status";
  assertParsed([
    [["status", "--pod", "/p"], { kind, request: POD }],
    [["status", "--pods", "/pods"], { kind, request: PODS }],
    [["status", "--pods=/pods", "--size"], { kind, request: { ...PODS, size: true } }],
    [["status", "--size", "--pod=/p"], { kind, request: { ...POD, size: true } }],
    [["status", "--pod", "/p", "--json", "-q", "--verbose"], {
      kind,
      request: POD,
      output: { json: true, quiet: true, verbose: true },
    }],
  ]);
});

Deno.test("parseCommand() reads restore", { permissions: "none" }, () => {
  const kind = "restore";
  assertParsed([
    [["restore", "--pod", "/p"], { kind, request: POD }],
    [["restore", "--pods", "/pods"], { kind, request: PODS }],
    [["restore", "--pods", "/pods", "--wait", "1m"], { kind, request: PODS, waitMs: 60_000 }],
    [["restore", "--pods", "/pods", "--json"], {
      kind,
      request: PODS,
      output: { ...SILENT, json: true },
    }],
  ]);
});

Deno.test("parseCommand() reads gc", { permissions: "none" }, () => {
  const kind = "gc";
  assertParsed([
    [["gc", "--pods", "/pods"], { kind, request: PODS }],
    [["gc", "--pod", "/p"], { kind, request: POD }],
    [["gc", "--pods", "/pods", "--mark"], { kind, request: { ...PODS, phase: "mark" } }],
    [["gc", "--pods", "/pods", "--sweep"], { kind, request: { ...PODS, phase: "sweep" } }],
    [["gc", "--pod", "/p", "--sweep"], { kind, request: { ...POD, phase: "sweep" } }],
    [["gc", "--pods", "/pods", "-n"], { kind, request: PODS, dryRun: true }],
    [["gc", "--pods", "/pods", "--dry-run"], { kind, request: PODS, dryRun: true }],
    [["gc", "--pods", "/pods", "--grace-period", "1.5h"], {
      kind,
      request: { ...PODS, gracePeriodMs: 5_400_000 },
    }],
    [["gc", "--pods", "/pods", "--grace-period=0"], {
      kind,
      request: { ...PODS, gracePeriodMs: 0 },
    }],
    [["gc", "--pod=/p", "--mark", "-n", "--grace-period", "30s", "--wait", "0", "--json", "-q"], {
      kind,
      request: { ...POD, phase: "mark", gracePeriodMs: 30_000 },
      dryRun: true,
      waitMs: 0,
      output: { ...SILENT, json: true, quiet: true },
    }],
  ]);
});

Deno.test("parseCommand() reads unmount of some apps, lazily when it is said so", {
  permissions: "none",
}, () => {
  const kind = "unmount";
  assertParsed([
    [["unmount", "--pod", "/p", "--app", "web"], { kind, request: { ...POD, app: "web" } }],
    [["unmount", "--pod", "/p", "--app", "web", "--app", "db"], {
      kind,
      request: { ...POD, app: ["web", "db"] },
    }],
    [["unmount", "--app=db", "--pod", "/p", "--app", "", "--app=web"], {
      kind,
      request: { ...POD, app: ["db", "", "web"] },
    }],
    [["unmount", "--pod", "/p", "--lazy"], { kind, request: { ...POD, lazy: true } }],
    [["unmount", "--pod", "/p", "--app", "a", "--app", "b", "--lazy", "--wait", "5s"], {
      kind,
      request: { ...POD, app: ["a", "b"], lazy: true },
      waitMs: 5000,
    }],
  ]);
});

const RENDERS = ["plan", "prepare", "render"] as const;

Deno.test("parseCommand() reads a spec's file, and where it is read from", {
  permissions: "none",
}, () => {
  const common = { kind: "spec", cwd: "/work/dir" };
  for (const action of RENDERS) {
    const mount = action !== "prepare";
    assertParsed([
      [[action, "--spec", "pod.json"], { ...common, action, file: "pod.json", mount }],
      [[action, "--spec=/etc/pod.json"], { ...common, action, file: "/etc/pod.json", mount }],
      [[action, "--spec", "-"], { ...common, action, file: "-", mount }],
      [[action, "--spec=-"], { ...common, action, file: "-", mount }],
      [[action, "--spec=-x"], { ...common, action, file: "-x", mount }],
      [[action, "-n", "--spec", "s"], { ...common, action: "plan", file: "s", mount }],
      [[action, "--spec", "s", "--wait", "2s", "--json"], {
        ...common,
        action,
        file: "s",
        mount,
        waitMs: 2000,
        output: { ...SILENT, json: true },
      }],
    ]);
  }
});

/** The flags that a spec has fields for. */
const SPEC_FIELDS: readonly (readonly [flag: string, name: string])[] = [
  ["--pod=/p", "pod"],
  ["--store=/s", "store"],
  ["--tree=t", "tree"],
  ["--app=web", "app"],
  ["--app=", "app"],
  ["--dest=/d", "dest"],
  ["--profile=fixed-mode", "profile"],
  ["--dir-mode=0700", "dir-mode"],
  ["--group=0", "group"],
  ["--label=u:r:t", "label"],
  ["--manifest=/m", "manifest"],
  ["--lower=/l", "lower"],
  ["--option=volatile", "option"],
  ["-o=volatile", "option"],
  ["--read-only", "read-only"],
  ["--overlay=never", "overlay"],
  ["--no-overlay", "no-overlay"],
  ["--mtab", "mtab"],
];

for (const [flag, name] of SPEC_FIELDS) {
  Deno.test(`parseCommand() refuses ${flag} with a spec`, { permissions: "none" }, () => {
    for (const action of RENDERS) {
      for (const args of [[flag, "--spec", "s"], ["--spec", "s", "-n", flag]]) {
        const error = refused(action, ...args);
        assertEquals(error.code, "usage");
        assertEquals(error.message, `Cannot use --${name} with --spec: the spec says it`);
        assertStringIncludes(error.hint ?? "", "put it in the spec");
      }
    }
  });
}

Deno.test("parseCommand() takes a spec only of a render, and only one", {
  permissions: "none",
}, () => {
  const others = COMMANDS.filter((name) => {
    return name !== "tree" && !RENDERS.some((other) => other === name);
  });
  for (const name of others) {
    assertStringIncludes(
      refused(name, "--spec", "s", "--pod", "/p").message,
      `Cannot use flag "--spec": ${name} has no such flag`,
    );
  }
  const table: readonly [args: string[], message: string][] = [
    [["--spec", "a", "--spec", "b"], 'Cannot use --spec "b": it was given before'],
    [["--spec="], "Cannot use --spec with an empty value"],
    [["--spec"], "Cannot use --spec without a value: nothing follows"],
    [["--spec", "--json"], 'Cannot use --spec without a value: "--json" is a flag'],
    [["--spec", "a", "b"], 'Cannot use argument "b"'],
    [["-"], 'Cannot use argument "-"'],
  ];
  for (const [args, message] of table) {
    for (const action of RENDERS) {
      assert(refused(action, ...args).message.startsWith(message), args.join(" "));
    }
  }
});

Deno.test("parseCommand() says that a render without a spec needs a pod", {
  permissions: "none",
}, () => {
  for (const action of RENDERS) {
    assertStringIncludes(refused(action, "--lower", "/l").message, "--pod is required");
  }
});

/** Each command that changes a pod, with the least that it takes. */
const CHANGING: readonly (readonly string[])[] = [
  ["plan", "--pod", "/p", "--lower", "/l"],
  ["prepare", "--pod", "/p", "--lower", "/l"],
  ["render", "--pod", "/p", "--lower", "/l"],
  ["render", "--spec", "s"],
  ["unmount", "--pod", "/p"],
  ["restore", "--pod", "/p"],
  ["restore", "--pods", "/pods"],
  ["gc", "--pod", "/p"],
  ["gc", "--pods", "/pods"],
];

for (const args of CHANGING) {
  Deno.test(`parseCommand() reads how long ${args.slice(0, 2).join(" ")} waits`, {
    permissions: "none",
  }, () => {
    const table: readonly [wait: string, ms: number][] = [
      ["0", 0],
      ["250ms", 250],
      ["10s", 10_000],
      ["1.5m", 90_000],
    ];
    for (const [wait, waitMs] of table) {
      const command = parse(...args, "--wait", wait);
      assert("waitMs" in command);
      assertEquals(command.waitMs, waitMs);
    }
    assertEquals("waitMs" in parse(...args), false);
  });

  Deno.test(`parseCommand() refuses a wait of ${args.slice(0, 2).join(" ")} that is none`, {
    permissions: "none",
  }, () => {
    for (const wait of ["10", "-1s", "x", "1S", " 1s", "1s\n"]) {
      const error = refused(...args, `--wait=${wait}`);
      assertEquals(error.code, "invalid-value");
      assert(error.message.startsWith(`Cannot use wait ${JSON.stringify(wait)}: `), error.message);
    }
    assertEquals(refused(...args, "--wait=").code, "usage");
    assertEquals(refused(...args, "--wait", "1s", "--wait", "2s").code, "usage");
  });
}

Deno.test("parseCommand() refuses a grace period that is none", { permissions: "none" }, () => {
  for (const grace of ["30", "half an hour", "-1m", "1w"]) {
    const error = refused("gc", "--pods", "/pods", `--grace-period=${grace}`);
    assert(error.message.startsWith(`Cannot use grace period "${grace}": `), error.message);
    assertEquals(error.code, "invalid-value");
  }
});

Deno.test("parseCommand() refuses both passes of gc at once", { permissions: "none" }, () => {
  for (const args of [["--mark", "--sweep"], ["--sweep", "--pods=/pods", "--mark"]]) {
    const pods = args.includes("--pods=/pods") ? [] : ["--pods=/pods"];
    const error = refused("gc", ...args, ...pods);
    assertEquals(error.code, "usage");
    assertEquals(error.message, "Cannot use --mark and --sweep together: gc does both");
    assertEquals(error.hint, "leave both out");
  }
});

const OF_PODS = ["status", "restore", "gc"] as const;

for (const name of OF_PODS) {
  Deno.test(`parseCommand() takes one pod or a directory of pods for ${name}, not both or none`, {
    permissions: "none",
  }, () => {
    const both = refused(name, "--pod", "/p", "--pods", "/pods");
    assertEquals([both.code, both.message.startsWith("Cannot use --pod and --pods together")], [
      "usage",
      true,
    ]);
    const none = refused(name);
    assertEquals(none.code, "usage");
    assertEquals(none.message, `Cannot run ${name}: --pod or --pods is required`);
    assertStringIncludes(none.hint ?? "", "--pod DIR");
    assertStringIncludes(none.hint ?? "", "--pods DIR");
    for (const flag of ["--pod", "--pods"]) {
      assertStringIncludes(refused(name, `${flag}=`).message, `Cannot use ${flag} with an empty`);
      assertStringIncludes(
        refused(name, flag, "/a", flag, "/b").message,
        `Cannot use ${flag} "/b": it was given before`,
      );
    }
  });

  Deno.test(`parseCommand() takes relative paths of ${name} from the working directory`, {
    permissions: "none",
  }, () => {
    const pod = parse(name, "--pod", "../p");
    assert("request" in pod);
    assertEquals<unknown>(pod.request, { pod: "/work/p" });
    const pods = parse(name, "--pods", ".");
    assert("request" in pods);
    assertEquals<unknown>(pods.request, { pods: "/work/dir" });
  });
}

Deno.test("parseCommand() refuses flags of other commands on the new ones", {
  permissions: "none",
}, () => {
  const table: readonly [args: string[], flag: string][] = [
    [["status", "--pod", "/p", "--wait", "1s"], "--wait"],
    [["status", "--pod", "/p", "--lazy"], "--lazy"],
    [["restore", "--pod", "/p", "--app", "web"], "--app"],
    [["restore", "--pod", "/p", "--size"], "--size"],
    [["gc", "--pod", "/p", "--app", "web"], "--app"],
    [["gc", "--pod", "/p", "--lazy"], "--lazy"],
    [["gc", "--pod", "/p", "--force"], "--force"],
    [["reset", "--pods", "/pods"], "--pods"],
    [["unmount", "--pod", "/p", "--mark"], "--mark"],
    [["render", "--pods", "/pods"], "--pods"],
    [["render", "--pod", "/p", "--grace-period", "1s"], "--grace-period"],
    [["plan", "--pod", "/p", "--lazy"], "--lazy"],
  ];
  for (const [args, flag] of table) {
    assertEquals(
      refused(...args).message,
      `Cannot use flag "${flag}": ${args[0]} has no such flag`,
    );
  }
});

Deno.test("parseCommand() refuses values of flags that take none", { permissions: "none" }, () => {
  for (const flag of ["--lazy=0", "--lazy=true"]) {
    assertStringIncludes(refused("unmount", "--pod=/p", flag).message, "--lazy takes no value");
  }
  for (const flag of ["--mark=1", "--sweep=", "--dry-run=no", "-n=1"]) {
    assertStringIncludes(refused("gc", "--pods=/pods", flag).message, "takes no value");
  }
  assertStringIncludes(refused("status", "--pod=/p", "--size=k").message, "takes no value");
});

Deno.test("parseCommand() gives help on the new commands before it looks at anything else", {
  permissions: "none",
}, () => {
  for (const topic of ["restore", "gc"]) {
    const lines = [["help", topic], [topic, "--help"], [topic, "--typo", "-h"], ["-h", topic]];
    for (const args of lines) assertEquals(parse(...args), { kind: "help", topic });
  }
});

Deno.test("absolute() takes a path from the working directory unless it is absolute", {
  permissions: "none",
}, () => {
  const table: readonly [path: string, cwd: string, expected: string][] = [
    ["/a", "/work", "/a"],
    ["/a/../b", "/work", "/a/../b"],
    ["a", "/work", "/work/a"],
    ["./a//b/", "/work", "/work/a/b/"],
    ["..", "/work/dir", "/work"],
    ["../../../a", "/work", "/a"],
    ["a", "/", "/a"],
    ["-", "/work", "/work/-"],
    ["~", "/work", "/work/~"],
  ];
  for (const [path, cwd, expected] of table) assertEquals(absolute(path, cwd), expected);
});
