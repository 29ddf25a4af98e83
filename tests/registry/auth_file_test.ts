import { assertEquals } from "@std/assert";
import { credentialKeys, findCredentials } from "../../lib/registry/auth_file.ts";
import { parseImageReference } from "../../lib/registry/image_reference.ts";

const GHCR = "ghcr.io/owner/name";

function found(file: unknown, reference: string): unknown {
  const is = findCredentials(file, parseImageReference(reference));
  if (is?.kind !== "credentials") return is;
  const { username, password, identityToken, registryToken } = is.credentials;
  return [username, password, identityToken, registryToken].join("|");
}

const entry = (user: string) => ({ auth: btoa(user) });

const CASES: readonly (readonly [what: string, file: unknown, reference: string, is: unknown])[] = [
  ["an entry of the host", { auths: { "ghcr.io": entry("a:b") } }, GHCR, "a|b||"],
  ["a password with colons", { auths: { "ghcr.io": entry("a:b:c") } }, GHCR, "a|b:c||"],
  [
    "the most specific",
    {
      auths: { "ghcr.io": entry("a:b"), "ghcr.io/owner": entry("c:d"), [GHCR]: entry("e:f") },
    },
    GHCR,
    "e|f||",
  ],
  ["not that of another", { auths: { "ghcr.io/other": entry("c:d") } }, GHCR, null],
  ["not that of a longer name", { auths: { "ghcr.io/own": entry("c:d") } }, GHCR, null],
  ["a key with a scheme", { auths: { "https://ghcr.io/v2/": entry("a:b") } }, GHCR, "a|b||"],
  ["Docker Hub", { auths: { "https://index.docker.io/v1/": entry("a:b") } }, "debian", "a|b||"],
  ["user and password", { auths: { "ghcr.io": { username: "a", password: "b" } } }, GHCR, "a|b||"],
  ["an identity token", { auths: { "ghcr.io": { identitytoken: "t" } } }, GHCR, "||t|"],
  ["a registry token", { auths: { "ghcr.io": { registrytoken: "t" } } }, GHCR, "|||t"],
  ["an empty entry without a helper", { auths: { "ghcr.io": {} } }, GHCR, null],
  ["an empty entry with a helper", { auths: { "ghcr.io": {} }, credsStore: "pass" }, GHCR, {
    kind: "helper",
    helper: "pass",
    server: "ghcr.io",
  }],
  [
    "the helper of the host",
    {
      auths: { "ghcr.io": entry("a:b") },
      credHelpers: { "ghcr.io": "gh" },
      credsStore: "pass",
    },
    GHCR,
    { kind: "helper", helper: "gh", server: "ghcr.io" },
  ],
  ["the helper for Docker Hub", { credsStore: "pass" }, "debian", {
    kind: "helper",
    helper: "pass",
    server: "https://index.docker.io/v1/",
  }],
  ["nonsense", { auths: { "ghcr.io": { auth: "%%%" } } }, GHCR, null],
  ["no object", [], GHCR, null],
  ["null", null, GHCR, null],
];

for (const [what, file, reference, is] of CASES) {
  Deno.test(`findCredentials() finds ${what}`, () => assertEquals(found(file, reference), is));
}

Deno.test("credentialKeys() begin with the whole name", () => {
  assertEquals(credentialKeys(parseImageReference(GHCR)), [GHCR, "ghcr.io/owner", "ghcr.io"]);
});
