/** How components read the model: each is drawn again only when what it reads was replaced. */

import { useCallback, useSyncExternalStore } from 'react';

import type { PanelModel } from './model';
import type { View } from './protocol';

/** What `read` returns, followed as the model changes. */
export function useModel<T>(model: PanelModel, read: (model: PanelModel) => T): T {
  const subscribe = useCallback(
    (listener: () => void) => {
      model.changed.connect(listener);
      return () => {
        model.changed.disconnect(listener);
      };
    },
    [model]
  );
  return useSyncExternalStore(subscribe, () => read(model));
}

/** One key of the run's view. */
export function useView<K extends keyof View>(model: PanelModel, key: K): View[K] {
  return useModel(model, ({ state }) => state.view[key]);
}

/** Why the run takes no commands now, or null if it does. */
export function useClosed(model: PanelModel): string | null {
  const readonly = useView(model, 'readonly');
  const live = useModel(model, ({ live }) => live);
  if (!live) {
    return 'The kernel of this run is gone.';
  }
  return readonly ? 'This run is not live, so it takes no commands.' : null;
}

/** Why the run obeys no change of a knob any more, or null if it does. */
export function useSettled(model: PanelModel): string | null {
  const closed = useClosed(model);
  const { outcome } = useView(model, 'state');
  return closed ?? (outcome === 'failed' ? 'The run failed, so it takes no changes.' : null);
}
