/**
 * Images as their writers make them: each shape is taken, or what is not supported of it is named.
 *
 * @module
 */
import { archive, archiveOfFiles, digestOf, directory, file, gzip } from "../_archive.ts";
import { layoutFiles, savedFiles, writeFiles } from "../_archive.ts";
import type { Changes, Files, Json, RawLayer } from "../_archive.ts";
import { testCase } from "../_hostile.ts";
import type { Case, Ending } from "../_hostile.ts";
import { sh } from "../_temp.ts";

const ONE = archive(file("one", "first"));
const TWO = archive(directory("etc"), file("two", "second"));
const BOTH: RawLayer[] = [{ tar: ONE }, { tar: TWO }];
const TREE = ["d 755 0:0 .", "d 755 0:0 etc", "f 644 0:0 two = second"].concat([
  "d 755 0:0 .",
  "f 644 0:0 one = first",
]);
const GOOD: Ending = { tree: TREE };
const EMPTY: Ending = { tree: ["d 755 0:0 ."] };

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

function refused(says: string, code = "bad-image"): Ending {
  return { code, says };
}

/** The same files in a directory and in an archive. */
function both(what: string, files: () => Files, ends: Ending): Case[] {
  return [
    { what: `${what}, in a directory`, source: ({ source }) => writeFiles(source, files()), ends },
    { what: `${what}, in an archive`, source: () => archiveOfFiles(files()), ends },
  ];
}

function changed(what: string, changes: Changes, ends: Ending = GOOD): Case[] {
  return both(`a layout with ${what}`, () => layoutFiles(BOTH, changes), ends);
}

function merged(...all: Files[]): Files {
  return new Map(all.flatMap((files) => [...files]));
}

function without(files: Files, name: RegExp): Files {
  return new Map([...files].filter(([path]) => !name.test(path)));
}

/** What docker 25 to 28 write: a layout and, beside it, what versions before them wrote. */
function dockerFiles(changes: Changes): Files {
  return merged(savedFiles(BOTH), layoutFiles(BOTH, changes));
}

/** An image as skopeo writes it into a directory, `dir:`. */
function copyFiles(changes: Changes = {}): Files {
  const layout = layoutFiles(BOTH, changes);
  const { manifests } = JSON.parse(new TextDecoder().decode(layout.get("index.json")));
  const hex = String(manifests[0].digest).slice("sha256:".length);
  const files: Files = new Map([["version", new TextEncoder().encode("Directory Transport")]]);
  for (const [path, content] of layout) {
    const [, name] = /^blobs\/sha256\/(.*)$/.exec(path) ?? [];
    if (name !== undefined) files.set(name === hex ? "manifest.json" : name, content);
  }
  return files;
}

/** The same for several platforms: an index, and a manifest of each. */
function listFiles(): Files {
  const files = copyFiles();
  const manifest = files.get("manifest.json") ?? new Uint8Array();
  const digest = digestOf(manifest);
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const other = { mediaType, digest: `sha256:${"0".repeat(64)}`, size: 7 };
  const manifests = [
    { ...other, platform: { os: "linux", architecture: "s390x" } },
    { mediaType, digest, size: manifest.length, platform: { os: "linux", architecture: "amd64" } },
  ];
  files.set(`${digest.slice("sha256:".length)}.manifest.json`, manifest);
  return files.set("manifest.json", json({ schemaVersion: 2, manifests }));
}

/** Layers with further fields, or without some. */
function layersOf(change: (layer: Json) => Json): Changes {
  return {
    manifest: (manifest) => ({ ...manifest, layers: (manifest.layers as Json[]).map(change) }),
  };
}

function manifestsOf(change: (one: Json) => unknown[]): Changes {
  return {
    index: (index) => ({ ...index, manifests: (index.manifests as Json[]).flatMap(change) }),
  };
}

const ATTESTATION: Json = {
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  digest: `sha256:${"a".repeat(64)}`,
  size: 100,
};

const LAYOUTS: Case[] = [
  ...both("a layout without oci-layout", () => without(layoutFiles(BOTH), /^oci-layout$/), GOOD),
  ...both(
    "a layout without index.json",
    () => without(layoutFiles(BOTH), /^index/),
    refused('its "index.json" is not there'),
  ),
  ...changed("null for what may be left out", {
    index: (index) => ({
      ...index,
      annotations: null,
      manifests: (index.manifests as Json[]).map((one) => {
        return { ...one, annotations: null, platform: null, urls: null };
      }),
    }),
    manifest: (manifest) => ({ ...manifest, annotations: null, subject: null }),
    config: (config) => ({ ...config, config: null, history: null }),
  }),
  ...changed("an empty platform", manifestsOf((one) => [{ ...one, platform: {} }])),
  ...changed("descriptors without types", {
    ...layersOf(({ mediaType: _, ...layer }) => layer),
    ...manifestsOf(({ mediaType: _, ...one }) => [one]),
  }),
  ...changed("a layer of docker's type", {
    ...layersOf((layer) => {
      return { ...layer, mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip" };
    }),
  }),
  ...changed(
    "attestations of buildx beside the image",
    manifestsOf((one) => [
      { ...ATTESTATION, platform: { os: "unknown", architecture: "unknown" } },
      { ...ATTESTATION, annotations: { "vnd.docker.reference.type": "attestation-manifest" } },
      { ...one, platform: { os: "linux", architecture: "amd64" } },
    ]),
  ),
  ...changed("nothing in its index", { index: () => ({ schemaVersion: 2, manifests: null }) }, {
    ...refused("it has no image"),
  }),
  ...both(
    "an image without layers",
    () => layoutFiles([], { config: (was) => ({ ...was, rootfs: null }) }),
    EMPTY,
  ),
  ...both(
    "an image whose layers are null",
    () => layoutFiles([], { manifest: (was) => ({ ...was, layers: null }) }),
    EMPTY,
  ),
  ...both(
    "a layer of 0 bytes",
    () => layoutFiles([{ tar: new Uint8Array(), blob: new Uint8Array() }, { tar: ONE }]),
    { tree: ["d 755 0:0 .", "f 644 0:0 one = first", "d 755 0:0 ."] },
  ),
  ...both(
    "a layer that is 0 bytes when it is decompressed",
    () => layoutFiles([{ tar: new Uint8Array() }, { tar: ONE }]),
    { tree: ["d 755 0:0 .", "f 644 0:0 one = first", "d 755 0:0 ."] },
  ),
  ...both(
    "an artifact that is no image",
    () =>
      layoutFiles(BOTH, {
        manifest: (was) => ({
          ...was,
          artifactType: "application/vnd.cncf.helm.chart",
          config: { ...was.config as Json, mediaType: "application/vnd.cncf.helm.config.v1+json" },
        }),
      }),
    refused('it is no image, but an artifact of the type "application/vnd.cncf.helm.config'),
  ),
  ...changed(
    "layers that are documents",
    layersOf((layer) => ({ ...layer, mediaType: "application/vnd.in-toto+json" })),
    refused('an artifact of the type "application/vnd.in-toto+json"'),
  ),
  ...changed(
    "a manifest of schema 1",
    { manifest: () => ({ schemaVersion: 1, fsLayers: [], history: [] }) },
    refused("its manifest is of schema 1"),
  ),
  ...changed(
    "a document that is an index and a manifest",
    { manifest: (manifest) => ({ ...manifest, manifests: [] }) },
    refused("is an index and a manifest at once"),
  ),
  ...both(
    "a layout with a foreign layer that is not in it",
    () => {
      const mediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
      const files = layoutFiles(BOTH, layersOf((layer) => ({ ...layer, mediaType })));
      return without(files, new RegExp(digestOf(gzip(ONE)).slice("sha256:".length)));
    },
    refused("its manifest's layers[0] is a foreign layer"),
  ),
  ...both(
    "a layout of a layer that is compressed by bzip2",
    () => layoutFiles([{ tar: ONE, blob: new TextEncoder().encode("BZh91AY&SY") }]),
    refused("it is compressed by bzip2, which is not supported", "bad-archive"),
  ),
];

/** A layout whose blobs lie behind symlinks. */
function linked(what: string, link: string, ends: Ending): Case {
  const source = async ({ source }: { readonly source: string }) => {
    await writeFiles(source, layoutFiles(BOTH));
    await sh("sh", "-c", `cd "$0" && ${link}`, source);
  };
  return { what: `a layout ${what}`, source, ends };
}

const LINKED: Case[] = [
  linked(
    "whose blobs are symlinks inside of it",
    `mkdir cas && for f in blobs/sha256/*; do mv $f cas/ && ln -s ../../cas/\${f##*/} $f; done`,
    GOOD,
  ),
  linked("whose blobs are behind a symlink", "mv blobs real && ln -s real/../real blobs", GOOD),
  linked(
    "whose blobs are symlinks that lead out of it",
    `mkdir ../cas && for f in blobs/sha256/*; do mv $f ../cas/ && ln -s ../../../cas/\${f##*/} $f; done`,
    refused("is a symlink that leads out of it"),
  ),
  linked(
    "whose blobs are symlinks to themselves",
    `for f in blobs/sha256/*; do ln -sf \${f##*/} $f; done`,
    refused("is a symlink to itself"),
  ),
];

const DOCKER: Case[] = [
  ...both("what docker 25 saves", () => dockerFiles({}), GOOD),
  ...both(
    "what docker 25 saves, with null for its manifests",
    () => dockerFiles({ index: (index) => ({ ...index, manifests: null }) }),
    GOOD,
  ),
  ...both(
    "what docker 25 saves, with null for its layers",
    () => dockerFiles({ manifest: (manifest) => ({ ...manifest, layers: null }) }),
    GOOD,
  ),
  ...both("what docker 20 saves", () => savedFiles(BOTH), GOOD),
  ...both(
    "what docker saves of an image without a name",
    () => savedFiles(BOTH, { manifest: (was) => ({ ...was, RepoTags: null }) }),
    GOOD,
  ),
  ...both("what docker saves of an image without layers", () => {
    return savedFiles([], { manifest: (was) => ({ ...was, Layers: null }) });
  }, EMPTY),
  ...both("what go-containerregistry saves", () => {
    const saved = savedFiles(BOTH.map(({ tar }) => ({ tar, blob: gzip(tar) })));
    const [[name = "", config] = []] = [...saved].filter(([path]) => /^[0-9a-f]{64}/.test(path));
    const Config = `sha256:${name.replace(".json", "")}`;
    const layers = [["0/layer.tar", "0.tar.gz"], ["1/layer.tar", "1.tar.gz"]] as const;
    const files: Files = new Map(layers.map(([was, is]) => [is, saved.get(was) ?? config ?? ONE]));
    files.set(Config, config ?? ONE);
    const manifest = [{ Config, RepoTags: ["a:b"], Layers: layers.map(([, is]) => is) }];
    return files.set("manifest.json", json(manifest));
  }, GOOD),
  ...both("what jib saves", () => {
    const files = savedFiles(BOTH, { manifest: (was) => ({ ...was, Config: "config.json" }) });
    const [config] = [...files].find(([path]) => /^[0-9a-f]{64}/.test(path)) ?? [""];
    return files.set("config.json", files.get(config) ?? ONE);
  }, GOOD),
  ...both("what docker before 1.10 saved", () => {
    const id = "c".repeat(64);
    return new Map([
      [`${id}/VERSION`, json("1.0")],
      [`${id}/json`, json({ id })],
      [`${id}/layer.tar`, ONE],
      ["repositories", json({ old: { latest: id } })],
    ]);
  }, refused("it was saved by a docker before 1.10")),
  ...both(
    "what docker saves, without its second layer",
    () => without(savedFiles(BOTH), /^1\//),
    refused('its "1/layer.tar" is not there'),
  ),
  ...both("what skopeo copies to a directory", () => copyFiles(), GOOD),
  ...both("what skopeo copies to a directory, for all platforms", listFiles, GOOD),
  ...both(
    "what skopeo copies to a directory, without a layer",
    () => without(copyFiles(), new RegExp(digestOf(gzip(TWO)).slice("sha256:".length))),
    refused("is not there"),
  ),
];

/** A root file system that has files with the names of those of images. */
const OTHERS: Case[] = [
  {
    what: "a root file system with a manifest.json of something else",
    source: ({ source }) => {
      const text = (content: string) => new TextEncoder().encode(content);
      return writeFiles(
        source,
        new Map([
          ["manifest.json", text("{}")],
          ["index.json", text("[]")],
          ["repositories", text("x")],
        ]),
      );
    },
    ends: {
      tree: [
        "d 755 0:0 .",
        "f 644 0:0 index.json = []",
        "f 644 0:0 manifest.json = {}",
        "f 644 0:0 repositories = x",
      ],
    },
  },
];

const ROOT = archive(file("one", "first"));
const FIRST = { tree: ["d 755 0:0 .", "f 644 0:0 one = first"] };

function script(what: string, command: string, ends: Ending): Case {
  const source = async ({ source }: { readonly source: string }) => {
    await Deno.writeFile(`${source}.tar`, ROOT);
    await sh("sh", "-c", command, source);
    await Deno.remove(`${source}.tar`);
  };
  return { what, source, ends };
}

const skippable = String.raw`printf '\120\052\115\030\004\000\000\000abcd'`;

const COMPRESSED: Case[] = [
  script(
    "an archive of several gzip members",
    `(head -c 100 "$0.tar" | gzip; tail -c +101 "$0.tar" | gzip) >"$0"`,
    FIRST,
  ),
  script(
    "an archive of several zstd frames",
    `(head -c 100 "$0.tar" | zstd -q; tail -c +101 "$0.tar" | zstd -q) >"$0"`,
    FIRST,
  ),
  script(
    "an archive of several xz streams",
    `(head -c 100 "$0.tar" | xz; tail -c +101 "$0.tar" | xz) >"$0"`,
    FIRST,
  ),
  script(
    "an archive that begins with a frame to be skipped, as of pzstd",
    `(${skippable}; zstd -q <"$0.tar") >"$0"`,
    FIRST,
  ),
  script(
    "an archive that ends with a frame to be skipped",
    `(zstd -q <"$0.tar"; ${skippable}) >"$0"`,
    FIRST,
  ),
  script(
    "an archive of bzip2",
    `printf 'BZh91AY' >"$0"`,
    refused("it is compressed by bzip2, which is not supported"),
  ),
  script(
    "an archive of lz4",
    String.raw`printf '\004\042\115\030dd' >"$0"`,
    refused("it is compressed by lz4"),
  ),
  script(
    "a zip archive",
    String.raw`printf 'PK\003\004' >"$0"`,
    refused("it is a zip archive, which"),
  ),
  script("a squashfs", `printf hsqs >"$0"`, refused("it is a squashfs file system")),
  script(
    "an ext4",
    String
      .raw`truncate -s 4096 "$0"; printf '\123\357' | dd of="$0" bs=1 seek=1080 conv=notrunc status=none`,
    refused("it is an ext4 file system"),
  ),
];

/** JSON that is nested so deep that to write it down with indents would take a hundred times its bytes. */
function nested(depth: number): (config: Json) => unknown {
  let value: unknown = {};
  for (let at = 0; at < depth; at++) value = [value];
  return (config) => ({ ...config, config: { Labels: value } });
}

function many(count: number): RawLayer[] {
  return Array.from({ length: count }, () => ({ tar: ONE }));
}

const sized = (what: string, layers: RawLayer[], flags: string[], ends: Ending): Case => {
  return { what, source: () => archiveOfFiles(layoutFiles(layers)), flags, ends };
};

const different = ["a", "b", "c", "d"].map((name) => ({ tar: archive(file(name, "12345")) }));
const TOGETHER = "together";

const LIMITS: Case[] = [
  ...changed("a config that is nested 180 times", { config: nested(180) }),
  ...changed(
    "a config that is nested 3000 times",
    { config: nested(3000) },
    refused("is nested too deeply"),
  ),
  ...changed(
    "a config of 5 MB",
    { config: (was) => ({ ...was, config: { Labels: { a: "x".repeat(5_000_000) } } }) },
    refused("has 5000254 bytes"),
  ),
  ...changed("brackets and escapes in its texts", {
    config: (was) => ({
      ...was,
      config: { Labels: { a: `${"[{".repeat(500)}\\"${'"\\'.repeat(500)}` } },
    }),
  }),
  ...both(
    "an index of quotes that never end",
    () => {
      const text = `"${'\\"'.repeat(2_000_000)}`;
      return layoutFiles(BOTH).set("index.json", new TextEncoder().encode(text));
    },
    refused('its "index.json" is no JSON'),
  ),
  ...both("an image of 501 layers", () => layoutFiles(many(501)), refused("it has 501 layers")),
  sized("layers that have less than the limit", different, ["--max-size=20"], {
    tree: ["d", "c", "b", "a"].flatMap((name) => ["d 755 0:0 .", `f 644 0:0 ${name} = 12345`]),
  }),
  sized(
    "layers that have more bytes than the limit",
    different,
    ["--max-size=19"],
    refused(`its layers have more than 19 bytes ${TOGETHER}`, "too-large"),
  ),
  sized(
    "layers that have more entries than the limit",
    different,
    ["--max-entries=3"],
    refused(`its layers have more than 3 entries ${TOGETHER}`, "too-large"),
  ),
  sized(
    "the same layer 300 times, within the limits of one",
    many(300),
    ["--max-entries=1"],
    FIRST,
  ),
];

/** A layer that names no directory: what it is like depends on what lies below. */
const DEPENDENT = archive(file("etc/x", "x"), file(".wh.one", ""));

const FITTED = ["d 755 0:0 .", "d 755 0:0 etc", "f 644 0:0 etc/x = x"];

const REPEATED: Case[] = [
  {
    what: "a layer that depends on those below it, 100 times",
    source: () => {
      const layers = [{ tar: TWO }, ...Array.from({ length: 100 }, () => ({ tar: DEPENDENT }))];
      return archiveOfFiles(layoutFiles(layers));
    },
    flags: ["--max-entries=4"],
    ends: {
      tree: FITTED.concat([
        "d 755 0:0 .",
        "d 755 0:0 etc",
        "f 644 0:0 two = second",
      ]),
    },
  },
  {
    what: "a layer that depends on those below it, between others",
    source: () => {
      const layers = [{ tar: ONE }, { tar: DEPENDENT }, { tar: TWO }, { tar: ONE }];
      return archiveOfFiles(layoutFiles([...layers, { tar: DEPENDENT }]));
    },
    ends: {
      // Top first; the lower one of two that are the same is not needed.
      tree: [
        [...FITTED, "c 0 0:0 one 0,0"],
        FIRST.tree,
        ["d 755 0:0 .", "d 755 0:0 etc", "f 644 0:0 two = second"],
        [...FITTED, "c 0 0:0 one 0,0"],
      ].flat(),
    },
  },
];

for (
  const one of [
    ...LAYOUTS,
    ...LINKED,
    ...DOCKER,
    ...OTHERS,
    ...COMPRESSED,
    ...LIMITS,
    ...REPEATED,
  ]
) testCase(one);
