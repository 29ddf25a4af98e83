/**
 * The challenges of a `WWW-Authenticate` header (RFC 9110, section 11).
 *
 * Requires no permissions.
 *
 * @module
 */

/** An authentication method that a server accepts. */
export interface Challenge {
  /** The scheme in lower case, such as `bearer`. */
  readonly scheme: string;
  /** Its parameters, by their names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const TOKEN68 = /[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))/y;
const BLANK = /[ \t]*/y;

/** Reads a header from left to right. */
class Scanner {
  readonly #text: string;
  at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get isAtEnd(): boolean {
    return this.at >= this.#text.length;
  }

  /** Takes the text that a sticky pattern matches here; `null` if it does not match. */
  take(pattern: RegExp): string | null {
    pattern.lastIndex = this.at;
    const [found] = pattern.exec(this.#text) ?? [];
    if (found === undefined) return null;
    this.at += found.length;
    return found;
  }

  /** Takes one character if it is here. */
  takeSign(sign: string): boolean {
    if (this.#text[this.at] !== sign) return false;
    this.at++;
    return true;
  }

  /** Takes a quoted string; `null` if none begins here, or it does not end. */
  takeQuoted(): string | null {
    const start = this.at;
    if (!this.takeSign('"')) return null;
    let value = "";
    for (; !this.isAtEnd; this.at++) {
      const sign = this.#text[this.at] ?? "";
      if (sign === '"') {
        this.at++;
        return value;
      }
      if (sign === "\\") this.at++;
      value += this.#text[this.at] ?? "";
    }
    this.at = start;
    return null;
  }
}

/** Takes `name=value`; puts the scanner back if it is not here. */
function takeParameter(scanner: Scanner): readonly [name: string, value: string] | null {
  const start = scanner.at;
  const name = scanner.take(TOKEN);
  scanner.take(BLANK);
  if (name !== null && scanner.takeSign("=")) {
    scanner.take(BLANK);
    const value = scanner.takeQuoted() ?? scanner.take(TOKEN);
    if (value !== null) return [name.toLowerCase(), value];
  }
  scanner.at = start;
  return null;
}

function takeSeparators(scanner: Scanner): void {
  do scanner.take(BLANK); while (scanner.takeSign(","));
}

/**
 * Reads challenges. Several headers of one response arrive as one, joined by commas, which can also
 * be in values. Reading stops at the first text that is no challenge.
 */
export function parseChallenges(header: string): readonly Challenge[] {
  const scanner = new Scanner(header);
  const found: Challenge[] = [];
  takeSeparators(scanner);
  for (let scheme = scanner.take(TOKEN); scheme !== null; scheme = scanner.take(TOKEN)) {
    const parameters = new Map<string, string>();
    scanner.take(BLANK);
    // A parameter whose value cannot be read.
    if (scanner.takeSign("=")) break;
    if (scanner.take(TOKEN68) === null) {
      for (let one = takeParameter(scanner); one !== null; one = takeParameter(scanner)) {
        if (!parameters.has(one[0])) parameters.set(...one);
        takeSeparators(scanner);
      }
    }
    found.push({ scheme: scheme.toLowerCase(), parameters });
    takeSeparators(scanner);
  }
  return found;
}
