/**
 * The examples of a document, and a machine to run them on: a mount namespace in which `/srv`, `/var/lib` and
 * `/usr/local/bin` are those of the examples, so that each line runs as it is printed.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import { commandLine } from "./_cli.ts";
import { makeLayout } from "./_image.ts";
import { sh } from "./_temp.ts";
import type { TempDir } from "./_temp.ts";

const ROOT = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

/** A fenced block of a document. */
export interface Fence {
  /** The word after the fence. */
  readonly language: string;
  readonly text: string;
}

/** The fenced blocks of a document, in its order. */
export function fencesOf(markdown: string): Fence[] {
  return [...markdown.matchAll(/^ *```(\w*(?: ignore)?)\n(.*?)^ *```$/gms)]
    .map(([, language = "", text = ""]) => ({ language, text }));
}

/** A command, and what it must print; `null` where the document does not show it. */
interface Example {
  readonly command: string;
  readonly output: string | null;
}

/**
 * The commands of a block: those after a prompt, a whole script, those that a unit of systemd starts, or a program
 * that needs the images of the scene.
 */
function commandsOf({ language, text }: Fence): Example[] {
  if (language === "ts ignore") {
    return [{ command: `deno run --quiet --allow-all - <<'CODE'\n${text}CODE`, output: "" }];
  }
  if (language === "sh") return [{ command: `sh -eu <<'SCRIPT'\n${text}SCRIPT`, output: null }];
  if (language === "ini") {
    return [...text.matchAll(/^Exec\w+=(.*)$/gm)].map(([, command = ""]) => {
      return { command, output: null };
    });
  }
  return text.split(/^\$ /m).slice(1).map((part) => {
    const lines = part.split("\n");
    const more = lines.slice(1).findIndex((line) => !line.startsWith("> "));
    const command = [lines[0], ...lines.slice(1, 1 + more).map((line) => line.slice(2))];
    return { command: command.join("\n"), output: lines.slice(1 + more).join("\n") };
  });
}

/** Where the examples run, and the script that makes it. */
export interface Scene {
  readonly directory: string;
}

async function makeProgram(path: string, script: string): Promise<void> {
  await Deno.writeTextFile(path, `#!/bin/sh\n${script}\n`);
  await Deno.chmod(path, 0o755);
}

function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word}'`).join(" ");
}

/** A root file system with a shell, made of the programs of this machine. */
const MAKE_ROOT = `
  mkdir -p "$1/etc" "$1/proc" "$1/dev" "$1/tmp" "$1/bin"
  for program in sh cat ls mkdir rm; do
    path=$(readlink -f "$(command -v "$program")")
    for file in $(ldd "$path" | grep -o '/[^ ]*'); do
      mkdir -p "$1/\${file%/*}"
      cp -L "$file" "$1/$file"
    done
    cp "$path" "$1/bin/$program"
  done
  echo "Debian 12" > "$1/etc/issue"
  : > "$1/etc/resolv.conf"`;

/** An archive as `docker save` writes it. */
const MAKE_SAVED = `
  tar -C "$1/root" -cf "$1/layer.tar" .
  id=$(sha256sum < "$1/layer.tar")
  printf '{"architecture":"%s","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \\
    "$2" "\${id%% *}" > "$1/config.json"
  echo '[{"Config":"config.json","RepoTags":["debian:12"],"Layers":["layer.tar"]}]' > "$1/manifest.json"
  tar -C "$1" -cf "$1/saved.tar" manifest.json config.json layer.tar`;

/**
 * Makes what the examples start from: two directories as lowers, an image for the programs that hand images
 * out, and those programs.
 */
export async function makeScene(temp: TempDir): Promise<Scene> {
  const directory = temp.path;
  const architecture = Deno.build.arch === "aarch64" ? "arm64" : "amd64";
  await sh("sh", "-euc", MAKE_ROOT, "sh", temp.join("root"));
  await sh("sh", "-euc", MAKE_SAVED, "sh", directory, architecture);
  await makeLayout(temp.join("layout"), [await Deno.readFile(temp.join("layer.tar"))], "debian");
  await Deno.mkdir(temp.join("bin"));
  await makeProgram(temp.join("bin/deno"), `exec ${quoted([Deno.execPath()])} "$@"`);
  await makeProgram(temp.join("bin/overlay-render"), `exec ${quoted(commandLine([]))} "$@"`);
  await makeProgram(temp.join("bin/docker"), `exec cat ${directory}/saved.tar`);
  await makeProgram(
    temp.join("bin/skopeo"),
    `to=\${3#oci:}; cp -R ${directory}/layout "\${to%:*}"`,
  );
  return { directory };
}

/** Makes the directories of the examples in a mount namespace, and runs a script in the clone. */
const ENTER = `
  mount -t tmpfs -o mode=755 tmpfs /srv
  mount -t tmpfs -o mode=755 tmpfs /var/lib
  mount --bind "$1/bin" /usr/local/bin
  mkdir -p /srv/images/web /srv/images/mine /srv/pods /srv/.upper /srv/.work /srv/overlay-render
  cp -R "$1/root" /srv/images/debian
  cp "$1/layer.tar" /srv/images/debian.tar
  echo hello > /srv/images/mine/motd
  mount -t overlay -o "lowerdir=$2,upperdir=/srv/.upper,workdir=/srv/.work" overlay /srv/overlay-render
  cd /srv/overlay-render
  exec sh "$1/script"`;

/** In the output, an ellipsis stands for any text, and the columns of a table may be wider. */
function pattern(output: string): RegExp {
  const parts = output.split("…").map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join("[^]*?").replaceAll(/ {2,}/g, " {2,}")}$`);
}

/** The answer of a command of a document. */
export interface Answered extends Example {
  /** All that it printed, as on a terminal. */
  readonly printed: string;
  readonly status: string;
}

/** Runs the examples one after the other in one shell, as somebody would who reads the document. */
export async function runExamples(fences: readonly Fence[], scene: Scene): Promise<Answered[]> {
  const examples = fences.flatMap(commandsOf);
  const mark = "=====";
  const script = examples.map(({ command }) => `${command}\necho "${mark}$?${mark}"\n`).join("");
  await Deno.writeTextFile(`${scene.directory}/script`, script);
  const output = await new Deno.Command("env", {
    // What the examples run, other tests cover.
    args: [
      "--unset=DENO_COVERAGE_DIR",
      "unshare",
      "--mount",
      "--propagation=private",
      "sh",
      "-euc",
      `{ ${ENTER}\n} 2>&1`,
      "sh",
    ]
      .concat([scene.directory, ROOT]),
    env: { PATH: "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const text = new TextDecoder().decode(output.stdout);
  const parts = text.split(new RegExp(`${mark}(\\d+)${mark}\n`));
  return examples.map((example, at) => {
    const [printed = "", status = "none"] = parts.slice(2 * at);
    return { ...example, printed, status };
  });
}

/** Fails unless a command did and printed what its document shows. */
export function assertAnswer({ command, output, printed, status }: Answered): void {
  const expected = /^error: |"error":/.test(output ?? "") ? /^[1-4]$/ : /^0$/;
  assertMatch(status, expected, `${command}\n${printed}`);
  if (output === null || (output.includes("…") && pattern(output).test(printed))) return;
  assertEquals(printed, output, command);
}
