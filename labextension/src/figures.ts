/** The charts' Bokeh figures: built once from the kernel's document, then only filled. */

import {
  add_document_standalone,
  allDocuments,
  Axis,
  BasicTicker,
  BoxAnnotation,
  BoxZoomTool,
  ColumnDataSource,
  type DocJson,
  Document,
  FixedTicker,
  GlyphRenderer,
  Grid,
  Legend,
  Line,
  LinearScale,
  LogScale,
  Plot,
  type PlotView,
  Range1d,
  Scatter,
  Segment,
  Text,
  TickFormatter,
  VArea,
  type ViewManager,
  VSpan
} from './bokeh';
import type { Curve } from './curves';
import type { Palette } from './palette';
import type { Chart, Role } from './protocol';
import { logTicks, tickLabels } from './ticks';

/** Where a chart's frame lies in its host, in pixels. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

export interface Mark {
  readonly x: number;
  readonly undone: boolean;
}

const BAND = 0.16;
/** How strong the bars are from the lowest to the highest value of a point. */
const BARS = 0.45;
/** Share of the horizontal axis that stays free at its end, or a star there would be cut. */
const MARGIN = 0.012;
const FONT_SIZE = '11px';

/** The figures of one view. They know curves, marks and colours, and nothing of the run. */
export class Figures {
  private readonly x = new Range1d({ start: 0, end: 1 });
  private readonly plots = new Map<string, Plot>();
  private readonly views = new Map<string, PlotView>();
  private readonly roles = new Map<string, Role>();
  private readonly hosts = new Map<string, HTMLElement>();
  private manager: ViewManager | null = null;
  private own = false;
  private home: [number, number] = [0, 1];

  /** Whether the user has zoomed in; the horizontal axis then stays where it is. */
  zoomed = false;

  private constructor(
    private readonly document: Document,
    charts: readonly Chart[],
    /** Called when a frame has moved or its axis runs elsewhere. */
    private readonly moved: () => void
  ) {
    for (const chart of charts) {
      const plot = document.get_model_by_name(`chart:${chart.id}`);
      if (plot instanceof Plot) {
        this.plots.set(chart.id, plot);
        for (const { name, role } of chart.series) {
          this.roles.set(name, role);
        }
      }
    }
  }

  /**
   * Draw the figures of `json` into `hosts`, one a chart. The kernel describes glyphs and
   * sources; title, legend, labels and what hovering reads are the page's own text.
   */
  static async draw(
    json: object,
    charts: readonly Chart[],
    hosts: ReadonlyMap<string, HTMLElement>,
    palette: Palette,
    moved: () => void
  ): Promise<Figures> {
    const document = Document.from_json(json as DocJson);
    const figures = new Figures(document, charts, moved);
    for (const root of [...document.roots()]) {
      document.remove_root(root);
    }
    const elements: HTMLElement[] = [];
    for (const [id, plot] of figures.plots) {
      const host = hosts.get(id);
      if (host) {
        figures.prepare(plot);
        document.add_root(plot);
        delete host.dataset.points;
        for (const { name } of charts.find(chart => chart.id === id)?.series ?? []) {
          figures.hosts.set(name, host);
        }
        elements.push(host);
      }
    }
    figures.paint(palette);
    // The sources get the columns that only the browser fills, before a glyph asks for them.
    figures.setMarks([]);
    const views = await add_document_standalone(
      document,
      elements[0] ?? globalThis.document.body,
      elements
    );
    figures.manager = views;
    for (const [id, plot] of figures.plots) {
      const view = views.find_one(plot);
      if (view) {
        figures.views.set(id, view);
        // Nothing in a figure answers to keys, so it is no stop on the way of Tab.
        view.canvas_view.events_el.removeAttribute('tabindex');
        const { inner_width, inner_height } = plot.properties;
        inner_width.change.connect(() => moved());
        inner_height.change.connect(() => moved());
      }
    }
    figures.x.change.connect(() => figures.ranged());
    moved();
    return figures;
  }

  /** Fill a series; what has no figure is passed over. */
  setCurve(name: string, { x, low, high, mean }: Curve): void {
    this.fill(`series:${name}`, { x, low, high, mean });
    const host = this.hosts.get(name);
    if (host) {
      // Nobody can read off a canvas how much is drawn on it.
      const points = JSON.parse(host.dataset.points ?? '{}') as Record<string, number>;
      host.dataset.points = JSON.stringify({ ...points, [name]: x.length });
    }
  }

  /** Mark at the frame's edge where a series has values that no axis holds. */
  setLost(name: string, places: readonly { x: number; above: boolean }[]): void {
    this.fill(`lost:${name}`, {
      x: places.map(({ x }) => x),
      y: places.map(({ above }) => (above ? 1 : 0)),
      marker: places.map(({ above }) => (above ? 'triangle' : 'inverted_triangle'))
    });
  }

  /** Points of a series that no line joins. */
  setLonely(name: string, points: readonly { x: number; y: number }[]): void {
    this.fill(`lonely:${name}`, { x: points.map(({ x }) => x), y: points.map(({ y }) => y) });
  }

  setMarks(marks: readonly Mark[]): void {
    this.fill('marks', {
      x: marks.map(mark => mark.x),
      label: marks.map(() => ''),
      alpha: marks.map(mark => (mark.undone ? 0.35 : 1))
    });
  }

  setBest(chart: string, points: readonly { x: number; y: number }[]): void {
    this.fill(`best:${chart}`, { x: points.map(({ x }) => x), y: points.map(({ y }) => y) });
  }

  setHorizon(chart: string, horizon: { from: number; to: number } | null): void {
    const box = this.document.get_model_by_name(`horizon:${chart}`);
    if (box instanceof BoxAnnotation) {
      box.setv({ visible: horizon !== null, left: horizon?.from ?? 0, right: horizon?.to ?? 0 });
    }
  }

  /** Let the horizontal axis end at `end`, unless the user has zoomed. */
  setEnd(end: number): void {
    this.home = [0, end * (1 + MARGIN)];
    if (!this.zoomed) {
      this.move(this.home);
    }
  }

  /** Back from the user's zoom. */
  unzoom(): void {
    this.zoomed = false;
    this.move(this.home);
    this.moved();
  }

  /** The part of the horizontal axis that is shown. */
  get window(): [number, number] {
    return [this.x.start, this.x.end];
  }

  setVertical(chart: string, [start, end]: [number, number]): void {
    const plot = this.plots.get(chart);
    const range = plot?.y_range;
    if (plot && range instanceof Range1d && (range.start !== start || range.end !== end)) {
      range.setv({ start, end });
      if (plot.y_scale instanceof LogScale) {
        setTicks(plot, logTicks(start, end));
      }
    }
  }

  setLog(chart: string, log: boolean): void {
    const plot = this.plots.get(chart);
    if (!plot || plot.y_scale instanceof LogScale === log) {
      return;
    }
    setTicker(plot, log ? new FixedTicker() : linearTicker());
    plot.y_scale = log ? new LogScale() : new LinearScale();
  }

  /** Colour everything by `palette`. */
  paint(palette: Palette): void {
    for (const plot of this.plots.values()) {
      plot.setv({
        background_fill_color: null,
        border_fill_color: null,
        outline_line_color: null
      });
      for (const axis of [...plot.left, ...plot.below]) {
        if (axis instanceof Axis) {
          const vertical = plot.left.includes(axis);
          axis.setv({
            axis_line_color: vertical ? null : palette.axis,
            major_tick_line_color: null,
            minor_tick_line_color: null,
            major_label_text_color: palette.muted,
            major_label_text_font: palette.font,
            major_label_text_font_size: FONT_SIZE,
            axis_label: null
          });
        }
      }
      for (const grid of plot.center) {
        if (grid instanceof Grid) {
          grid.setv({ grid_line_color: palette.grid, minor_grid_line_color: null });
        }
      }
      for (const renderer of plot.renderers) {
        if (renderer instanceof GlyphRenderer) {
          this.colour(renderer as GlyphRenderer, palette);
        }
      }
    }
  }

  /** Where the frame of `chart` lies in its host. */
  box(chart: string): Box | null {
    const bbox = this.views.get(chart)?.frame.bbox;
    return bbox && bbox.width > 0
      ? { left: bbox.left, top: bbox.top, width: bbox.width, height: bbox.height }
      : null;
  }

  dispose(): void {
    this.manager?.clear();
    // Bokeh keeps every document for as long as the page lives, unless it is taken out.
    const index = allDocuments.indexOf(this.document);
    if (index >= 0) {
      allDocuments.splice(index, 1);
    }
    this.views.clear();
    this.plots.clear();
  }

  private prepare(plot: Plot): void {
    plot.setv({
      title: null,
      x_range: this.x,
      y_range: new Range1d({ start: 0, end: 1 }),
      sizing_mode: 'stretch_both',
      toolbar_location: null,
      min_border_left: 58,
      min_border_right: 16,
      min_border_top: 6,
      min_border_bottom: 24,
      center: plot.center.filter(item => !(item instanceof Legend))
    });
    for (const axis of plot.left) {
      if (axis instanceof Axis) {
        axis.formatter = new Ticks();
      }
    }
    setTicker(plot, linearTicker());
    const zoom = plot.toolbar.tools.find(tool => tool instanceof BoxZoomTool);
    plot.toolbar.setv({
      tools: [zoom ?? new BoxZoomTool({ dimensions: 'width' })],
      active_scroll: null
    });
    for (const renderer of plot.renderers) {
      // The labels of the marks are the page's own text, placed so that none collide.
      if (renderer instanceof GlyphRenderer && renderer.glyph instanceof Text) {
        renderer.visible = false;
      }
    }
  }

  private colour(renderer: GlyphRenderer, palette: Palette): void {
    const { glyph, data_source } = renderer;
    const name = data_source.name ?? '';
    const [, kind, series] = /^(\w+):(.*)$/s.exec(name) ?? [];
    const role = this.roles.get(series) ?? 'train';
    if (glyph instanceof VArea) {
      glyph.setv({ fill_color: palette[role], fill_alpha: BAND });
    } else if (glyph instanceof Segment) {
      glyph.setv({ line_color: palette[role], line_alpha: BARS, line_width: 1 });
    } else if (glyph instanceof Line) {
      glyph.setv({
        line_color: palette[role],
        line_width: role === 'train' ? 1.6 : 2,
        line_dash: role === 'train' ? [] : [6, 3]
      });
    } else if (glyph instanceof VSpan) {
      glyph.setv({
        line_color: palette.mark,
        line_alpha: { field: 'alpha' },
        line_dash: [3, 3],
        line_width: 1
      });
    } else if (glyph instanceof Scatter && kind === 'lonely') {
      glyph.setv({ fill_color: palette[role], line_color: null, size: 5 });
    } else if (glyph instanceof Scatter && kind === 'lost') {
      // Above a validation's mark its own stays seen.
      const fill = role === 'train' ? palette.train : palette.surface;
      glyph.setv({ fill_color: fill, line_color: palette[role], line_width: 1.5 });
    } else if (glyph instanceof Scatter) {
      glyph.setv({ fill_color: palette.validation, line_color: palette.surface, size: 15 });
    }
  }

  private fill(name: string, data: Record<string, ArrayLike<unknown>>): void {
    const source = this.document.get_model_by_name(name);
    if (source instanceof ColumnDataSource) {
      source.data = data as typeof source.data;
    }
  }

  private move([start, end]: [number, number]): void {
    if (this.x.start === start && this.x.end === end) {
      return;
    }
    this.own = true;
    this.x.setv({ start, end });
    this.own = false;
    this.moved();
  }

  private ranged(): void {
    if (!this.own) {
      this.zoomed = true;
      // After the zoom has set all of its ranges, or it would undo what follows from this one.
      queueMicrotask(() => this.moved());
    }
  }
}

class Ticks extends TickFormatter {
  static __name__ = 'nbtrain.Ticks';

  doFormat(ticks: number[]): string[] {
    return tickLabels(ticks);
  }
}

function linearTicker() {
  return new BasicTicker({ desired_num_ticks: 5, num_minor_ticks: 0 });
}

function setTicker(plot: Plot, ticker: Axis['ticker']): void {
  for (const axis of plot.left) {
    if (axis instanceof Axis) {
      axis.ticker = ticker;
    }
  }
}

function setTicks(plot: Plot, ticks: number[]): void {
  for (const axis of plot.left) {
    if (
      axis instanceof Axis &&
      axis.ticker instanceof FixedTicker &&
      [...axis.ticker.ticks].join() !== ticks.join()
    ) {
      axis.ticker.ticks = ticks;
    }
  }
}
