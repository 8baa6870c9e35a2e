/** The page's own text over a chart: labels of the marks, and what pointing at it reads. */

import { useMemo } from 'react';

import { nearest } from './curves';
import type { Figures } from './figures';
import { count, metric } from './format';
import { useModel, useView } from './hooks';
import { place as arrange } from './labels';
import type { PanelModel } from './model';
import { place } from './plotter';
import type { Chart } from './protocol';

/** Rows of labels before the oldest are left out. */
const ROWS = 3;
const ROW_HEIGHT = 13;
const FONT = '11px';
/** Pixels from the top of a frame to what pointing reads, below the labels. */
const READING = 44;

interface LabelsProps {
  model: PanelModel;
  figures: Figures;
  chart: string;
}

export function Labels({ model, figures, chart }: LabelsProps): JSX.Element | null {
  const actions = useView(model, 'actions');
  const measure = useMemo(measurer, []);
  const box = figures.box(chart);
  if (!box) {
    return null;
  }
  const [start, end] = figures.window;
  const marks = actions
    .map(action => ({ ...action, x: ((place(action) - start) / (end - start)) * box.width }))
    .filter(({ x }) => x >= 0 && x <= box.width)
    .sort((a, b) => a.x - b.x);
  const wanted = marks.map(({ x, label }) => ({ x, width: measure(label) }));
  const places = arrange(wanted, box.width, ROWS);
  return (
    <div className="nbt-labels" style={{ left: box.left, top: box.top, width: box.width }}>
      {marks.map(({ id, label, step, undone }, index) => {
        const spot = places[index];
        return (
          spot && (
            <span
              key={id}
              data-nbt="mark"
              data-undone={undone}
              title={`${label} at step ${count(step)}${undone ? ', undone' : ''}`}
              style={{ left: spot.left, top: spot.row * ROW_HEIGHT }}
            >
              {label}
            </span>
          )
        );
      })}
    </div>
  );
}

/** How wide a label will be, in pixels. */
function measurer(): (text: string) => number {
  const context = document.createElement('canvas').getContext('2d');
  const family = getComputedStyle(document.body).getPropertyValue('--jp-ui-font-family');
  if (context) {
    context.font = `${FONT} ${family || 'sans-serif'}`;
  }
  const known = new Map<string, number>();
  return text => {
    const width = known.get(text) ?? context?.measureText(text).width ?? 6 * text.length;
    known.set(text, width);
    return width + 2;
  };
}

interface ReadingProps {
  model: PanelModel;
  figures: Figures;
  chart: Chart;
  /** Where the pointer stands on the horizontal axis. */
  x: number;
  /** Whether the values are written, or the line alone is drawn. */
  whole: boolean;
}

export function Reading({ model, figures, chart, x, whole }: ReadingProps): JSX.Element | null {
  const curves = useModel(model, ({ state }) => state.curves);
  const byEpoch = useModel(model, ({ state }) => state.view.progress.epoch !== null);
  const box = figures.box(chart.id);
  const rows = chart.series.flatMap(({ name, label, role }) => {
    const curve = curves.get(name);
    const index = curve ? nearest(curve.x, x) : -1;
    return curve && index >= 0 ? [{ name, label, role, curve, index }] : [];
  });
  if (!box || rows.length === 0) {
    return null;
  }
  // The line stands on a point that exists: the one of the densest curve.
  const main = rows.reduce((a, b) => (b.curve.x.length > a.curve.x.length ? b : a));
  const at = main.curve.x[main.index];
  const [start, end] = figures.window;
  const left = box.left + ((at - start) / (end - start)) * box.width;
  if (left < box.left || left > box.left + box.width) {
    return null;
  }
  const side = left > box.left + box.width / 2 ? 'left' : 'right';
  return (
    <>
      <div className="nbt-hair" style={{ left, top: box.top, height: box.height }} />
      {whole && (
        <div
          className="nbt-reading"
          data-side={side}
          data-nbt="reading"
          style={{ left, top: box.top + READING }}
        >
          <div>{byEpoch ? `epoch ${at.toFixed(2)}` : `step ${count(at)}`}</div>
          {rows.map(({ name, label, role, curve, index }) => (
            <div key={name} className="nbt-legend" data-role={role}>
              {label} <b>{metric(curve.mean[index])}</b>
              {curve.high[index] - curve.low[index] > 1e-6 * Math.abs(curve.mean[index]) && (
                <span>
                  {' '}
                  {metric(curve.low[index])} to {metric(curve.high[index])}
                </span>
              )}
            </div>
          ))}
        </div>
      )}
    </>
  );
}
