/** The page's own text over a chart: labels of the marks, and what pointing at it reads. */

import { useMemo } from 'react';

import type { Figures } from './figures';
import { count } from './format';
import { useModel, useView } from './hooks';
import { place as arrange } from './labels';
import type { PanelModel } from './model';
import { place, watches } from './plotter';
import type { Action, Chart, Horizon } from './protocol';
import { mainRow, placeText, rowsAt, valueText } from './reading';

/** Rows of labels before the oldest are left out. */
const ROWS = 3;
const ROW_HEIGHT = 13;
const FONT = '11px';
/** Pixels from the top of a frame to what pointing reads, below the labels. */
const READING = 44;
/** Pixels beside a mark within which pointing reads it too. */
const NEAR = 5;

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
      {marks.map((mark, index) => {
        const spot = places[index];
        return (
          spot && (
            <span
              key={mark.id}
              data-nbt="mark"
              data-undone={mark.undone}
              title={markText(mark)}
              style={{ left: spot.left, top: spot.row * ROW_HEIGHT }}
            >
              {mark.label}
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
  const actions = useView(model, 'actions');
  const horizon = useModel(model, ({ state }) =>
    watches(state.view, chart) ? state.view.horizon : null
  );
  const byEpoch = useModel(model, ({ state }) => state.view.progress.epoch !== null);
  const box = figures.box(chart.id);
  const rows = rowsAt(chart, curves, x);
  if (!box || rows.length === 0) {
    return null;
  }
  // The line stands on a point that exists: the one of the densest curve.
  const main = mainRow(rows);
  const [start, end] = figures.window;
  const across = (value: number): number => ((value - start) / (end - start)) * box.width;
  const left = box.left + across(main.curve.x[main.index]);
  if (left < box.left || left > box.left + box.width) {
    return null;
  }
  const side = left > box.left + box.width / 2 ? 'left' : 'right';
  const awaited = horizon && x >= horizon.from && x <= horizon.to ? horizonText(horizon) : null;
  const near = actions.filter(action => Math.abs(across(place(action)) - across(x)) <= NEAR);
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
          <div>{placeText(main, byEpoch)}</div>
          {rows.map(row => {
            const { value, more } = valueText(row, main);
            return (
              <div key={row.name} className="nbt-legend" data-role={row.role}>
                {row.label} <b>{value}</b> {more}
              </div>
            );
          })}
          {awaited && <div>{awaited}</div>}
          {near.map(action => (
            <div key={action.id}>{markText(action)}</div>
          ))}
        </div>
      )}
    </>
  );
}

/** What the shaded part of a chart says. */
function horizonText({ to }: Horizon): string {
  return `stops early at epoch ${Number(to.toFixed(2))} if nothing improves`;
}

/** What a mark stands for, and the step where it took effect. */
function markText({ label, step, undone }: Action): string {
  return `${label} at step ${count(step)}${undone ? ', undone' : ''}`;
}
