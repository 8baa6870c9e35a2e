/** Where the labels of the marks on a chart go, so that none lies over another. */

/** A label that wants to stand beside its mark at `x` pixels; `width` in pixels. */
export interface Wanted {
  readonly x: number;
  readonly width: number;
}

/** Where a label went: its left edge and its row, counted from the top; null if left out. */
export type Placed = { readonly left: number; readonly row: number } | null;

const GAP = 4;

/**
 * Places for `wanted` (ascending in x) inside `width` pixels and `rows` rows.
 *
 * A label stands right of its mark, or left where the chart ends, in the highest row that
 * is free. Later labels matter more: they are placed first, so where room runs out it is
 * the oldest that are left out.
 */
export function place(wanted: readonly Wanted[], width: number, rows: number): Placed[] {
  const taken: [number, number][][] = Array.from({ length: rows }, () => []);
  const placed: Placed[] = wanted.map(() => null);
  for (let index = wanted.length - 1; index >= 0; index--) {
    const { x, width: own } = wanted[index];
    const right = x + GAP;
    const left = x - GAP - own;
    const sides = right + own <= width ? [right, left] : [left];
    search: for (let row = 0; row < rows; row++) {
      for (const start of sides) {
        const free = taken[row].every(
          ([from, to]) => start + own + GAP <= from || start >= to + GAP
        );
        if (start >= 0 && free) {
          taken[row].push([start, start + own]);
          placed[index] = { left: start, row };
          break search;
        }
      }
    }
  }
  return placed;
}
