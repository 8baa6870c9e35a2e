/** The charts of a run: their headings, and the figures that Bokeh draws under them. */

import { memo, useCallback, useEffect, useReducer, useRef, useState } from 'react';

import { endless } from './curves';
import type { Figures } from './figures';
import { count } from './format';
import { useModel, useView } from './hooks';
import type { PanelModel } from './model';
import { Labels, Reading } from './overlay';
import { onShown, read, watch } from './palette';
import type { Drawing } from './panel';
import { Plotter } from './plotter';
import type { Chart } from './protocol';
import { rowsAt, valueText } from './reading';

interface Props {
  model: PanelModel;
  drawing: Drawing;
  setDrawing: (drawing: Drawing) => void;
}

export const Charts = memo(function Charts({ model, drawing, setDrawing }: Props) {
  const charts = useView(model, 'charts');
  const root = useRef<HTMLDivElement>(null);
  const { figures, hosts, failed, retry } = useFigures(model, charts, drawing, root);
  const [pointed, setPointed] = useState<{ chart: string; x: number } | null>(null);

  if (charts.length === 0) {
    return (
      <div className="nbt-charts">
        <p className="nbt-nothing">The curves appear with the first step.</p>
      </div>
    );
  }
  return (
    <div className="nbt-charts" ref={root} data-nbt="charts" data-count={charts.length}>
      {failed && (
        <p className="nbt-refused" data-nbt="not-drawn">
          The charts could not be drawn.{' '}
          <button type="button" className="nbt-button" data-nbt="draw-again" onClick={retry}>
            Try again
          </button>
        </p>
      )}
      {charts.map((chart, index) => (
        <figure key={chart.id} className="nbt-chart" data-nbt={`chart-${chart.id}`}>
          <Heading
            model={model}
            chart={chart}
            first={index === 0}
            drawing={drawing}
            setDrawing={setDrawing}
            unzoom={figures?.zoomed ? () => figures.unzoom() : null}
          />
          <Latest model={model} chart={chart} />
          <div
            className="nbt-plot"
            onPointerDownCapture={() => setPointed(null)}
            onPointerMoveCapture={event => {
              if (event.buttons !== 0) {
                // What a drag marks out is not to be covered.
                setPointed(null);
                return;
              }
              const box = figures?.box(chart.id);
              const left = event.clientX - event.currentTarget.getBoundingClientRect().left;
              const inside = box && left >= box.left && left <= box.left + box.width;
              setPointed(inside ? { chart: chart.id, x: valueAt(figures!, box, left) } : null);
            }}
            onPointerLeave={() => setPointed(null)}
          >
            <div
              className="nbt-host"
              role="img"
              aria-label={describe(chart)}
              ref={host => {
                if (host) {
                  hosts.set(chart.id, host);
                } else {
                  hosts.delete(chart.id);
                }
              }}
            />
            {figures && index === 0 && <Labels model={model} figures={figures} chart={chart.id} />}
            {figures && pointed && (
              <Reading
                model={model}
                figures={figures}
                chart={chart}
                x={pointed.x}
                whole={pointed.chart === chart.id}
              />
            )}
          </div>
        </figure>
      ))}
      <p className="nbt-axis" aria-hidden="true">
        <Unit model={model} />
      </p>
    </div>
  );
});

/** Draw the figures and keep them up to date; they are built again only for other charts. */
function useFigures(
  model: PanelModel,
  charts: readonly Chart[],
  drawing: Drawing,
  root: React.RefObject<HTMLElement>
) {
  const figure = useModel(model, ({ state }) => state.figure);
  const [hosts] = useState(() => new Map<string, HTMLElement>());
  const [figures, setFigures] = useState<Figures | null>(null);
  const [failed, setFailed] = useState(false);
  const [attempt, retry] = useReducer((count: number) => count + 1, 0);
  const [, moved] = useReducer((count: number) => count + 1, 0);
  const plotter = useRef<Plotter | null>(null);
  const wanted = useRef(drawing);
  wanted.current = drawing;

  const onMoved = useCallback(() => {
    plotter.current?.fit();
    moved();
  }, []);

  useEffect(() => {
    const element = root.current;
    if (!figure || charts.length === 0 || !element) {
      return;
    }
    let over = false;
    let drawing = false;
    let drawn: Figures | null = null;
    const draw = async (): Promise<void> => {
      // BokehJS is large, so it is loaded with the first chart and not with the page.
      const { Figures } = await import('./figures');
      const palette = read(element);
      if (over || !palette) {
        return;
      }
      const made = await Figures.draw(figure, charts, hosts, palette, onMoved);
      if (over) {
        made.dispose();
        return;
      }
      drawn = made;
      plotter.current = new Plotter(model, made, charts, wanted.current);
      setFailed(false);
      setFigures(made);
    };
    // A cell out of sight is not in the page, where nothing has a colour or a size; it comes
    // and goes as the notebook is scrolled, and the theme may change meanwhile.
    const stop = onShown(element, () => {
      const palette = read(element);
      if (drawn && palette) {
        drawn.paint(palette);
      } else if (!drawn && !drawing) {
        drawing = true;
        draw()
          .catch((error: unknown) => {
            console.error('nbtrain: the charts could not be drawn', error);
            if (!over) {
              setFailed(true);
            }
          })
          .finally(() => (drawing = false));
      }
    });
    return () => {
      over = true;
      stop();
      plotter.current?.dispose();
      plotter.current = null;
      drawn?.dispose();
      setFigures(null);
    };
  }, [model, figure, charts, hosts, root, onMoved, attempt]);

  useEffect(() => plotter.current?.redraw(drawing), [drawing]);

  useEffect(() => {
    if (!figures) {
      return;
    }
    let frame = 0;
    const paint = (): void => {
      // The theme's style sheet may take effect a moment after the attribute changed.
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => {
        const palette = root.current && read(root.current);
        if (palette) {
          figures.paint(palette);
        }
      });
    };
    const stop = watch(paint);
    return () => {
      stop();
      cancelAnimationFrame(frame);
    };
  }, [figures, root]);

  return { figures, hosts, failed, retry };
}

function valueAt(figures: Figures, box: { left: number; width: number }, left: number): number {
  const [start, end] = figures.window;
  return start + ((left - box.left) / box.width) * (end - start);
}

function describe({ title, series }: Chart): string {
  return `${title}: ${series.map(({ label }) => label).join(' and ')}, drawn over training`;
}

function Unit({ model }: { model: PanelModel }): JSX.Element {
  const byEpoch = useModel(model, ({ state }) => state.view.progress.epoch !== null);
  return <>{byEpoch ? 'epoch' : 'step'}</>;
}

/** The newest values of a chart, for those who cannot see where its lines end. */
function Latest({ model, chart }: { model: PanelModel; chart: Chart }): JSX.Element {
  const curves = useModel(model, ({ state }) => state.curves);
  const rows = rowsAt(chart, curves, Infinity);
  const values = rows.map(row => `${row.label} ${valueText(row, row).value}`);
  return <span className="nbt-hidden">{rows.length > 0 && `Latest: ${values.join(', ')}.`}</span>;
}

/** Since when a series is nothing that a chart could show, as an infinite loss is. */
function Endless({ model, name }: { model: PanelModel; name: string }): JSX.Element | null {
  const curve = useModel(model, ({ state }) => state.curves.get(name));
  const since = curve && endless(curve);
  return since ? (
    <span className="nbt-refused" data-nbt={`endless-${name}`}>
      {' '}
      {since.word} since step {count(since.step)}
    </span>
  ) : null;
}

interface HeadingProps {
  model: PanelModel;
  chart: Chart;
  first: boolean;
  drawing: Drawing;
  setDrawing: (drawing: Drawing) => void;
  unzoom: (() => void) | null;
}

function Heading({ model, chart, first, drawing, setDrawing, unzoom }: HeadingProps): JSX.Element {
  const log = drawing.log.has(chart.id);
  const smooth = drawing.smoothing > 0;
  // A single line that is called like its chart needs no name of its own.
  const legends = chart.series.filter(
    ({ label }) => label.toLowerCase() !== chart.title.toLowerCase()
  );
  const toggle = (): void => {
    const ids = new Set(drawing.log);
    if (!ids.delete(chart.id)) {
      ids.add(chart.id);
    }
    setDrawing({ ...drawing, log: ids });
  };
  return (
    <figcaption className="nbt-heading">
      <span className="nbt-chart-title">{chart.title}</span>
      {legends.map(({ name, label, role }) => (
        <span key={name} className="nbt-legend" data-role={role}>
          {label}
          <Endless model={model} name={name} />
        </span>
      ))}
      <span className="nbt-tools">
        {unzoom && (
          <button type="button" data-nbt={`unzoom-${chart.id}`} onClick={unzoom}>
            reset zoom
          </button>
        )}
        {smooth && first && (
          <input
            type="range"
            className="nbt-slider"
            data-nbt="smoothing"
            aria-label="Smoothing"
            aria-valuetext={drawing.smoothing.toFixed(2)}
            title={`Smoothing ${drawing.smoothing.toFixed(2)}`}
            min={0.5}
            max={0.99}
            step={0.01}
            value={drawing.smoothing}
            style={{ '--nbt-share': (drawing.smoothing - 0.5) / 0.49 } as React.CSSProperties}
            onChange={event => setDrawing({ ...drawing, smoothing: Number(event.target.value) })}
          />
        )}
        <button
          type="button"
          data-nbt={`smooth-${chart.id}`}
          aria-label="smooth all curves"
          aria-pressed={smooth}
          title="Draw the lines as moving averages"
          onClick={() => setDrawing({ ...drawing, smoothing: smooth ? 0 : 0.9 })}
        >
          smooth
        </button>
        <button
          type="button"
          data-nbt={`log-${chart.id}`}
          aria-label={`log scale of ${chart.title}`}
          aria-pressed={log}
          title="Logarithmic scale"
          onClick={toggle}
        >
          log
        </button>
      </span>
    </figcaption>
  );
}
