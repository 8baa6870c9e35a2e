/** What the run wants the user to know, each with at most one button. */

import { memo } from 'react';

import { useClosed, useView } from './hooks';
import type { PanelModel } from './model';
import { current, Remedies } from './remedies';

export const Notices = memo(function Notices({ model }: { model: PanelModel }) {
  const all = useView(model, 'notices');
  const closed = useClosed(model);
  const state = useView(model, 'state');
  const progress = useView(model, 'progress');
  // What only offers a button is nothing to read where no button acts.
  const notices = all.filter(
    notice => !(closed && notice.button) && current(notice, state, progress)
  );
  if (notices.length === 0) {
    return null;
  }
  return (
    <ul className="nbt-notices">
      {notices.map(notice => {
        const { topic, level, text, button } = notice;
        return (
          <li key={topic} data-level={level} data-nbt={`notice-${topic.split(':')[0]}`}>
            <span>
              {level === 'warning' && <b>Warning. </b>}
              {text}
            </span>
            {button && (
              <button
                type="button"
                className="nbt-button"
                data-nbt="notice-button"
                aria-disabled={closed !== null}
                title={closed ?? undefined}
                onClick={() => closed ?? model.client.relay(button.command, button.run)}
              >
                {button.label}
              </button>
            )}
            <Remedies model={model} notice={notice} closed={closed} />
          </li>
        );
      })}
    </ul>
  );
});
