/** Curves as the wire carries them: columns of float32, patched at the tail. */

import type { CurveHead } from './protocol';

/** One curve: `count` points, each a position, the extremes merged into it and their mean. */
export interface Curve {
  readonly x: Float32Array;
  readonly low: Float32Array;
  readonly high: Float32Array;
  readonly mean: Float32Array;
}

export const EMPTY: Curve = {
  x: new Float32Array(),
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
  if (start > kept.x.length || rows.length !== 4 * count) {
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
    low: column('low', 1),
    high: column('high', 2),
    mean: column('mean', 3)
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
