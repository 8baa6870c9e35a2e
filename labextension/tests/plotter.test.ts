import { expect, it } from 'vitest';

import type { Figures } from '../src/figures';
import type { PanelModel } from '../src/model';
import { Plotter } from '../src/plotter';
import { RunState } from '../src/state';
import { frame, line, progress, snapshot } from './build';

const LOSS = {
  id: 'loss',
  title: 'Loss',
  series: [{ name: 'loss', label: 'train', role: 'train' as const }]
};

/** Figures that draw nothing and remember the ends of their axes. */
class Axes {
  window: [number, number] = [0, 1];
  vertical: [number, number] | null = null;
  setEnd(end: number): void {
    this.window = [0, end];
  }
  setVertical(_: string, range: [number, number]): void {
    this.vertical = range;
  }
  setCurve(): void {}
  setLonely(): void {}
  setLost(): void {}
  setLog(): void {}
  setMarks(): void {}
  setBest(): void {}
  setHorizon(): void {}
}

function plotted(state: RunState) {
  const axes = new Axes();
  let update: (model: unknown, changes: ReadonlySet<string>) => void = () => {};
  const changed = { connect: (slot: typeof update) => (update = slot), disconnect: () => {} };
  const model = { state, changed };
  new Plotter(model as unknown as PanelModel, axes as unknown as Figures, [LOSS], {
    log: new Set(),
    smoothing: 0
  });
  return { axes, tell: (changes: ReadonlySet<string>) => update(model, changes) };
}

const falling = [2.3, 2.02, 1, 0.5, 0.2];

it('a run that is opened at its end is drawn whole', () => {
  const state = new RunState();
  const view = { charts: [LOSS], progress: progress({ step: 5, epoch: 4, epochs: 4 }) };
  state.receive(snapshot(1, { view, curves: [{ name: 'loss', start: 0, count: 5 }] }), [
    line(0, ...falling)
  ]);
  const { axes } = plotted(state);
  expect(axes.window).toEqual([0, 4]);
  expect(axes.vertical![0]).toBe(0);
  expect(axes.vertical![1]).toBeGreaterThan(2.3);
});

it('a longer window holds what it newly shows', () => {
  const state = new RunState();
  const view = { charts: [LOSS], progress: progress({ epoch: 0, epochs: 4 }) };
  state.receive(snapshot(1, { view }), []);
  const { axes, tell } = plotted(state);
  const next = frame(2, {
    view: { progress: progress({ step: 5, epoch: 4, epochs: 4 }) },
    curves: [{ name: 'loss', start: 0, count: 5 }]
  });
  tell(state.receive(next, [line(0, ...falling)])!);
  expect(axes.window).toEqual([0, 4]);
  expect(axes.vertical![0]).toBe(0);
});
