/** The ends of a chart's axes. */

import type { Curve } from './curves';

/**
 * The end of the horizontal axis: all the epochs planned, or where little of them is done
 * yet a quarter, a sixteenth and so on, so that a curve never hides in the corner.
 */
export function horizontal(reached: number, planned: number | null): number {
  if (planned === null || planned <= 0) {
    return reached > 0 ? reached * 1.02 : 1;
  }
  if (reached > planned) {
    return reached;
  }
  let end = planned;
  while (end / 4 >= reached * 1.25 && end / 4 >= 1) {
    end /= 4;
  }
  return end;
}

/** How many times the 99th percentile a value may be before it leaves the plot. */
const SPIKE = 20;

/** Names of metrics that are shares of one, as their users write them. */
const SHARES = /(^|[\W_])(acc|accuracy|precision|recall|f1|auc|auroc|iou|dice)($|[\W_])/i;

/** Whether the values of `metric` run from zero to one. */
export function isShare(metric: string): boolean {
  return SHARES.test(metric);
}

/**
 * The ends of the vertical axis that hold every value of `curves`; null if they are empty.
 * `shares` says that they run from zero to one at most.
 */
export function vertical(
  curves: readonly Curve[],
  log: boolean,
  shares = false
): [number, number] | null {
  const values = Float64Array.from(
    curves.flatMap(({ low, mean, high }) =>
      [...low, ...mean, ...high].filter(value => Number.isFinite(value) && (!log || value > 0))
    )
  ).sort();
  if (values.length === 0) {
    return null;
  }
  const low = values[0];
  const most = values[Math.ceil(0.99 * (values.length - 1))];
  const last = values[values.length - 1];
  // A single spike would press all the rest flat; a log scale has room for it.
  const high = !log && most > 0 && last > SPIKE * most ? most : last;
  if (log) {
    const factor = Math.max((high / low) ** 0.05, 1.05);
    return [low / factor, high * factor];
  }
  const pad = (high - low || Math.abs(high) || 1) * 0.05;
  // Losses and shares are read against zero, and shares against one, as long as the curve
  // does not become a flat line by it.
  const bottom = low >= 0 && low <= 0.5 * high ? 0 : low - pad;
  const whole = shares && low >= 0 && high <= 1 && high > 0.6;
  return [bottom, whole ? Math.max(1, high) + (1 - bottom) * 0.02 : high + pad];
}
