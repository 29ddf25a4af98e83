import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { absolute } from "../../lib/cli/command.ts";
import { InvalidValueError } from "../../lib/core/errors.ts";
import { parsePodRequest } from "../../lib/request/pod_request.ts";
import type { PodRequest } from "../../lib/request/options.ts";
import { parseSpec } from "../../lib/request/spec.ts";
import { nastyName, random } from "../_random.ts";
import type { Random } from "../_random.ts";

/** Marks what was taken for a path. */
function marked(path: string): string {
  return `<${path}>`;
}

function parse(value: unknown): PodRequest {
  return parseSpec(JSON.stringify(value), marked);
}

function refusedText(text: string): InvalidValueError {
  const error = assertThrows(() => parseSpec(text, marked), InvalidValueError);
  assertEquals([error.code, error.exitStatus, error.path], ["invalid-value", 2, null]);
  assert(error.message.startsWith("Cannot use "), error.message);
  return error;
}

function refused(value: unknown): InvalidValueError {
  return refusedText(JSON.stringify(value));
}

/** Nothing that a terminal acts on, and nothing that is no character. */
function assertShowable(text: string): void {
  assert(!/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u.test(text), text);
  assert(text.isWellFormed(), JSON.stringify(text));
}

const GOOD = { app: "web", lower: ["/l"] };

/** One value of every form that JSON has. */
const VALUES = ["x", 1, true, null, [], ["x"], [1], ["x", null], {}] as const;

type Value = (typeof VALUES)[number];

const isText = (value: Value): boolean => typeof value === "string";
const isList = (value: Value): boolean => Array.isArray(value);
const isNames = (value: Value): boolean => isList(value) && /^\[("x")?\]$/.test(shownOf(value));

/** What a value looks like in a message. */
function shownOf(value: unknown): string {
  return JSON.stringify(value);
}

interface Field {
  readonly name: string;
  readonly words: string;
  readonly fits: (value: Value) => boolean;
}

const POD_FIELDS: readonly Field[] = [
  { name: "pod", words: "a path", fits: isText },
  { name: "store", words: "a path", fits: isText },
  {
    name: "group",
    words: "a number or a string",
    fits: (value) => isText(value) || typeof value === "number",
  },
  { name: "layout", words: "a string", fits: isText },
  { name: "profile", words: "a string", fits: isText },
  { name: "dirMode", words: "a string", fits: isText },
  { name: "label", words: "a string", fits: isText },
  { name: "apps", words: "a list of apps", fits: isList },
];

const APP_FIELDS: readonly Field[] = [
  { name: "app", words: "a string", fits: isText },
  { name: "tree", words: "a string", fits: isText },
  { name: "lower", words: "a list of paths", fits: isNames },
  { name: "dest", words: "a path", fits: isText },
  { name: "manifest", words: "a path", fits: isText },
  { name: "label", words: "a string", fits: isText },
  { name: "options", words: "a list of strings", fits: isNames },
  { name: "readOnly", words: "true or false", fits: (value) => typeof value === "boolean" },
  { name: "overlay", words: "a string", fits: isText },
  { name: "mtab", words: "true or false", fits: (value) => typeof value === "boolean" },
];

Deno.test("parseSpec() reads every field, and takes paths from where it is told", {
  permissions: "none",
}, () => {
  const app = {
    app: "web",
    tree: "base",
    lower: ["a", "/b"],
    dest: "d",
    manifest: "m",
    label: "u:r:t",
    options: ["volatile", "nodev,nosuid"],
    readOnly: false,
    overlay: "always",
    mtab: true,
  };
  const pod = {
    pod: "p",
    store: "s",
    group: "staff",
    layout: "rkt",
    profile: "fixed-mode",
    dirMode: "0700",
    label: "u:r:t:s0",
    apps: [app, { app: "" }],
  };
  assertEquals<unknown>(parse(pod), {
    ...pod,
    pod: "<p>",
    store: "<s>",
    apps: [{ ...app, lower: ["<a>", "</b>"], dest: "<d>", manifest: "<m>" }, { app: "" }],
  });
});

Deno.test("parseSpec() adds nothing that is not in the spec", { permissions: "none" }, () => {
  assertEquals<unknown>(parse({ pod: "p", apps: [] }), { pod: "<p>", apps: [] });
  const names = Object.keys(parse({ pod: "p", apps: [{ app: "web" }] }).apps[0] ?? {});
  assertEquals(names, ["app"]);
});

Deno.test("parseSpec() takes every field of the kinds that it can be", {
  permissions: "none",
}, () => {
  for (const { name, fits } of POD_FIELDS.filter(({ name }) => name !== "apps")) {
    for (const value of VALUES.filter(fits)) parse({ pod: "p", apps: [], [name]: value });
  }
  for (const { name, fits } of APP_FIELDS) {
    for (const value of VALUES.filter(fits)) {
      parse({ pod: "p", apps: [{ ...GOOD, [name]: value }] });
    }
  }
});

for (const { name, words, fits } of POD_FIELDS) {
  Deno.test(`parseSpec() refuses ${name} of another type by its name`, {
    permissions: "none",
  }, () => {
    for (const value of VALUES.filter((value) => !fits(value))) {
      const { message } = refused({ pod: "p", apps: [], [name]: value });
      assertEquals(message, `Cannot use ${name}: it must be ${words}, and is ${shownOf(value)}`);
    }
  });
}

for (const { name, words, fits } of APP_FIELDS) {
  Deno.test(`parseSpec() refuses ${name} of an app of another type by its name and place`, {
    permissions: "none",
  }, () => {
    for (const value of VALUES.filter((value) => !fits(value))) {
      for (const at of [0, 3]) {
        const apps = [...Array.from({ length: at }, () => GOOD), { ...GOOD, [name]: value }];
        const { message } = refused({ pod: "p", apps });
        const field = `apps[${at}].${name}`;
        assertEquals(message, `Cannot use ${field}: it must be ${words}, and is ${shownOf(value)}`);
      }
    }
  });
}

Deno.test("parseSpec() refuses a spec or an app that is no object", { permissions: "none" }, () => {
  for (const value of VALUES.filter((value) => shownOf(value) !== "{}")) {
    const is = `it must be an object, and is ${shownOf(value)}`;
    assertEquals(refused(value).message, `Cannot use spec: ${is}`);
    assertEquals(
      refused({ pod: "p", apps: [GOOD, value, GOOD] }).message,
      `Cannot use apps[1]: ${is}`,
    );
  }
});

function assertNames({ hint }: InvalidValueError, fields: readonly Field[]): void {
  const names = (hint ?? "").replace("there are ", "").split(", ");
  assertEquals(
    names.filter((name) => fields.some((field) => field.name === name)).length,
    fields.length,
  );
}

Deno.test("parseSpec() refuses a field that there is none of, and names those that there are", {
  permissions: "none",
}, () => {
  // The words of the command line and of the messages, typing errors, and what every object has.
  const names = ["", "pods", "Pod", "dir-mode", "destination", "spec", "version", "json"];
  const inherited = ["constructor", "toString", "hasOwnProperty"];
  for (const name of [...names, ...inherited]) {
    const pod = refused({ pod: "p", apps: [], [name]: "x" });
    assertEquals(pod.message, `Cannot use spec field "${name}": there is no such field`);
    assertNames(pod, POD_FIELDS);
    const app = refused({ pod: "p", apps: [GOOD, { ...GOOD, [name]: "x" }] });
    assertEquals(app.message, `Cannot use spec field "apps[1].${name}": there is no such field`);
    assertNames(app, APP_FIELDS);
  }
});

Deno.test("parseSpec() refuses a field of the pod in an app, and the other way round", {
  permissions: "none",
}, () => {
  for (const name of ["pod", "store", "group", "layout", "profile", "dirMode", "apps"]) {
    const { message } = refused({ pod: "p", apps: [{ ...GOOD, [name]: "x" }] });
    assertStringIncludes(message, `"apps[0].${name}"`);
  }
  for (const name of ["app", "tree", "lower", "dest", "manifest", "options", "readOnly", "mtab"]) {
    const { message } = refused({ pod: "p", apps: [GOOD], [name]: "x" });
    assertStringIncludes(message, `spec field "${name}"`);
  }
});

Deno.test("parseSpec() takes no field of a prototype for one of its own", {
  permissions: "none",
}, () => {
  const error = refusedText('{"pod": "p", "apps": [], "__proto__": {"label": "u:r:t"}}');
  assertStringIncludes(error.message, 'spec field "__proto__"');
  const within = refusedText('{"pod": "p", "apps": [{"__proto__": {"app": "web"}}]}');
  assertStringIncludes(within.message, 'spec field "apps[0].__proto__"');
});

Deno.test("parseSpec() says what is missing", { permissions: "none" }, () => {
  const missing = "it is missing, and every spec has one";
  assertEquals(refused({ apps: [GOOD] }).message, `Cannot use pod: ${missing}`);
  assertEquals(refused({ pod: "p" }).message, `Cannot use apps: ${missing}`);
  assertEquals(refused({}).message, `Cannot use pod: ${missing}`);
  const app = refused({ pod: "p", apps: [GOOD, { lower: ["/l"] }] });
  assertEquals(app.message, "Cannot use apps[1].app: it is missing");
  // A pod's own image has no name, so that to leave it out could be a slip.
  assertEquals(app.hint, 'the pod\'s own image is {"app": ""}');
});

Deno.test("parseSpec() refuses what is not JSON", { permissions: "none" }, () => {
  const texts = [
    "",
    " \n",
    "{",
    '{"pod": "p"',
    "nul",
    "undefined",
    "{'pod': 'p', 'apps': []}",
    '{"pod": "p", "apps": [],}',
    '// a comment\n{"pod": "p", "apps": []}',
    '{"pod": "p", "apps": []} {}',
    '{"pod": "a\nb", "apps": []}',
    "pod: p\napps: []\n",
    "\u001b[31m{}\u202e",
    "\0",
  ];
  for (const text of texts) {
    const { message } = refusedText(text);
    assert(message.startsWith("Cannot use spec: it is not JSON: "), message);
    assertShowable(message);
  }
});

Deno.test("parseSpec() refuses a field that is given twice, however it is written", {
  permissions: "none",
}, () => {
  const app = `{"app": "web", "lower": ["/l"]}`;
  const cases: readonly (readonly [text: string, field: string])[] = [
    [`{"pod": "/p", "pod": "/q", "apps": [${app}]}`, "pod"],
    [`{"pod": "/p", "p\\u006fd"\t:\n"/p", "apps": [${app}]}`, "pod"],
    [`{"pod": "/p", "apps": [${app}], "apps": [${app}]}`, "apps"],
    [
      `{"pod": "/p", "apps": [${app}, {"app": "db", "lower": ["/a"], "lower": ["/b"]}]}`,
      "apps[1].lower",
    ],
    [`{"pod": "/p", "apps": [${app}, ${app}, {"app": "a\\"b", "app": "c"}]}`, "apps[2].app"],
    [
      `{"pod": "/p", "apps": [{"app": "web", "options": ["a", "b"], "mtab": true, "options": []}]}`,
      "apps[0].options",
    ],
  ];
  for (const [text, field] of cases) {
    const { message } = refusedText(text);
    assertEquals(message, `Cannot use spec field "${field}": it is given twice`);
  }
});

Deno.test("parseSpec() takes one name in many objects, and values that look like fields", {
  permissions: "none",
}, () => {
  const apps = ["a", "b", "{", '"app":', "\\", ","].map((app) => ({
    app,
    lower: ["app", "app", "pod:"],
  }));
  assertEquals(parse({ pod: "/p", apps }).apps.map(({ app }) => app), apps.map(({ app }) => app));
});

Deno.test("parseSpec() takes white space around and in a spec", { permissions: "none" }, () => {
  const request = parseSpec(' \t\r\n{ "pod" :\n"p", "apps": [ ] }\n\n', marked);
  assertEquals<unknown>(request, { pod: "<p>", apps: [] });
});

Deno.test("parseSpec() shows a short value whole and cuts a long one", {
  permissions: "none",
}, () => {
  const shown = (value: unknown) => refused({ pod: value, apps: [] }).message.split(" and is ")[1];
  const short = ["x".repeat(56)];
  assertEquals(shown(short), JSON.stringify(short));
  assertEquals(JSON.stringify(short).length, 60);
  assertEquals(shown(["x".repeat(57)]), `["${"x".repeat(57)}"…`);
  assertEquals(shown({ deep: { er: [1, 2, 3] } }), '{"deep":{"er":[1,2,3]}}');
  assertEquals(shown([..."x".repeat(100_000)])?.length, 61);
});

Deno.test("parseSpec() shows nothing that a terminal acts on, wherever it cuts a value", {
  permissions: "none",
}, () => {
  for (const char of ["\u001b", "\u009b", "\u202e", "\u2028", "\n", "\u{1f600}", "\ud800"]) {
    for (let length = 50; length < 62; length++) {
      const text = `${"x".repeat(length)}${char}${char}`;
      assertShowable(refused({ pod: [text], apps: [] }).message);
      assertShowable(refused({ pod: { [text]: 1 }, apps: [] }).message);
      assertShowable(refused({ pod: "p", apps: [text] }).message);
    }
    assertShowable(refused({ pod: "p", apps: [], [`a${char}`]: 1 }).message);
    assertShowable(refused({ pod: "p", apps: [{ [`a${char}`]: 1 }] }).message);
  }
});

/** What a request from the command line means by a path, in the directory `/work`. */
function requestOf(spec: unknown): PodRequest {
  return parseSpec(JSON.stringify(spec), (path) => absolute(path, "/work"));
}

Deno.test("parseSpec() takes relative paths as flags are taken", { permissions: "none" }, () => {
  const request = requestOf({
    pod: "../p",
    store: ".",
    apps: [{ app: "./a", lower: ["l", "./m/", "/abs/../l"], dest: "a//b/../c", manifest: "-" }],
  });
  assertEquals<unknown>(request, {
    pod: "/p",
    store: "/work",
    apps: [{
      app: "./a",
      lower: ["/work/l", "/work/m/", "/abs/../l"],
      dest: "/work/a/c",
      manifest: "/work/-",
    }],
  });
});

/** Each field that is a path, with nothing in it: `--pod=` and its like are refused, too. */
const EMPTY_PATHS: readonly (readonly [string, unknown])[] = [
  ["pod", { pod: "", apps: [GOOD] }],
  ["store", { pod: "p", store: "", apps: [{ app: "web", tree: "debian" }] }],
  ["lower", { pod: "p", apps: [{ app: "web", lower: ["/l", ""] }] }],
  ["dest", { pod: "p", apps: [{ ...GOOD, dest: "" }] }],
  ["manifest", { pod: "p", apps: [{ ...GOOD, manifest: "" }] }],
];

for (const [name, spec] of EMPTY_PATHS) {
  Deno.test(`parseSpec() does not take an empty ${name} for the working directory`, {
    permissions: "none",
  }, () => {
    const error = assertThrows(() => parsePodRequest(requestOf(spec)), InvalidValueError);
    assertStringIncludes(error.message, "empty");
  });
}

function randomSpec(source: Random): PodRequest {
  const path = () => `/${nastyName(source)}`;
  const maybe = (field: Record<string, unknown>) => source.int(2) === 0 ? field : {};
  const apps = Array.from({ length: source.int(4) }, () => ({
    app: nastyName(source),
    ...maybe({ lower: Array.from({ length: source.int(3) }, path) }),
    ...maybe({ dest: path() }),
    ...maybe({ options: [nastyName(source)] }),
    ...maybe({ readOnly: source.int(2) === 0 }),
  }));
  return { pod: path(), ...maybe({ group: source.int(9) }), ...maybe({ store: path() }), apps };
}

Deno.test("parseSpec() reads any request back", { permissions: "none" }, () => {
  const source = random(41);
  for (let i = 0; i < 500; i++) {
    const request = randomSpec(source);
    const text = JSON.stringify(request, null, source.int(3));
    assertEquals(parseSpec(text, (path) => path), request);
  }
});
