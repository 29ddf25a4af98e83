import { assertEquals } from "@std/assert";
import { parseChallenges } from "../../lib/registry/challenge.ts";

type Expected = readonly (readonly [scheme: string, parameters: Record<string, string>])[];

const CASES: readonly (readonly [header: string, challenges: Expected])[] = [
  ["", []],
  ["Basic", [["basic", {}]]],
  ['Basic realm="r"', [["basic", { realm: "r" }]]],
  // docker-registry escapes quotes of a realm.
  [
    'Basic realm="My Registry, the \\"best\\""',
    [["basic", { realm: 'My Registry, the "best"' }]],
  ],
  [
    'Bearer realm="https://a/token",service="s, t",scope="repository:a/b:pull,push"',
    [["bearer", {
      realm: "https://a/token",
      service: "s, t",
      scope: "repository:a/b:pull,push",
    }]],
  ],
  // Several headers of a response come as one.
  [
    'BEARER Realm="x" , error=insufficient_scope, basic realm="y"',
    [["bearer", { realm: "x", error: "insufficient_scope" }], ["basic", { realm: "y" }]],
  ],
  ["Negotiate, Basic realm=z", [["negotiate", {}], ["basic", { realm: "z" }]]],
  ["Negotiate YWJj==, Basic realm=z", [["negotiate", {}], ["basic", { realm: "z" }]]],
  [',, Basic realm = "a" ,,', [["basic", { realm: "a" }]]],
  ['Basic realm="a", realm="b"', [["basic", { realm: "a" }]]],
  ['Basic realm="open', [["basic", {}]]],
];

Deno.test("parseChallenges() reads each challenge with its parameters", () => {
  for (const [header, challenges] of CASES) {
    const found = parseChallenges(header).map(({ scheme, parameters }) => {
      return [scheme, Object.fromEntries(parameters)];
    });
    assertEquals(found, challenges.map((one) => [...one]), header);
  }
});

Deno.test("parseChallenges() takes time in proportion to a header, whatever it is", () => {
  for (const piece of ["a ", 'a="', "a=b,", ",", '"', "\\", "a=", " "]) {
    const found = parseChallenges(piece.repeat(100_000));
    assertEquals(Array.isArray(found), true);
  }
});
