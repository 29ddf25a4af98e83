/**
 * Tables that fit the terminal. Nothing is cut: a column that does not fit stands below its row.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The form of the place that text is written to. */
export interface Screen {
  /** The width in characters. */
  readonly columns: number;
  /** Set if it shows colours. */
  readonly colour: boolean;
}

/** The form where there is no terminal, such as a pipe: a row is one line, for grep(1). */
export const PLAIN: Screen = { columns: Infinity, colour: false };

const SGR = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 } as const;

/** The look of a cell. */
export type Look = keyof typeof SGR;

/** A cell: its text, and its look on a screen with colours. */
export interface Cell {
  readonly text: string;
  readonly look?: Look;
}

const GAP = "  ";
const INDENT = "    ";

/** Chooses the columns that stand below: the widest, until the others fit. */
function chooseBelow(widths: readonly number[], columns: number): ReadonlySet<number> {
  const below = new Set<number>();
  const beside = () => widths.map((_, at) => at).filter((at) => !below.has(at));
  const total = () =>
    beside().reduce((sum, at) => sum + (widths[at] ?? 0) + GAP.length, -GAP.length);
  while (total() > columns && beside().length > 1) {
    const [widest = 0] = beside().sort((a, b) => (widths[b] ?? 0) - (widths[a] ?? 0));
    below.add(widest);
  }
  return below;
}

function paint(text: string, look: Look | undefined, { colour }: Screen): string {
  return colour && look !== undefined ? `\x1b[${SGR[look]}m${text}\x1b[0m` : text;
}

/**
 * Formats a table.
 *
 * @param head The names of the columns.
 * @param rows The cells; a text is one without a look.
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly (Cell | string)[])[],
  screen: Screen = PLAIN,
): string {
  const all = [head.map((text): Cell => ({ text, look: "bold" })), ...rows].map((row) => {
    return row.map((cell): Cell => typeof cell === "string" ? { text: cell } : cell);
  });
  const widths = head.map((_, at) => Math.max(...all.map((row) => row[at]?.text.length ?? 0)));
  const below = chooseBelow(widths, screen.columns);
  const last = Math.max(...head.map((_, at) => at).filter((at) => !below.has(at)));
  const show = (row: readonly Cell[], at: number): string => {
    const { text = "", look } = row[at] ?? {};
    return paint(at < last && !below.has(at) ? text.padEnd(widths[at] ?? 0) : text, look, screen);
  };
  return all.map((row) => {
    const beside = head.flatMap((_, at) => below.has(at) ? [] : [show(row, at)]);
    const lower = [...below].sort((a, b) => a - b).filter((at) =>
      !/^-?$/.test(row[at]?.text ?? "")
    );
    const lines = [beside.join(GAP).trimEnd(), ...lower.map((at) => INDENT + show(row, at))];
    return lines.map((line) => `${line}\n`).join("");
  }).join("");
}

/** Shortens the id of a tree that was imported to its first digits, which also name it. */
export function shortTree(id: string): string {
  return id.replace(/^deps-sha512-([0-9a-f]{12})[0-9a-f]{52}$/, "$1");
}
