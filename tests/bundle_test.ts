import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { bundle, compileAhead, importAhead } from "../tools/bundle.ts";
import { tempDir } from "./_temp.ts";

Deno.test("importAhead() turns imports that are made later into imports at the top", () => {
  const source = [
    "#!/usr/bin/env deno",
    'const { a } = await import("./a.ts");',
    "const b = (await import(",
    '  "./b.ts"',
    ")).b;",
    'const { default: c } = await import("./c.json", { with: { type: "json" } });',
    "",
  ].join("\n");
  assertEquals(importAhead(source).split("\n"), [
    "#!/usr/bin/env deno",
    "const { a } = ahead0;",
    "const b = (ahead1).b;",
    "const { default: c } = { default: ahead2 };",
    "",
    'import * as ahead0 from "./a.ts";',
    'import * as ahead1 from "./b.ts";',
    'import ahead2 from "./c.json" with { type: "json" };',
    "",
  ]);
});

Deno.test("compileAhead() puts the functions of the modules that are wanted in parentheses", () => {
  const code = [
    "// lib/a.ts",
    "function a(x) {",
    "  if (x) {",
    "  }",
    "}",
    "// lib/b.ts",
    "async function b() {",
    "}",
    "// lib/c.ts",
    "async function c() {",
    "}",
  ].join("\n");
  assertEquals(compileAhead(code, (module) => module !== "lib/b.ts").split("\n"), [
    "// lib/a.ts",
    "var a = (function a(x) {",
    "  if (x) {",
    "  }",
    "});",
    "// lib/b.ts",
    "async function b() {",
    "}",
    "// lib/c.ts",
    "var c = (async function c() {",
    "});",
  ]);
});

Deno.test("bundle() makes one script that loads nothing later, compiled ahead where a render needs it", async () => {
  await using dir = await tempDir();
  await bundle(dir.join("script.js"));
  const code = await Deno.readTextFile(dir.join("script.js"));
  assert(code.startsWith("#!/usr/bin/env -S deno run --no-prompt "));
  // What Deno has built in is loaded by what needs it.
  const imports = [...code.matchAll(/(?<!")\bimport\b\s*([({*]|"[^"\n]+";).{0,20}/g)].map((
    [text],
  ) => text);
  for (const text of imports) assert(/^import\("node:\w+"\)/.test(text), text);
  assertStringIncludes(code, "var planRender = (function planRender(");
  assertStringIncludes(code, "\nfunction helpText(");
  assert(!code.includes("overlay-render-bundle-"), "it names the directory it was made in");
});
