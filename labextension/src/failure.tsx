/** The user's own error, where the run ended in one. */

import { memo } from 'react';

import { useView } from './hooks';
import type { PanelModel } from './model';
import { plainText } from './text';

export const Failure = memo(function Failure({ model }: { model: PanelModel }) {
  const { error, traceback } = useView(model, 'state');
  if (!error) {
    return null;
  }
  return (
    <div className="nbt-failure" role="alert" data-nbt="failure">
      <p data-nbt="error">{plainText(error)}</p>
      {traceback && (
        <details open>
          <summary>Traceback</summary>
          <pre tabIndex={0} data-nbt="traceback">
            {plainText(traceback)}
          </pre>
        </details>
      )}
    </div>
  );
});
