/** A cell's output of a run: the live panel where a kernel holds it, else its picture. */

import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel, Widget } from '@lumino/widgets';

import * as live from './live';

/** Says that an output is a run; nbtrain/ui/panel.py writes it. */
export const RUN = 'application/vnd.nbtrain.run.v1+json';
const VIEW = 'application/vnd.jupyter.widget-view+json';

/** Below the widget manager's −10: of a bundle that holds both, ours is the one drawn. */
export const RANK = -20;

export const factory: IRenderMime.IRendererFactory = {
  // Safe, because of an output that is not trusted only the picture is drawn.
  safe: true,
  mimeTypes: [RUN],
  createRenderer: () => new RunOutput()
};

/**
 * Draws one output. A model that comes later, as when the kernel is started or the page
 * reloads while it is busy, takes the picture's place.
 */
export class RunOutput extends Panel implements IRenderMime.IRenderer {
  private model: IRenderMime.IMimeModel | null = null;
  /** Id of the model whose view is mounted or under way; null for the picture. */
  private mounted: string | null = null;

  constructor() {
    super();
    this.addClass('nbt-output');
    live.changed.connect(this.onChanged);
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.model = model;
    await this.draw();
  }

  dispose(): void {
    live.changed.disconnect(this.onChanged);
    super.dispose();
  }

  private readonly onChanged = (_: object, id: string): void => {
    if (this.model && id === modelId(this.model)) {
      void this.draw();
    }
  };

  private async draw(): Promise<void> {
    const output = this.model!;
    const id = output.trusted ? modelId(output) : null;
    const model = id === null ? undefined : live.find(id);
    if (!model) {
      this.mounted = null;
      this.replace(picture(output));
      return;
    }
    if (this.mounted === model.model_id) {
      // The kernel renews the output's picture while the panel stands; it stays as it is.
      return;
    }
    this.mounted = model.model_id;
    const view = await model.createView();
    if (this.isDisposed || this.mounted !== model.model_id) {
      view.remove();
      return;
    }
    this.replace(view.luminoWidget);
  }

  /** Put `widget` in the place of what stands here. */
  private replace(widget: Widget): void {
    for (const old of [...this.widgets]) {
      old.dispose();
    }
    this.addWidget(widget);
  }
}

function modelId(model: IRenderMime.IMimeModel): string | null {
  const view = model.data[VIEW] as { model_id?: unknown } | undefined;
  return typeof view?.model_id === 'string' ? view.model_id : null;
}

/** The run as it was saved: a picture, with its text for those who do not see it. */
function picture(model: IRenderMime.IMimeModel): Widget {
  const text = joined(model.data['text/plain']);
  const png = joined(model.data['image/png']);
  const widget = new Widget();
  widget.addClass('nbt-picture');
  if (png) {
    const image = document.createElement('img');
    image.src = `data:image/png;base64,${png.replace(/\s/g, '')}`;
    image.alt = text;
    widget.node.append(image);
  } else {
    const pre = document.createElement('pre');
    pre.textContent = text || 'A training run without a saved picture.';
    widget.node.append(pre);
  }
  return widget;
}

function joined(value: unknown): string {
  return Array.isArray(value) ? value.join('') : typeof value === 'string' ? value : '';
}
