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
    // Before the notebook's own listener, which is the document's.
    window.addEventListener('keydown', this.ownKeys, true);
    this.root = createRoot(this.el);
    this.root.render(<Panel model={this.model} />);
  }

  remove(): this {
    window.removeEventListener('keydown', this.ownKeys, true);
    this.root?.unmount();
    this.root = null;
    return super.remove() as this;
  }

  /**
   * Keep the panel's keys, such as Enter and the arrows, from the notebook, whose shortcuts
   * match any focused element in a cell unless it says so itself; letters with Ctrl or Cmd,
   * as to save, are the notebook's own.
   */
  private readonly ownKeys = ({ target, key, ctrlKey, metaKey }: KeyboardEvent): void => {
    if (target instanceof Element && this.el.contains(target)) {
      const theirs = (ctrlKey || metaKey) && key.length === 1;
      target.toggleAttribute('data-lm-suppress-shortcuts', !theirs);
    }
  };
}
