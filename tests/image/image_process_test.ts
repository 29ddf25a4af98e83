import { assertEquals, assertThrows } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import { readImageProcess } from "../../lib/image/image_process.ts";

const NONE = { entrypoint: [], cmd: [], env: [], workdir: "", user: "" };

Deno.test("readImageProcess() reads what is there, and takes null for absent", {
  permissions: "none",
}, () => {
  const config = {
    Entrypoint: ["/init"],
    Cmd: ["a b"],
    Env: ["A=b=c"],
    WorkingDir: "/srv",
    User: "www",
  };
  assertEquals(readImageProcess(JSON.stringify({ config })), {
    entrypoint: ["/init"],
    cmd: ["a b"],
    env: ["A=b=c"],
    workdir: "/srv",
    user: "www",
  });
  const nulls = { Entrypoint: null, Cmd: null, Env: null, WorkingDir: null, User: null };
  for (const text of ["{}", '{"config":null}', JSON.stringify({ config: nulls })]) {
    assertEquals(readImageProcess(text), NONE);
  }
  assertEquals(readImageProcess(null), NONE);
});

Deno.test("readImageProcess() refuses other types", { permissions: "none" }, () => {
  const table = [
    "no JSON",
    '{"config":[]}',
    '{"config":"x"}',
    '{"config":{"Cmd":"x"}}',
    '{"config":{"Env":[1]}}',
    '{"config":{"User":1000}}',
    '{"config":{"Cmd":["a\\u0000b"]}}',
  ];
  for (const text of table) {
    const { code } = assertThrows(() => readImageProcess(text), OverlayError);
    assertEquals(code, "bad-image", text);
  }
});
