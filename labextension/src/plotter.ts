/** Carries what changed in a run to its figures, and nothing else. */

import { type Curve, drawable, EMPTY, lonely, lost, smoothed } from './curves';
import type { Figures } from './figures';
import { number } from './format';
import type { PanelModel } from './model';
import type { Drawing } from './panel';
import type { Action, Chart, View } from './protocol';
import { horizontal, isShare, vertical } from './ranges';
import type { Changes } from './state';

/** The series that is set rather than measured. */
const RATE = 'lr';

/** Follows a model from construction to `dispose`. */
export class Plotter {
  private lines = new Map<string, Curve>();
  private window = '';

  constructor(
    private readonly model: PanelModel,
    private readonly figures: Figures,
    private readonly charts: readonly Chart[],
    private drawing: Drawing
  ) {
    this.all();
    model.changed.connect(this.update);
  }

  dispose(): void {
    this.model.changed.disconnect(this.update);
  }

  /** Draw on other scales, or smoother. */
  redraw(drawing: Drawing): void {
    this.drawing = drawing;
    this.all();
  }

  /** Fit the vertical axes to what the horizontal one shows now. */
  fit(): void {
    const window = this.figures.window.join();
    if (window !== this.window) {
      this.window = window;
      this.charts.forEach(chart => this.fitOne(chart));
    }
  }

  private all(): void {
    const { charts, figures, drawing } = this;
    const names = charts.flatMap(chart => chart.series.map(({ name }) => `curve:${name}`));
    for (const chart of charts) {
      figures.setLog(chart.id, drawing.log.has(chart.id));
    }
    this.update(this.model, new Set([...names, 'progress', 'actions', 'best', 'horizon']));
  }

  private readonly update = (model: PanelModel, changes: Changes): void => {
    const { charts, figures, drawing } = this;
    const { view, curves } = model.state;
    const fresh = new Set<Chart>();
    for (const chart of charts) {
      for (const { name, role } of chart.series.filter(({ name }) =>
        changes.has(`curve:${name}`)
      )) {
        const curve = curves.get(name) ?? EMPTY;
        // What is measured at every step is noisy; validations are few, and a rate is exact.
        const weight = role === 'train' && name !== RATE ? drawing.smoothing : 0;
        const line = { ...curve, mean: smoothed(curve.mean, weight) };
        this.lines.set(name, line);
        figures.setCurve(name, drawable(line));
        figures.setLonely(name, lonely(line));
        figures.setLost(name, lost(line));
        fresh.add(chart);
      }
    }
    if (changes.has('progress')) {
      figures.setEnd(horizontal(this.reached(), planned(model)));
    }
    // Only now, for a vertical axis holds what the horizontal one shows.
    this.fit();
    fresh.forEach(chart => this.fitOne(chart));
    if (changes.has('actions')) {
      figures.setMarks(marks(view.actions));
    }
    if (changes.has('best')) {
      for (const chart of charts) {
        figures.setBest(chart.id, stars(model, chart));
      }
    }
    if (changes.has('horizon')) {
      for (const chart of charts) {
        figures.setHorizon(chart.id, watches(view, chart) ? view.horizon : null);
      }
    }
  };

  private reached(): number {
    const ends = [...this.lines.values()].map(({ x }) => x[x.length - 1] ?? 0);
    return Math.max(0, ...ends);
  }

  private fitOne(chart: Chart): void {
    const [from, to] = this.figures.window;
    const lines = chart.series.map(({ name }) => cut(this.lines.get(name) ?? EMPTY, from, to));
    const range = vertical(lines, this.drawing.log.has(chart.id), isShare(chart.id));
    if (range) {
      this.figures.setVertical(chart.id, range);
    }
  }
}

/** Where an action stands on the horizontal axis. */
export function place({ epoch, step }: Action): number {
  return epoch ?? step;
}

function marks(actions: readonly Action[]): { x: number; undone: boolean }[] {
  return actions.map(action => ({ x: place(action), undone: action.undone }));
}

function planned(model: PanelModel): number | null {
  const { progress } = model.state.view;
  return progress.epoch === null ? progress.total_steps : progress.epochs;
}

/** The best checkpoint on each validation curve of `chart`. */
function stars(model: PanelModel, chart: Chart): { x: number; y: number }[] {
  const { best } = model.state.view;
  if (!best) {
    return [];
  }
  return chart.series
    .filter(({ role, name }) => role === 'validation' && name in best.metrics)
    .map(({ name }) => ({ x: best.epoch ?? best.step, y: number(best.metrics[name]) }));
}

/** Whether `chart` draws what early stopping watches. */
export function watches(view: View, chart: Chart): boolean {
  const watched = view.values.early_stop?.value ?? view.best?.monitor;
  const drawn = view.charts.find(({ series }) => series.some(({ name }) => name === watched));
  return chart.id === (drawn ?? view.charts[0])?.id;
}

/** The part of `curve` between two places of the horizontal axis. */
function cut(curve: Curve, from: number, to: number): Curve {
  const { x } = curve;
  if (x.length === 0 || (x[0] >= from && x[x.length - 1] <= to)) {
    return curve;
  }
  const first = x.findIndex(value => value >= from);
  const after = x.findIndex(value => value > to);
  const end = after < 0 ? x.length : after;
  const part = (values: Float32Array): Float32Array =>
    first < 0 ? new Float32Array() : values.subarray(first, end);
  return { ...curve, low: part(curve.low), mean: part(curve.mean), high: part(curve.high) };
}
