/** Tells a screen reader what changed, in the words that the panel shows. */

import { memo, useEffect, useRef, useState } from 'react';

import { answerText } from './answer';
import { stateWord } from './header';
import { useModel, useView } from './hooks';
import type { PanelModel } from './model';

export const Announcer = memo(function Announcer({ model }: { model: PanelModel }) {
  const state = useView(model, 'state');
  const live = useModel(model, ({ live }) => live);
  const values = useView(model, 'values');
  const rejected = useModel(model, ({ client }) => client.rejected);
  const notices = useView(model, 'notices');
  const said = useRef({ word: stateWord(state, live), values, rejected, notices });
  const [text, setText] = useState('');
  useEffect(() => {
    const news: string[] = [];
    const word = stateWord(state, live);
    if (word !== said.current.word) {
      news.push(`The run is ${word}.`);
    }
    for (const knob of model.state.view.knobs) {
      const value = values[knob.name];
      // A layer's rate is set with the rate of all too, which is news once.
      const action = model.state.view.actions.find(({ id }) => id === value?.command);
      if (
        value &&
        (!action || action.knob === knob.name) &&
        value.step !== null &&
        value.command !== said.current.values[knob.name]?.command
      ) {
        news.push(`${knob.label}: ${answerText(knob, value)}.`);
      }
    }
    for (const [target, reason] of rejected) {
      if (said.current.rejected.get(target) !== reason) {
        news.push(reason);
      }
    }
    for (const notice of notices) {
      const before = said.current.notices.find(({ topic }) => topic === notice.topic);
      if (before?.text !== notice.text) {
        news.push(notice.text);
      }
    }
    said.current = { word, values, rejected, notices };
    if (news.length > 0) {
      setText(news.join(' '));
    }
  }, [model, state, live, values, rejected, notices]);
  return (
    <div className="nbt-hidden" role="status" aria-live="polite">
      {text}
    </div>
  );
});
