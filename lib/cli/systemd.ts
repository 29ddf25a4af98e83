/**
 * The units of systemd that restore and collect pods. Values are escaped as systemd.unit(5),
 * systemd.syntax(7) and systemd.service(5) say.
 *
 * No unit has a setting that makes a mount namespace, such as `ProtectSystem=`: what it mounts would be
 * invisible to the host.
 *
 * Requires no permissions.
 *
 * @module
 */
import { invalid } from "../core/invalid.ts";
import { DEFAULT_STORE } from "../request/layout.ts";

/** A file for `/etc/systemd/system`. */
export interface Unit {
  /** The name of the unit. */
  readonly name: string;
  /** The content. */
  readonly text: string;
}

/** The values in the units. Every path is absolute. */
export interface UnitValues {
  /** The directory of pods. @default {the units are templates, whose instance is its escaped path} */
  readonly pods?: string;
  /** The tree store. @default {"/var/lib/overlay-render"; in a template of its own, the escaped path} */
  readonly store?: string;
  /** The command. */
  readonly command: string;
  /** The directory of Deno, if systemd would not find it. @default {none} */
  readonly deno?: string;
}

/** The longest name of a unit. */
const NAME_MAX = 255;

/** The path in which systemd looks up programs (systemd-path search-binaries-default). */
export const SYSTEMD_PATH: readonly string[] = [
  "/usr/local/sbin",
  "/usr/local/bin",
  "/usr/sbin",
  "/usr/bin",
  "/sbin",
  "/bin",
];

/** Escapes a path as the instance in the name of a unit, as `systemd-escape --path` does. */
export function escapeInstance(path: string): string {
  const name = path.split("/").filter((part) => part !== "").join("/");
  if (name === "") return "-";
  const hex = (byte: number) => `\\x${byte.toString(16).padStart(2, "0")}`;
  return [...new TextEncoder().encode(name)].map((byte, at) => {
    const character = String.fromCharCode(byte);
    if (character === "/") return "-";
    return /[\w:.]/.test(character) && !(at === 0 && character === ".") ? character : hex(byte);
  }).join("");
}

/** Escapes a value in which only specifiers have a meaning. */
function escapeSpecifiers(path: string): string {
  return path.replaceAll("%", "%%");
}

/** Escapes a word of a list. */
function escapeWord(path: string): string {
  if (/^[\w/.@:+-]+$/.test(path)) return path;
  return `"${escapeSpecifiers(path).replace(/[\\"]/g, "\\$&")}"`;
}

/** Escapes a word of a command line, in which a dollar sign begins a variable. */
function escapeArgument(path: string): string {
  return escapeWord(path).replaceAll("$", "$$$$");
}

/** A path in each form in which units name it. */
interface Place {
  readonly instance: string;
  readonly plain: string;
  readonly word: string;
  readonly argument: string;
}

/** In a template, the specifier stands for the path in every form. */
const TEMPLATE: Place = { instance: "", plain: "%f", word: "%f", argument: "%f" };

function placeOf(what: string, path: string): Place {
  // deno-lint-ignore no-control-regex
  if (/[\0-\x1f\x7f\ufffd]|[\s\\]$/.test(path)) {
    const reason = "no unit can name a path that has control characters, that ends with a space " +
      "or a backslash, or that is not UTF-8";
    throw invalid(what, path, reason);
  }
  return {
    instance: escapeInstance(path),
    plain: escapeSpecifiers(path),
    word: escapeWord(path),
    argument: escapeArgument(path),
  };
}

function unit(
  { name, suffix, instance }: { name: string; suffix: string; instance: string },
  sections: Readonly<Record<string, readonly string[]>>,
): Unit {
  const full = `overlay-render-${name}@${instance}.${suffix}`;
  if (full.length > NAME_MAX) {
    const hint =
      `the name of a unit has at most ${NAME_MAX} characters; bind the directory to a shorter path`;
    throw invalid("unit name", full, "it is too long", { hint });
  }
  const text = Object.entries(sections).map(([title, lines]) =>
    `[${title}]\n${lines.join("\n")}\n`
  );
  return { name: full, text: text.join("\n") };
}

/** Makes a service that runs once, when nothing else needs the disk, and the timer that starts it. */
function timed(
  name: string,
  place: Place,
  { meaning, after = [], service, timer }: {
    readonly meaning: string;
    readonly after?: readonly string[];
    readonly service: readonly string[];
    readonly timer: readonly string[];
  },
): readonly Unit[] {
  const { instance } = place;
  return [
    unit({ name, suffix: "service", instance }, {
      Unit: [
        `Description=${meaning} ${place.plain}`,
        "Documentation=man:overlay-render(1)",
        `RequiresMountsFor=${place.word}`,
        `ConditionPathIsDirectory=${place.plain}`,
        ...after,
      ],
      Service: ["Type=oneshot", "Nice=10", "IOSchedulingClass=idle", ...service],
    }),
    unit({ name, suffix: "timer", instance }, {
      Unit: [`Description=${meaning} ${place.plain}, regularly`],
      Timer: timer,
      Install: ["WantedBy=timers.target"],
    }),
  ];
}

/**
 * Makes the units for a directory of pods and a tree store: one that restores the pods at boot and unmounts
 * them at shutdown, one that collects pods every hour, one that removes layers every week.
 *
 * @throws {InvalidValueError} If no unit can name a path.
 */
export function systemdUnits({ pods, store, command, deno }: UnitValues): readonly Unit[] {
  const place = pods === undefined ? TEMPLATE : placeOf("directory of pods", pods);
  const trees = placeOf("store", store ?? DEFAULT_STORE);
  const own = pods === undefined && store === undefined ? TEMPLATE : trees;
  const run = placeOf("command", command).argument;
  const path = deno === undefined ? [] : [deno, ...SYSTEMD_PATH].join(":");
  const environment = deno === undefined
    ? []
    : [`Environment=${placeOf("directory of Deno", `PATH=${path}`).word}`];
  return [
    unit({ name: "restore", suffix: "service", instance: place.instance }, {
      Unit: [
        `Description=Mount the overlay-render pods in ${place.plain}`,
        "Documentation=man:overlay-render(1)",
        `RequiresMountsFor=${place.word} ${trees.word}`,
        `ConditionPathIsDirectory=${place.plain}`,
      ],
      Service: [
        "Type=oneshot",
        "RemainAfterExit=yes",
        ...environment,
        `ExecStart=${run} restore --pods ${place.argument} --quiet`,
        `ExecStop=${run} unmount --pods ${place.argument} --restorable --quiet`,
      ],
      Install: ["WantedBy=multi-user.target"],
    }),
    ...timed("gc", place, {
      meaning: "Remove ephemeral overlay-render pods in",
      after: ["After=overlay-render-restore@%i.service"],
      service: [...environment, `ExecStart=${run} gc --pods ${place.argument} --quiet`],
      timer: ["OnBootSec=15min", "OnUnitInactiveSec=1h", "RandomizedDelaySec=5min"],
    }),
    ...timed("tree-gc", own, {
      meaning: "Remove layers that no tree has from",
      service: [...environment, `ExecStart=${run} tree gc --store ${own.argument} --quiet`],
      timer: ["OnCalendar=weekly", "Persistent=yes", "RandomizedDelaySec=1h"],
    }),
  ];
}
