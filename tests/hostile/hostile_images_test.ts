/**
 * Images whose parts are not what they are said to be, or lie somewhere else.
 *
 * @module
 */
import {
  archive,
  archiveOfFiles,
  directory,
  file,
  gzip,
  hardlink,
  header,
  layoutFiles,
  savedFiles,
  symlink,
  writeFiles,
} from "../_archive.ts";
import type { Bytes, Changes, Files, Json, RawLayer } from "../_archive.ts";
import { testCase } from "../_hostile.ts";
import type { Case, Ending, Place } from "../_hostile.ts";

const ONE = archive(file("one", "first"));
const TWO = archive(directory("etc"), file("two", "second"));
const BOTH: RawLayer[] = [{ tar: ONE }, { tar: TWO }];
const OTHER = `sha256:${"0".repeat(64)}`;

function refused(says: string, code = "bad-image"): Ending {
  return { code, says };
}

/** The same image as a directory and as an archive must end in the same way. */
function layout(what: string, files: () => Files, ends: Ending): Case[] {
  return [
    {
      what: `a layout, in a directory, with ${what}`,
      source: ({ source }) => writeFiles(source, files()),
      ends,
    },
    { what: `a layout, in an archive, with ${what}`, source: () => archiveOfFiles(files()), ends },
  ];
}

function changed(what: string, changes: Changes, ends: Ending): Case[] {
  return layout(what, () => layoutFiles(BOTH, changes), ends);
}

/** A layout in a directory that is made, and then tampered with. */
function tampered(
  what: string,
  tamper: (place: Place, files: Files) => Promise<void>,
  ends: Ending,
): Case {
  const source = async (place: Place) => {
    const files = layoutFiles(BOTH);
    await writeFiles(place.source, files);
    await tamper(place, files);
  };
  return { what: `a layout with ${what}`, source, ends };
}

function saved(what: string, source: () => Uint8Array, ends: Ending): Case {
  return { what: `an archive of docker save with ${what}`, source, ends };
}

/** Files without one of them. */
function without(files: Files, name: RegExp): Files {
  return new Map([...files].filter(([path]) => !name.test(path)));
}

function withFile(files: Files, name: string, content: string): Files {
  return new Map([...files, [name, new TextEncoder().encode(content)]]);
}

function layersOf(manifest: Json, change: (layer: Json, at: number) => Json): Json {
  return { ...manifest, layers: (manifest.layers as Json[]).map(change) };
}

function firstOf(index: Json, change: Json): Json {
  return { ...index, manifests: (index.manifests as Json[]).map((one) => ({ ...one, ...change })) };
}

/** The tree of both layers, the highest first. */
const GOOD: Ending = {
  tree: ["d 755 0:0 .", "d 755 0:0 etc", "f 644 0:0 two = second"].concat([
    "d 755 0:0 .",
    "f 644 0:0 one = first",
  ]),
};

const EMPTY: Ending = { tree: ["d 755 0:0 ."] };

const LAYOUTS: Case[] = [
  ...layout("nothing wrong", () => layoutFiles(BOTH), GOOD),
  ...layout(
    "a second layer of another digest",
    () => layoutFiles([{ tar: ONE }, { tar: TWO, digest: OTHER }]),
    refused(`must be ${OTHER}`, "bad-digest"),
  ),
  ...layout(
    "a second layer of another diff id",
    () => layoutFiles([{ tar: ONE }, { tar: TWO, diffId: OTHER }]),
    refused(`and must be ${OTHER}`, "bad-digest"),
  ),
  ...layout(
    "a layer that is larger than it is said to be",
    () => layoutFiles([{ tar: ONE, size: 100 }]),
    refused("bytes, and must have 100"),
  ),
  ...layout(
    "a layer that is cut off",
    () => layoutFiles([{ tar: ONE, blob: gzip(ONE).subarray(0, 60) }]),
    refused("its gzip compression is damaged", "bad-archive"),
  ),
  ...layout(
    "a hostile second layer",
    () => layoutFiles([{ tar: ONE }, { tar: archive(file("../../canary/new")) }]),
    refused('holds "..", which leads out of the layer', "bad-archive"),
  ),
  ...layout(
    "no such layer",
    () => without(layoutFiles([{ tar: ONE, digest: OTHER }]), /0{64}/),
    refused(`its "blobs/sha256/${"0".repeat(64)}" is not there`),
  ),
  ...changed(
    "a layer's digest that leads elsewhere",
    {
      manifest: (manifest) => {
        return layersOf(manifest, (one) => ({ ...one, digest: "sha256:../../../canary/file" }));
      },
    },
    refused('its manifest\'s layers[0].digest is "sha256:../../../canary/file"'),
  ),
  ...changed(
    "an index that leads elsewhere",
    { index: (index) => firstOf(index, { digest: "../../canary:file" }) },
    refused('its index\'s manifests[0].digest is "../../canary:file", which is no digest'),
  ),
  ...changed(
    "a digest of an algorithm that nobody checks",
    { index: (index) => firstOf(index, { digest: "md5:d41d8cd98f00b204e9800998ecf8427e" }) },
    refused('is "md5:d41d8cd98f00b204e9800998ecf8427e", which is no digest'),
  ),
  ...changed(
    "a manifest of another size",
    { index: (index) => firstOf(index, { size: 7 }) },
    refused("bytes, and must have 7"),
  ),
  ...changed(
    "a size that is none",
    { index: (index) => firstOf(index, { size: -1 }) },
    refused("its index's manifests[0].size is no size"),
  ),
  ...changed(
    "a config of another digest",
    {
      manifest: (manifest) => {
        const { digest, size } = manifest.config as Json;
        const wrong = String(digest).replace(/.$/, (last) => last === "0" ? "1" : "0");
        return { ...manifest, config: { digest: wrong, size } };
      },
    },
    refused("is not there"),
  ),
  ...layout(
    "a config that was changed",
    () => {
      const files = layoutFiles(BOTH);
      const [name = "", config] = [...files].find(([, content]) => {
        return new TextDecoder().decode(content).includes("diff_ids");
      }) ?? [];
      return files.set(name, Uint8Array.from(config ?? [], (byte) => byte === 58 ? 59 : byte));
    },
    refused('has the digest "sha256:'),
  ),
  ...layout(
    "an index that is no JSON",
    () => withFile(layoutFiles(BOTH), "index.json", "{]"),
    refused('its "index.json" is no JSON'),
  ),
  ...layout(
    "an index that is not UTF-8",
    () => layoutFiles(BOTH).set("index.json", Uint8Array.of(0x22, 0xff, 0x22)),
    refused('its "index.json" is no JSON'),
  ),
  ...layout(
    "an index of 9 MB",
    () => layoutFiles(BOTH).set("index.json", new Uint8Array(9 << 20)),
    refused('its "index.json" has 9437184 bytes'),
  ),
  ...layout(
    "an index that is a number",
    () => withFile(layoutFiles(BOTH), "index.json", "7"),
    refused("its index.json is no object"),
  ),
  ...layout(
    "no image",
    () => withFile(layoutFiles(BOTH), "index.json", '{"manifests":[]}'),
    refused("it has no image"),
  ),
  ...changed(
    "layers that are no list",
    { manifest: (manifest) => ({ ...manifest, layers: { length: 1 } }) },
    refused("its manifest's layers is no list"),
  ),
  ...changed(
    "more layers than diff ids",
    { config: () => ({ rootfs: { diff_ids: [OTHER] } }) },
    refused("it has 2 layers, and its config lists 1"),
  ),
  ...changed(
    "a config without a root",
    { config: () => ({}) },
    refused("its config's rootfs is no object"),
  ),
  ...changed(
    "no layers",
    {
      manifest: (manifest) => ({ ...manifest, layers: [] }),
      config: () => ({ rootfs: { diff_ids: [] } }),
    },
    EMPTY,
  ),
  ...changed(
    "an encrypted layer",
    {
      manifest: (manifest) => {
        return layersOf(manifest, (one) => ({ ...one, mediaType: `${one.mediaType}+encrypted` }));
      },
    },
    refused("its manifest's layers[0] is encrypted"),
  ),
  ...changed(
    "a manifest that is said to be an index",
    {
      index: (index) => firstOf(index, { mediaType: "application/vnd.oci.image.index.v1+json" }),
    },
    refused("its index's manifests is no list"),
  ),
];

const DIRECTORIES: Case[] = [
  tampered(
    "a layer that is a symlink to the canary",
    async ({ canary, source }, files) => {
      const [name = ""] = [...files.keys()];
      await replaceBySymlink(`${source}/${name}`, `${canary}/file`);
    },
    refused("is a symlink"),
  ),
  tampered(
    "all blobs behind a symlink",
    async ({ source, store }) => {
      await Deno.rename(`${source}/blobs`, `${store}-blobs`);
      await Deno.symlink(`${store}-blobs`, `${source}/blobs`);
    },
    refused('its "blobs" is a symlink'),
  ),
  tampered(
    "blobs that are the canary",
    ({ canary, source }) => replaceBySymlink(`${source}/blobs/sha256`, canary),
    refused('its "blobs/sha256" is a symlink'),
  ),
  tampered(
    "an index that is a symlink to the canary",
    ({ canary, source }) => replaceBySymlink(`${source}/index.json`, `${canary}/file`),
    refused('its "index.json" is a symlink'),
  ),
  tampered(
    "an index that is a fifo",
    async ({ source }) => {
      await Deno.remove(`${source}/index.json`);
      await new Deno.Command("mkfifo", { args: [`${source}/index.json`] }).output();
    },
    refused('its "index.json" is neither a file nor a directory'),
  ),
  {
    what: "a root file system in a directory, with symlinks to the canary and devices",
    source: async ({ canary, source }) => {
      await writeFiles(source, new Map([["a", new TextEncoder().encode("mine")]]));
      await Deno.symlink(canary, `${source}/l`);
      await Deno.symlink("../canary", `${source}/.wh.l`);
      await new Deno.Command("mknod", { args: [`${source}/null`, "c", "0", "0"] }).output();
      await Deno.chmod(`${source}/a`, 0o4755);
    },
    ends: {
      tree: ({ canary }) => [
        "d 755 0:0 .",
        "l 777 0:0 .wh.l -> ../canary",
        "f 4755 0:0 a = mine",
        `l 777 0:0 l -> ${canary}`,
        "c 644 0:0 null 0,0",
      ],
    },
  },
];

async function replaceBySymlink(path: string, to: string): Promise<void> {
  await Deno.remove(path, { recursive: true });
  await Deno.symlink(to, path);
}

/** An archive in which the first layer is something else. */
function withLayer(...parts: Bytes[]): Uint8Array {
  return archiveOfFiles(without(savedFiles([{ tar: ONE }]), /^0\/layer/), ...parts);
}

function layersAre(...Layers: unknown[]): Changes {
  return { manifest: (manifest) => ({ ...manifest, Layers }) };
}

const FIRST: Ending = { tree: ["d 755 0:0 .", "f 644 0:0 one = first"] };

const SAVED: Case[] = [
  saved("nothing wrong", () => archiveOfFiles(savedFiles(BOTH)), GOOD),
  saved("compression around it", () => gzip(archiveOfFiles(savedFiles(BOTH))), GOOD),
  {
    what: "a layout, in an archive, with compression around it",
    source: () => gzip(archiveOfFiles(layoutFiles(BOTH))),
    ends: GOOD,
  },
  saved(
    "a layer ../canary",
    () => archiveOfFiles(savedFiles([{ tar: ONE }], layersAre("../canary/file"))),
    refused('the name "../canary/file" holds ".."', "bad-archive"),
  ),
  saved(
    "a layer of an absolute name",
    () => archiveOfFiles(savedFiles([{ tar: ONE }], layersAre("/canary/file"))),
    refused('its "/canary/file" is not there'),
  ),
  saved(
    "a layer that is no text",
    () => archiveOfFiles(savedFiles([{ tar: ONE }], layersAre(7))),
    refused("its manifest.json[0].Layers[0] is no text"),
  ),
  saved(
    "a symlink for a layer, to another place in it",
    () => withLayer(file("x/real.tar", ONE), symlink("0/layer.tar", "../x/real.tar")),
    FIRST,
  ),
  saved(
    "a symlink for a layer that leads out",
    () => withLayer(symlink("0/layer.tar", "../../canary/file")),
    refused('its "0/layer.tar" is not there'),
  ),
  saved(
    "an absolute symlink for a layer",
    () => withLayer(symlink("0/layer.tar", "/canary/file")),
    refused('its "0/layer.tar" is not there'),
  ),
  saved(
    "a hard link for a layer that leads out",
    () => withLayer(hardlink("0/layer.tar", "../canary/file")),
    refused('the name "../canary/file" holds ".."', "bad-archive"),
  ),
  saved(
    "symlinks that lead to each other",
    () => withLayer(symlink("0/layer.tar", "../x"), symlink("x", "0/layer.tar")),
    refused('its "0/layer.tar" is not there'),
  ),
  saved(
    "a layer of another diff id",
    () => archiveOfFiles(savedFiles([{ tar: ONE, diffId: OTHER }])),
    refused(`its diff id is sha256:`, "bad-digest"),
  ),
  saved(
    "a layer of which a later one takes the place",
    () => archiveOfFiles(savedFiles([{ tar: ONE }]), file("0/layer.tar", TWO)),
    refused(`its diff id is sha256:`, "bad-digest"),
  ),
  saved(
    "a config of another digest",
    () => {
      const files = savedFiles([{ tar: ONE }]);
      const name = [...files.keys()].find((path) => /^[0-9a-f]{64}\.json$/.test(path)) ?? "";
      return archiveOfFiles(withFile(files, name, '{"rootfs":{"diff_ids":[]}}'));
    },
    refused("has the digest sha256:"),
  ),
  saved(
    "a config ../canary",
    () => {
      const manifest = (was: Json) => ({ ...was, Config: "../canary/file" });
      return archiveOfFiles(savedFiles([{ tar: ONE }], { manifest }));
    },
    refused('the name "../canary/file" holds ".."', "bad-archive"),
  ),
  saved(
    "a manifest that is no list",
    () => archiveOfFiles(withFile(savedFiles([{ tar: ONE }]), "manifest.json", "{}")),
    refused("its manifest.json is no list"),
  ),
  saved(
    "a manifest that is garbage",
    () => archiveOfFiles(withFile(savedFiles([{ tar: ONE }]), "manifest.json", "\0\x1b[2J")),
    refused('its "manifest.json" is no JSON'),
  ),
  saved(
    "a manifest of nothing",
    () => archiveOfFiles(withFile(savedFiles([{ tar: ONE }]), "manifest.json", "[]")),
    refused("it has no image"),
  ),
  saved(
    "a layer that goes on after the archive",
    () => withLayer(header({ name: "0/layer.tar", size: 1 << 20 })),
    refused("it has 1024 bytes, and must have 1048576", "bad-digest"),
  ),
];

for (const one of [...LAYOUTS, ...DIRECTORIES, ...SAVED]) testCase(one);
