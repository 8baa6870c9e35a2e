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

const { require: load } = bundle as { require: (name: string) => unknown };

export const { Document, documents: allDocuments } = load('document') as typeof documents;
export const { add_document_standalone } = load('embed') as typeof embed;
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
export type { PlotView } from '@bokeh/bokehjs/build/js/lib/models/plots/plot';
