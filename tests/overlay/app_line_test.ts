import { assertEquals } from "@std/assert";
import {
  appLine,
  formatAppLine,
  parseAppLine,
  readLineConfig,
} from "../../lib/overlay/app_line.ts";
import type { AppLine } from "../../lib/overlay/app_line.ts";
import { mountOptions } from "../../lib/overlay/mount_config.ts";
import type { MountConfig } from "../../lib/overlay/mount_config.ts";
import { nastyAppName, nastyPath, random } from "../_random.ts";

const WEB: AppLine = {
  app: "web",
  tree: "debian",
  rootfs: "/pod/web/rootfs",
  source: "overlay",
  options: "lowerdir=/l,upperdir=/u,workdir=/w",
  auto: true,
};

const NAMES = "X-overlay-render.app=web,X-overlay-render.tree=debian";

const LINES: readonly [line: AppLine, text: string][] = [
  [WEB, `overlay /pod/web/rootfs overlay lowerdir=/l,upperdir=/u,workdir=/w,${NAMES} 0 0`],
  [
    { ...WEB, auto: false },
    `overlay /pod/web/rootfs overlay lowerdir=/l,upperdir=/u,workdir=/w,noauto,${NAMES} 0 0`,
  ],
  [
    { ...WEB, source: "/l", options: "bind,ro" },
    `/l /pod/web/rootfs none bind,ro,${NAMES} 0 0`,
  ],
  [
    { ...WEB, inPod: true },
    "overlay /pod/web/rootfs overlay lowerdir=/l,upperdir=/u,workdir=/w," +
    `X-overlay-render.in-pod,${NAMES} 0 0`,
  ],
  [
    { ...WEB, app: "", tree: "a,b c=%", rootfs: "/pod/a b\n#\t" },
    "overlay /pod/a\\040b\\012\\043\\011 overlay lowerdir=/l,upperdir=/u,workdir=/w," +
    "X-overlay-render.app=,X-overlay-render.tree=a%2Cb%20c%3D%25 0 0",
  ],
  [
    { ...WEB, options: 'lowerdir=/l\\,\\x,upperdir=/u,workdir=/w,context="u:r:t:s0:c1,c2"' },
    "overlay /pod/web/rootfs overlay lowerdir=/l\\134,\\134x,upperdir=/u,workdir=/w," +
    `context="u:r:t:s0:c1,c2",${NAMES} 0 0`,
  ],
];

Deno.test("formatAppLine() writes one fstab(5) line, and parseAppLine() reads it back", {
  permissions: "none",
}, () => {
  for (const [line, text] of LINES) {
    assertEquals(formatAppLine(line), text);
    assertEquals(parseAppLine(text), line);
  }
});

Deno.test("parseAppLine() reverses formatAppLine(), whatever names and paths hold", {
  permissions: "none",
}, () => {
  const source = random(6);
  for (let i = 0; i < 3000; i++) {
    const config: MountConfig = {
      lower: Array.from({ length: 1 + source.int(3) }, () => nastyPath(source)),
      upper: nastyPath(source),
      work: nastyPath(source),
      label: source.pick([null, "u:r:t:s0:c1,c2"]),
      options: source.pick([[], ["nodev"]]),
    };
    const [app, tree] = [nastyAppName(source), nastyAppName(source)];
    const names = { app, tree, rootfs: nastyPath(source) };
    const line = appLine(names, {
      config,
      options: mountOptions(config),
      auto: source.int(2) === 0,
    });
    const text = formatAppLine(line);
    assertEquals(text.split(/[ \t\r\n]/).length, 6, text);
    assertEquals(parseAppLine(text), line, text);
    assertEquals(readLineConfig(line, "/pod"), config, text);
  }
});

Deno.test("appLine() marks a rootfs that lies in the pod", { permissions: "none" }, () => {
  const config = { lower: ["/l"], upper: "/u", work: "/w", label: null, options: [] };
  const mount = { config, options: mountOptions(config), auto: true };
  const names = { app: "web", tree: "t", pod: "/pod" };
  const inPod = (rootfs: string) => appLine({ ...names, rootfs }, mount).inPod;
  assertEquals(["/pod/rootfs", "/pod/a/b/rootfs", "/pods/rootfs"].map(inPod), [
    true,
    true,
    undefined,
  ]);
});

Deno.test("appLine() of a bind mount has its lower as source", { permissions: "none" }, () => {
  const config = { lower: ["/a b"], upper: null, work: null, label: null, options: [] };
  const names = { app: "web", tree: "t", rootfs: "/r" };
  const line = appLine(names, { config, options: mountOptions(config), auto: true });
  assertEquals(line, { ...names, source: "/a b", options: "bind,ro", auto: true });
  assertEquals(readLineConfig(line, "/pod"), config);
  assertEquals(parseAppLine(formatAppLine(line)), line);
});

Deno.test("parseAppLine() reads lines that somebody edited", { permissions: "none" }, () => {
  const options = `lowerdir=/l,upperdir=/u,workdir=/w,${NAMES}`;
  const texts = [
    `overlay\t/pod/web/rootfs\toverlay\t${options}\t0\t0`,
    `  overlay  /pod/web/rootfs \t overlay  ${options}  0 0  `,
    `overlay /pod/web/rootfs overlay ${options} 0 2`,
    `overlay /pod/web/rootfs overlay ${options} 0 0 # mine`,
    `overlay /pod/web/rootfs overlay X-overlay-render.tree=debian,${
      options.replace(",X-overlay-render.tree=debian", "")
    } 0 0`,
  ];
  for (const text of texts) assertEquals(parseAppLine(text), WEB, text);
});

Deno.test("parseAppLine() is null for every line that is not that of an app", {
  permissions: "none",
}, () => {
  const options = "lowerdir=/l,upperdir=/u,workdir=/w";
  const texts = [
    "",
    "   ",
    "# a comment",
    "#overlay /r overlay X-overlay-render.app=web,X-overlay-render.tree=t 0 0",
    "UUID=0 / ext4 defaults 0 1",
    `overlay /r overlay ${options} 0 0`,
    `overlay /r overlay ${options},${NAMES}`,
    `overlay /r overlay ${options},${NAMES} 0`,
    `overlay /r overlay ${options},${NAMES} 0 0 0`,
    `overlay /r overlay ${options},X-overlay-render.app=web 0 0`,
    `overlay /r overlay ${options},X-overlay-render.tree=t 0 0`,
    `overlay /r overlay ${options},X-overlay-render.app=%,X-overlay-render.tree=t 0 0`,
    `overlay /r overlay ${options},X-overlay-render.app=%ff,X-overlay-render.tree=t 0 0`,
    `overlay /r overlay lowerdir=/a\\134,X-overlay-render.app=web,X-overlay-render.tree=t 0 0`,
  ];
  for (const text of texts) assertEquals(parseAppLine(text), null, text);
});

Deno.test("parseAppLine() is null for a comment that is indented, which mount(8) passes over too", {
  permissions: "none",
}, () => {
  for (const indent of [" ", "\t", " \t "]) {
    assertEquals(parseAppLine(`${indent}#${formatAppLine(WEB)}`), null);
    assertEquals(parseAppLine(`${indent}# ${formatAppLine(WEB)}`), null);
  }
});

Deno.test("readLineConfig() takes relative paths from the pod", { permissions: "none" }, () => {
  const line = {
    ...WEB,
    options:
      'lowerdir=../l:l"/../l":.,upperdir=overlay/u,workdir=overlay/w,volatile,context="u:r:t"',
  };
  assertEquals(readLineConfig(line, "/pods/one"), {
    lower: ["/pods/l", '/pods/one/l"', "/pods/one"],
    upper: "/pods/one/overlay/u",
    work: "/pods/one/overlay/w",
    label: "u:r:t",
    options: ["volatile"],
  });
  assertEquals(readLineConfig({ ...WEB, options: "ro,lowerdir=/a:/b" }, "/pods/one"), {
    lower: ["/a", "/b"],
    upper: null,
    work: null,
    label: null,
    options: [],
  });
});
