/**
 * What we use of BokehJS, out of the bundle that Bokeh tests and ships.
 *
 * The separate modules of the same package cannot be built into ours: their class fields are
 * native ones, which reset what a model's constructor has set. The types are theirs.
 */

import bundle from '@bokeh/bokehjs/build/js/bokeh.esm.min.js';
import type * as documents from '@bokeh/bokehjs/build/js/lib/document';
import type * as embed from '@bokeh/bokehjs/build/js/lib/embed';
import type * as models from '@bokeh/bokehjs/build/js/lib/models';
import type * as plots from '@bokeh/bokehjs/build/js/lib/models/plots/plot_canvas';

const { require: load } = bundle as { require: (name: string) => unknown };

export const { Document, documents: allDocuments } = load('document') as typeof documents;
export const { add_document_standalone } = load('embed') as typeof embed;
const { PlotView } = load('models/plots/plot_canvas') as typeof plots;
export const {
  Axis,
  BasicTicker,
  BoxAnnotation,
  BoxZoomTool,
  ColumnDataSource,
  FixedTicker,
  GlyphRenderer,
  Grid,
  Legend,
  Line,
  LinearScale,
  LogScale,
  Plot,
  Range1d,
  Scatter,
  Segment,
  Text,
  TickFormatter,
  VArea,
  VSpan
} = load('models') as typeof models;

export type Axis = models.Axis;
export type Plot = models.Plot;
export type GlyphRenderer = models.GlyphRenderer;
export type Range1d = models.Range1d;
export type Document = documents.Document;
export type { DocJson } from '@bokeh/bokehjs/build/js/lib/document';
export type { ViewManager } from '@bokeh/bokehjs/build/js/lib/core/view_manager';
export type PlotView = plots.PlotView;

// A plot of Bokeh 3.9 listens to the page's viewport and never stops, which keeps its canvases
// for as long as the page lives. Ours stop when they are removed.
const listen = Object.getOwnPropertyDescriptor(PlotView.prototype, 'connect_signals');
PlotView.prototype.connect_signals = function (this: PlotView): void {
  const original = listen?.value as (this: PlotView) => void;
  const viewport = window.visualViewport;
  if (!viewport) {
    original.call(this);
    return;
  }
  const heard: [string, EventListener][] = [];
  viewport.addEventListener = (type: string, listener: EventListener): void => {
    heard.push([type, listener]);
    EventTarget.prototype.addEventListener.call(viewport, type, listener);
  };
  try {
    original.call(this);
  } finally {
    // The method of its prototype comes to light again.
    delete (viewport as Partial<VisualViewport>).addEventListener;
  }
  this.removed.connect(() => {
    heard.forEach(([type, listener]) => viewport.removeEventListener(type, listener));
  });
};
