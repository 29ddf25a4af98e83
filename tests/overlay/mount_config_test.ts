import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path/posix/join";
import { OverlayError } from "../../lib/core/errors.ts";
import {
  fittingOptions,
  isBind,
  mountOptions,
  OPTIONS_MAX,
  parseMountOptions,
  splitOptions,
} from "../../lib/overlay/mount_config.ts";
import type { MountConfig } from "../../lib/overlay/mount_config.ts";
import { nastyPath, random } from "../_random.ts";
import type { Random } from "../_random.ts";

const PLAIN: MountConfig = {
  lower: ["/images/debian"],
  upper: "/pod/overlay/debian/upper/web",
  work: "/pod/overlay/debian/work/web",
  label: null,
  options: [],
};

const VIEW: MountConfig = { ...PLAIN, lower: ["/a", "/b"], upper: null, work: null };

const PATHS =
  "lowerdir=/images/debian,upperdir=/pod/overlay/debian/upper/web,workdir=/pod/overlay/debian/work/web";

Deno.test("mountOptions() of plain paths is byte for byte that of the seeds", {
  permissions: "none",
}, () => {
  const label = "system_u:object_r:svirt_sandbox_file_t:s0:c1,c2";
  assertEquals(mountOptions(PLAIN), PATHS);
  assertEquals(mountOptions({ ...PLAIN, label }), `${PATHS},context="${label}"`);
});

Deno.test("mountOptions() puts further options before the label", { permissions: "none" }, () => {
  const table: readonly [config: MountConfig, text: string][] = [
    [{ ...PLAIN, options: ["volatile", "index=on"] }, `${PATHS},volatile,index=on`],
    [{ ...PLAIN, options: ["nodev"], label: "u:r:t" }, `${PATHS},nodev,context="u:r:t"`],
    [{ ...PLAIN, label: "" }, PATHS],
    [
      { ...PLAIN, lower: ["/a:", "/b,ro"], upper: "/u", work: "/w" },
      "lowerdir=/a\\::/b\\,\\ro,upperdir=/u,workdir=/w",
    ],
    [VIEW, "ro,lowerdir=/a:/b"],
    [{ ...VIEW, options: ["nodev"], label: "u:r:t" }, 'ro,lowerdir=/a:/b,nodev,context="u:r:t"'],
    [{ ...VIEW, lower: ["/a"] }, "bind,ro"],
    [{ ...VIEW, lower: ["/a"], options: ["nosuid"] }, "bind,ro,nosuid"],
  ];
  for (const [config, text] of table) assertEquals(mountOptions(config), text);
});

Deno.test("mountOptions() refuses a label that would end its own quotes", {
  permissions: "none",
}, () => {
  const label = 'u:r:t",upperdir="/etc';
  assertThrows(() => mountOptions({ ...PLAIN, label }), OverlayError, "Cannot use label");
});

Deno.test(
  "isBind() is true of a read-only view of one lower alone",
  { permissions: "none" },
  () => {
    assertEquals([isBind(PLAIN), isBind(VIEW), isBind({ ...VIEW, lower: ["/a"] })], [
      false,
      false,
      true,
    ]);
  },
);

function nastyConfig(source: Random): MountConfig {
  const lower = Array.from({ length: 1 + source.int(4) }, () => nastyPath(source));
  const view = lower.length > 1 && source.int(4) === 0;
  return {
    lower,
    upper: view ? null : nastyPath(source),
    work: view ? null : nastyPath(source),
    label: source.pick([null, "u:r:t", "system_u:object_r:t:s0:c1,c2"]),
    options: source.pick([[], ["volatile"], ["index=on", "nodev"]]),
  };
}

Deno.test("parseMountOptions() reverses mountOptions(), whatever the paths hold", {
  permissions: "none",
}, () => {
  const source = random(5);
  for (let i = 0; i < 3000; i++) {
    const config = nastyConfig(source);
    const options = mountOptions(config);
    assertEquals(parseMountOptions(options), config, options);
    assertEquals(splitOptions(options).join(","), options);
  }
});

Deno.test("parseMountOptions() of a bind mount has no lowers, since its path is no option", {
  permissions: "none",
}, () => {
  const none = { lower: [], upper: null, work: null, label: null };
  assertEquals(parseMountOptions("bind,ro,nosuid"), { ...none, options: ["nosuid"] });
  assertEquals(parseMountOptions(""), { ...none, options: [] });
});

Deno.test("parseMountOptions() reads what the kernel shows", { permissions: "none" }, () => {
  assertEquals(
    parseMountOptions(
      "rw,lowerdir=/a\\:b:/c,upperdir=/u\\,\\ro,workdir=/w\\\\/,uuid=on,context=u:r:t:s0",
    ),
    {
      lower: ["/a:b", "/c"],
      upper: "/u,ro",
      work: "/w\\",
      label: "u:r:t:s0",
      options: ["rw", "uuid=on"],
    },
  );
  assertEquals(parseMountOptions('context="u:r:t:s0:c1,c2",ro,lowerdir=/a:/b'), {
    lower: ["/a", "/b"],
    upper: null,
    work: null,
    label: "u:r:t:s0:c1,c2",
    options: [],
  });
});

Deno.test("splitOptions() takes no label out of a path", { permissions: "none" }, () => {
  const config = { ...PLAIN, lower: ['/a,context="x"', "/,context=b"], label: "u:r:t" };
  const options = mountOptions(config);
  assertEquals(splitOptions(options).length, 4);
  assertEquals(parseMountOptions(options), config);
});

function bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** The configuration with its first lower so long that the absolute option string has this length. */
function ofLength(config: MountConfig, length: number): MountConfig {
  const [first = "", ...rest] = config.lower;
  const missing = length - bytes(mountOptions(config));
  return { ...config, lower: [`${first}${"x".repeat(missing)}`, ...rest] };
}

const POD = `/${"d".repeat(200)}/pod`;

/** Lowers beside a pod below a long directory: relative names are much shorter. */
function beside(lowers: number): MountConfig {
  return {
    lower: Array.from({ length: lowers }, (_, i) => `/${"d".repeat(200)}/${i}`),
    upper: `${POD}/overlay/t/upper`,
    work: `${POD}/overlay/t/work`,
    label: null,
    options: [],
  };
}

Deno.test("fittingOptions() keeps absolute paths up to the kernel's page", {
  permissions: "none",
}, () => {
  assertEquals(OPTIONS_MAX, 4095);
  for (const length of [4094, 4095]) {
    const config = ofLength(beside(10), length);
    const text = mountOptions(config);
    assertEquals(bytes(text), length);
    const plain = { relative: false, needsRealPaths: false, link: null };
    assertEquals(fittingOptions(config, POD), { text, ...plain });
  }
});

Deno.test("fittingOptions() writes paths relative to the pod where absolute ones are too long", {
  permissions: "none",
}, () => {
  const config = ofLength(beside(10), 4096);
  const { text, relative, needsRealPaths } = fittingOptions(config, POD);
  assertEquals([relative, needsRealPaths], [true, true]);
  const read = parseMountOptions(text);
  assertEquals(read.lower.slice(1, 3), ["../1", "../2"]);
  assertEquals([read.upper, read.work], ["overlay/t/upper", "overlay/t/work"]);
  assertEquals(read.lower.map((path) => join(POD, path)), config.lower);
});

Deno.test("fittingOptions() counts bytes, not characters", { permissions: "none" }, () => {
  const config = ofLength(beside(10), 4094);
  const [first = "", ...rest] = config.lower;
  const at = (name: string) => fittingOptions({ ...config, lower: [first + name, ...rest] }, POD);
  assertEquals([at("x").relative, at("é").relative], [false, true]);
});

Deno.test("fittingOptions() refuses what is too long either way, with the length and the limit", {
  permissions: "none",
}, () => {
  // Lowers far from the pod: relative names are longer than absolute ones by "..".
  const far = { ...PLAIN, lower: ["/far"], upper: "/p/upper", work: "/p/work" };
  // Without a directory in common with the pod's own one, nothing gets shorter.
  const apart = { ...PLAIN, lower: ["/far"], upper: "/u", work: "/w" };
  const table: readonly [config: MountConfig, pod: string, length: string][] = [
    [ofLength(far, 4096 + 2 * "/p/".length), "/p", "4098, shortened from 4102"],
    [ofLength(far, 5000), "/p", "4996, shortened from 5000"],
    [ofLength(apart, 5000), "/p", "5000"],
  ];
  for (const [config, pod, length] of table) {
    const error = assertThrows(() => fittingOptions(config, pod), OverlayError);
    assertEquals([error.code, error.exitStatus, error.path], ["too-long", 3, pod]);
    const end = `at most 4095 bytes of options, and these are ${length}`;
    assertEquals(error.message.slice(-end.length), end);
    assertStringIncludes(error.message, ' for pod "/p"');
    assertStringIncludes(error.hint ?? "", "fewer lowers");
  }
});

Deno.test("fittingOptions() fits relative paths exactly up to the kernel's page", {
  permissions: "none",
}, () => {
  const config = beside(2);
  const relative = fittingOptions(ofLength(config, 4096), POD);
  const more = OPTIONS_MAX - bytes(relative.text);
  const [longest, tooLong] = [4096 + more, 4097 + more].map((length) => ofLength(config, length));
  assert(longest !== undefined && tooLong !== undefined);
  assertEquals(bytes(fittingOptions(longest, POD).text), 4095);
  assertThrows(() => fittingOptions(tooLong, POD), OverlayError, "these are 4096");
});

Deno.test("fittingOptions() says when no path may lead through a symlink", {
  permissions: "none",
}, () => {
  const table: readonly [config: MountConfig, needed: boolean][] = [
    [PLAIN, false],
    [{ ...PLAIN, lower: ['/a"b'] }, true],
    [{ ...PLAIN, upper: '/a"b' }, true],
    [{ ...PLAIN, work: '/a"b' }, true],
    [{ ...PLAIN, lower: ['/a"b"'] }, false],
    [VIEW, false],
    [{ ...VIEW, lower: ["/a", '/b"'] }, true],
  ];
  for (const [config, needed] of table) {
    assertEquals(fittingOptions(config, "/pod").needsRealPaths, needed);
  }
});

Deno.test("fittingOptions() writes relative paths to lowers above, below and beside the pod", {
  permissions: "none",
}, () => {
  const base = `/${"b".repeat(200)}`;
  const long = "l".repeat(3500);
  const pod = `${base}/q`;
  const lower = ["/", base, pod, `${pod}/${long}`, `${base}/qx`, "/other"];
  const { text, relative } = fittingOptions({ ...PLAIN, lower }, pod);
  assert(relative);
  const read = parseMountOptions(text);
  assertEquals(read.lower, ["../..", "..", ".", long, "../qx", "../../other"]);
  assertEquals(read.upper, "../../pod/overlay/debian/upper/web");
});
