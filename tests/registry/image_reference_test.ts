import { assertEquals, assertThrows } from "@std/assert";
import { InvalidValueError } from "../../lib/core/errors.ts";
import {
  formatImageReference,
  hostOfRegistry,
  parseImageReference,
} from "../../lib/registry/image_reference.ts";

const HEX = "0123456789abcdef".repeat(4);

/** A reference, and the same in full. */
const GOOD: readonly (readonly [reference: string, full: string])[] = [
  ["debian", "docker.io/library/debian:latest"],
  ["debian:12", "docker.io/library/debian:12"],
  ["docker://debian:12", "docker.io/library/debian:12"],
  ["docker.io/debian", "docker.io/library/debian:latest"],
  ["index.docker.io/debian", "docker.io/library/debian:latest"],
  ["owner/name", "docker.io/owner/name:latest"],
  ["ghcr.io/owner/a/b:v1", "ghcr.io/owner/a/b:v1"],
  ["localhost/name", "localhost/name:latest"],
  ["localhost:5000/name:tag", "localhost:5000/name:tag"],
  ["registry:5000/name", "registry:5000/name:latest"],
  ["Registry/name", "Registry/name:latest"],
  ["[::1]:5000/name", "[::1]:5000/name:latest"],
  [`debian@sha256:${HEX}`, `docker.io/library/debian@sha256:${HEX}`],
  [`debian:12@sha256:${HEX}`, `docker.io/library/debian:12@sha256:${HEX}`],
  [`a/b@sha512:${HEX}${HEX}`, `docker.io/a/b@sha512:${HEX}${HEX}`],
  ["a__b/c-d.e--f:_x", "docker.io/a__b/c-d.e--f:_x"],
];

const BAD: readonly (readonly [reference: string, reason: string])[] = [
  ["", "cannot be a part"],
  ["Debian", "cannot be a part"],
  ["a//b", "cannot be a part"],
  ["a/../b", "cannot be a part"],
  ["a/b/", "cannot be a part"],
  ["ghcr.io/", "cannot be a part"],
  ["-a/b", "cannot be a part"],
  ["a.b-/c", "is no registry"],
  ["host:port/name", "is no registry"],
  ["name:", "is no tag"],
  [`name:${"x".repeat(129)}`, "is no tag"],
  ["name@sha256:12", "is no digest"],
  [`name@sha256:${HEX.toUpperCase()}`, "is no digest"],
  [`name@md5:${HEX}`, "is no digest"],
  [`name@sha256:${HEX}/../x`, "is no digest"],
  [HEX, "are the id of an image"],
  [`a/${"b".repeat(250)}`, "may have 255"],
  ["name\u0000", "cannot be a part"],
  ["na me", "cannot be a part"],
];

Deno.test("parseImageReference() reads what docker reads, in full", () => {
  for (const [reference, full] of GOOD) {
    assertEquals(formatImageReference(parseImageReference(reference)), full);
    // In full it means the same.
    assertEquals(formatImageReference(parseImageReference(full)), full);
  }
});

Deno.test("parseImageReference() refuses what is no reference, and quotes it", () => {
  for (const [reference, reason] of BAD) {
    const error = assertThrows(() => parseImageReference(reference), InvalidValueError, reason);
    assertEquals([error.code, error.exitStatus], ["bad-reference", 2], reference);
  }
});

Deno.test("hostOfRegistry() knows who speaks for Docker Hub", () => {
  assertEquals(hostOfRegistry("docker.io"), "registry-1.docker.io");
  assertEquals(hostOfRegistry("ghcr.io"), "ghcr.io");
});
