/** The widget's view: a React tree in the widget's element. */

import { DOMWidgetView } from '@jupyter-widgets/base';
import { createRoot, type Root } from 'react-dom/client';

import type { PanelModel } from './model';
import { Panel } from './panel';

export class PanelView extends DOMWidgetView {
  declare model: PanelModel;
  private root: Root | null = null;

  render(): void {
    super.render();
    this.el.classList.add('nbt-panel');
    this.root = createRoot(this.el);
    this.root.render(<Panel model={this.model} />);
  }

  remove(): this {
    this.root?.unmount();
    this.root = null;
    return super.remove() as this;
  }
}
