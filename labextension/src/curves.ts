/** Curves as the wire carries them: columns of float32, patched at the tail. */

import type { CurveHead } from './protocol';

/**
 * One curve: `count` points, each a position, its last step, the extremes merged into it and
 * their mean. High is infinite where values beyond all bounds were left out above, low where
 * they were below; a mean of none is NaN.
 */
export interface Curve {
  readonly x: Float32Array;
  readonly step: Float32Array;
  readonly low: Float32Array;
  readonly high: Float32Array;
  readonly mean: Float32Array;
}

export const EMPTY: Curve = {
  x: new Float32Array(),
  step: new Float32Array(),
  low: new Float32Array(),
  high: new Float32Array(),
  mean: new Float32Array()
};

/** What a comm hands over as a buffer. */
export type Buffer = ArrayBuffer | ArrayBufferView;

/**
 * `curve` with the points from `head.start` on replaced by those of `buffer`; undefined if
 * the patch does not fit the curve, so that something must have been missed.
 */
export function patched(
  curve: Curve | undefined,
  head: CurveHead,
  buffer: Buffer
): Curve | undefined {
  const kept = curve ?? EMPTY;
  const rows = floats(buffer);
  const { start, count } = head;
  if (start > kept.x.length || rows.length !== 5 * count) {
    return undefined;
  }
  const column = (name: keyof Curve, index: number): Float32Array => {
    const joined = new Float32Array(start + count);
    joined.set(kept[name].subarray(0, start));
    joined.set(rows.subarray(index * count, (index + 1) * count), start);
    return joined;
  };
  return {
    x: column('x', 0),
    step: column('step', 1),
    low: column('low', 2),
    high: column('high', 3),
    mean: column('mean', 4)
  };
}

/** The little-endian float32 values of `buffer`, which may start at any byte. */
export function floats(buffer: Buffer): Float32Array {
  const view = ArrayBuffer.isView(buffer)
    ? new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new DataView(buffer);
  const values = new Float32Array(Math.floor(view.byteLength / 4));
  for (let index = 0; index < values.length; index++) {
    values[index] = view.getFloat32(4 * index, true);
  }
  return values;
}

/**
 * The exponential moving average of `values`, corrected for its start at zero. `weight` is
 * the share of the past, from 0 (no smoothing) to below 1; gaps stay gaps.
 */
export function smoothed(values: Float32Array, weight: number): Float32Array {
  if (weight <= 0) {
    return values;
  }
  const result = new Float32Array(values.length);
  let average = 0;
  let seen = 0;
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    if (Number.isFinite(value)) {
      average = weight * average + (1 - weight) * value;
      seen += 1;
      result[index] = average / (1 - weight ** seen);
    } else {
      result[index] = value;
    }
  }
  return result;
}

/** The index of the point of `x` (ascending) nearest to `at`, or -1 for an empty curve. */
export function nearest(x: Float32Array, at: number): number {
  let low = 0;
  let high = x.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] < at) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low > 0 && at - x[low - 1] < x[low] - at ? low - 1 : high < 0 ? -1 : low;
}

/** The values of a point that no axis holds, in a word; null where there are none. */
export function beyond({ low, high }: Curve, index: number): string | null {
  const [over, under] = [high[index] === Infinity, low[index] === -Infinity];
  return over ? (under ? 'not a number' : 'infinite') : under ? '−infinite' : null;
}

/** Where the curve has values that no axis holds, and whether they lie above. */
export function lost(curve: Curve): { x: number; above: boolean }[] {
  const found: { x: number; above: boolean }[] = [];
  for (let index = 0; index < curve.x.length; index++) {
    if (beyond(curve, index)) {
      found.push({ x: curve.x[index], above: curve.high[index] === Infinity });
    }
  }
  return found;
}

/** The points without a neighbour, which a line alone would leave out. */
export function lonely({ x, mean }: Curve): { x: number; y: number }[] {
  const found: { x: number; y: number }[] = [];
  for (let index = 0; index < x.length; index++) {
    const alone = !Number.isFinite(mean[index - 1]) && !Number.isFinite(mean[index + 1]);
    if (alone && Number.isFinite(mean[index])) {
      found.push({ x: x[index], y: mean[index] });
    }
  }
  return found;
}

/** What the curve's newest values are and since which step, where no axis holds them. */
export function endless(curve: Curve): { word: string; step: number } | null {
  let first = curve.x.length;
  while (first > 0 && Number.isNaN(curve.mean[first - 1]) && beyond(curve, first - 1)) {
    first -= 1;
  }
  const word = beyond(curve, curve.x.length - 1);
  return word && first < curve.x.length ? { word, step: curve.step[first] } : null;
}

/** `curve` with extremes that can be drawn. */
export function drawable(curve: Curve): Curve {
  const { low, high, mean } = curve;
  return {
    ...curve,
    low: low.map((value, index) => (value === -Infinity ? mean[index] : value)),
    high: high.map((value, index) => (value === Infinity ? mean[index] : value))
  };
}
