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
    this.el.addEventListener('focusin', ownKeys);
    this.root = createRoot(this.el);
    this.root.render(<Panel model={this.model} />);
  }

  remove(): this {
    this.root?.unmount();
    this.root = null;
    return super.remove() as this;
  }
}

/**
 * Give an element that takes the focus its keys. The notebook's shortcuts, such as Enter and
 * the arrows, match any focused element in a cell that is no text field, unless it says so
 * itself.
 */
function ownKeys(event: FocusEvent): void {
  (event.target as Element).setAttribute('data-lm-suppress-shortcuts', 'true');
}
