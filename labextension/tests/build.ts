/** Messages as the kernel sends them. */

import type { Frame, Knob, Snapshot, View } from '../src/protocol';

/** A buffer of curve rows: x, step, low, high, mean, column after column. */
export function rows(...points: [number, number, number, number, number][]): DataView {
  const view = new DataView(new ArrayBuffer(20 * points.length + 1), 1);
  points.forEach((point, row) => {
    point.forEach((value, column) => {
      view.setFloat32(4 * (column * points.length + row), value, true);
    });
  });
  return view;
}

/** Points at x = `from`, `from` + 1, … with these means, a step each, the first at x = 0. */
export function line(from: number, ...means: number[]): DataView {
  return rows(
    ...means.map((mean, index): [number, number, number, number, number] => [
      from + index,
      from + index + 1,
      mean,
      mean,
      mean
    ])
  );
}

export function snapshot(seq: number, rest: Partial<Snapshot> = {}): Snapshot {
  return { kind: 'snapshot', seq, figure: null, view: {}, curves: [], log: null, ...rest };
}

export function frame(seq: number, rest: Partial<Frame> = {}): Frame {
  return { kind: 'frame', seq, view: {}, curves: [], log: null, ...rest };
}

export function knob(rest: Partial<Knob> = {}): Knob {
  return {
    name: 'lr',
    label: 'Learning rate',
    group: 'Optimization',
    kind: 'float',
    unit: '',
    scale: 'log',
    slider: [1e-6, 1],
    step: null,
    low: 0,
    high: 1000,
    words: [],
    can_be_off: false,
    off: null,
    doc: '',
    range: 'a number from 0 up to 1000',
    reason: null,
    layer: null,
    ...rest
  };
}

export function progress(rest: Partial<View['progress']> = {}): View['progress'] {
  return {
    step: 0,
    total_steps: null,
    epoch: 0,
    epochs: null,
    fraction: null,
    steps_per_second: null,
    seconds: null,
    seconds_left: null,
    device: 'cpu',
    device_name: null,
    memory: null,
    ...rest
  };
}
