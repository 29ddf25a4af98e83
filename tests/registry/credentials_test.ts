import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { MissingPermissionError, OverlayError } from "../../lib/core/errors.ts";
import { authFiles, lookUpCredentials } from "../../lib/registry/credentials.ts";
import { parseImageReference } from "../../lib/registry/image_reference.ts";
import { isRealRoot } from "../_privilege.ts";
import { sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

const REFERENCE = parseImageReference("ghcr.io/owner/name");

async function authFile(dir: TempDir, content: unknown): Promise<string> {
  const path = dir.join("auth.json");
  await Deno.writeTextFile(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

Deno.test("lookUpCredentials() takes the first file that has some, and none where there is none", async () => {
  await using dir = await tempDir();
  const path = await authFile(dir, { auths: { "ghcr.io": { auth: btoa("ruth:secret") } } });
  const found = await lookUpCredentials(REFERENCE, [dir.join("none"), dir.path, path]);
  assertEquals([found?.username, found?.password], ["ruth", "secret"]);
  assertEquals(await lookUpCredentials(REFERENCE, [dir.join("none")]), null);
});

Deno.test("lookUpCredentials() quotes nothing of a file that is no JSON", async () => {
  await using dir = await tempDir();
  const path = await authFile(dir, '{"auths": "secret');
  const error = await assertRejects(() => lookUpCredentials(REFERENCE, [path]), OverlayError);
  assertStringIncludes(error.message, "it is no JSON");
  assertEquals(error.message.includes("secret"), false);
});

Deno.test("lookUpCredentials() takes no helper by a path", async () => {
  await using dir = await tempDir();
  const path = await authFile(dir, { credsStore: "../../tmp/evil" });
  await assertRejects(() => lookUpCredentials(REFERENCE, [path]), OverlayError, "is no name");
});

Deno.test({
  name: "lookUpCredentials() may not run a helper without permission, and names the flag",
  permissions: { read: true, write: true, run: false },
  async fn(): Promise<void> {
    const path = await Deno.makeTempFile();
    try {
      await Deno.writeTextFile(path, JSON.stringify({ credsStore: "pass" }));
      const error = await assertRejects(
        () => lookUpCredentials(REFERENCE, [path]),
        MissingPermissionError,
      );
      assertEquals(error.flags, ["--allow-run=/usr/bin/docker-credential-pass"]);
    } finally {
      await Deno.remove(path);
    }
  },
});

/** Helpers by what they do. */
const HELPERS = {
  user: `read -r server; printf '{"Username":"%s","Secret":"s"}' "$server"`,
  token: `printf '{"Username":"<token>","Secret":"refresh"}'`,
  none: "echo credentials not found in native keychain; exit 1",
  broken: "echo no keychain; exit 1",
};

Deno.test({
  name: `lookUpCredentials() asks a helper${isRealRoot ? "" : " [skipped: needs root]"}`,
  ignore: !isRealRoot,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const bin = "/usr/local/bin";
    // The tests have a mount namespace of their own.
    await sh("mount", "-t", "tmpfs", "tmpfs", bin);
    try {
      const ask = async (name: keyof typeof HELPERS) => {
        const program = `${bin}/docker-credential-${name}`;
        await Deno.writeTextFile(program, `#!/bin/sh\n${HELPERS[name]}\n`);
        await Deno.chmod(program, 0o755);
        return await lookUpCredentials(REFERENCE, [await authFile(dir, { credsStore: name })]);
      };
      const user = await ask("user");
      assertEquals([user?.username, user?.password], ["ghcr.io", "s"]);
      assertEquals((await ask("token"))?.identityToken, "refresh");
      assertEquals(await ask("none"), null);
      const error = await assertRejects(() => ask("broken"), OverlayError, "gives none");
      assertStringIncludes(error.message, "no keychain");
    } finally {
      await sh("umount", bin);
    }
  },
});

Deno.test("authFiles() is the one that is named, or those that the environment leads to", () => {
  assertEquals(authFiles("/given"), ["/given"]);
  const names = [
    "REGISTRY_AUTH_FILE",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "DOCKER_CONFIG",
    "HOME",
  ];
  const before = names.map((name) => [name, Deno.env.get(name)] as const);
  try {
    for (const name of names) Deno.env.delete(name);
    assertEquals(authFiles(), []);
    Deno.env.set("HOME", "/h");
    Deno.env.set("XDG_RUNTIME_DIR", "/run/u");
    assertEquals(authFiles(), [
      "/run/u/containers/auth.json",
      "/h/.config/containers/auth.json",
      "/h/.docker/config.json",
    ]);
    Deno.env.set("XDG_CONFIG_HOME", "/c");
    Deno.env.set("DOCKER_CONFIG", "/d");
    assertEquals(authFiles().slice(1), ["/c/containers/auth.json", "/d/config.json"]);
    Deno.env.set("REGISTRY_AUTH_FILE", "/r");
    assertEquals(authFiles(), ["/r"]);
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
});
