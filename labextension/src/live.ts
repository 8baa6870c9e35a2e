/** The runs that a kernel of this page holds, by the ids of their widgets. */

import type { DOMWidgetView } from '@jupyter-widgets/base';
import { Signal } from '@lumino/signaling';

/** What a saved output needs of a live run's model. */
export interface LiveModel {
  readonly model_id: string;
  /** Make a view of the run; a model may have several. */
  createView(): Promise<DOMWidgetView>;
}

const models = new Map<string, LiveModel>();
const owner = {};

/** Emitted with the id of a model that came or went. */
export const changed = new Signal<object, string>(owner);

export function find(id: string): LiveModel | undefined {
  return models.get(id);
}

export function add(model: LiveModel): void {
  models.set(model.model_id, model);
  changed.emit(model.model_id);
}

export function remove(model: LiveModel): void {
  if (models.get(model.model_id) === model) {
    models.delete(model.model_id);
    changed.emit(model.model_id);
  }
}
