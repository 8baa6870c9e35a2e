/** What pointing at a chart reads, in words. */

import { beyond, type Curve, nearest } from './curves';
import { count, metric } from './format';
import type { Chart, Role } from './protocol';

/** The point of a series that is nearest to the pointer. */
export interface Row {
  readonly name: string;
  readonly label: string;
  readonly role: Role;
  readonly curve: Curve;
  readonly index: number;
}

/** The points of `chart` nearest to `x`. */
export function rowsAt(chart: Chart, curves: ReadonlyMap<string, Curve>, x: number): Row[] {
  return chart.series.flatMap(({ name, label, role }) => {
    const curve = curves.get(name);
    const index = curve ? nearest(curve.x, x) : -1;
    return curve && index >= 0 ? [{ name, label, role, curve, index }] : [];
  });
}

/** The row whose curve has the most points: where it has one, the others are read too. */
export function mainRow(rows: readonly Row[]): Row {
  return rows.reduce((a, b) => (b.curve.x.length > a.curve.x.length ? b : a));
}

/** The steps that a row's point holds, the first and the last. */
export function stepsOf({ role, curve, index }: Row): [number, number] {
  const last = curve.step[index];
  if (role === 'validation') {
    return [last, last];
  }
  // What is measured at every step begins after the point before.
  return [Math.min((index > 0 ? curve.step[index - 1] : 0) + 1, last), last];
}

/** Where the row stands: its epoch, if the axis counts these, and its steps. */
export function placeText(row: Row, byEpoch: boolean): string {
  const [first, last] = stepsOf(row);
  const steps = first < last ? `steps ${count(first)}–${count(last)}` : `step ${count(last)}`;
  return byEpoch ? `epoch ${row.curve.x[row.index].toFixed(2)} · ${steps}` : steps;
}

/** The row's value, the bounds of what was merged into it, and its step if not `main`'s. */
export function valueText(row: Row, main: Row): { value: string; more: string } {
  const { curve, index } = row;
  const [low, mean, high] = [curve.low[index], curve.mean[index], curve.high[index]];
  const outside = beyond(curve, index);
  const more: string[] = [];
  if (Number.isFinite(mean) && outside === 'not a number') {
    more.push('some not a number');
  } else if (high - low > 1e-6 * Math.abs(mean)) {
    more.push(`${metric(low)} to ${metric(high)}`);
  }
  const [first, last] = stepsOf(main);
  const step = curve.step[index];
  if (step < first || step > last) {
    more.push(`at step ${count(step)}`);
  }
  const value = Number.isFinite(mean) ? metric(mean) : (outside ?? '–');
  return { value, more: more.join(' ') };
}
