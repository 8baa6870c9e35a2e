/** The user's own prints, as text. */

import { memo, useLayoutEffect, useRef } from 'react';

import { useModel } from './hooks';
import type { PanelModel } from './model';
import { plainText } from './text';

export const LogTab = memo(function LogTab({ model }: { model: PanelModel }) {
  const log = useModel(model, ({ state }) => state.log);
  const box = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  useLayoutEffect(() => {
    if (following.current && box.current) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [log]);
  const onScroll = (): void => {
    const { scrollTop, scrollHeight, clientHeight } = box.current!;
    following.current = scrollHeight - scrollTop - clientHeight < 8;
  };
  if (log.lines.length === 0) {
    return (
      <p className="nbt-nothing">Nothing printed yet. What the training prints appears here.</p>
    );
  }
  const left = log.first;
  return (
    <div
      className="nbt-log"
      data-nbt="log"
      role="log"
      aria-live="off"
      aria-label="Log of the run"
      tabIndex={0}
      ref={box}
      onScroll={onScroll}
    >
      {left > 0 && <div className="nbt-left-out">{left} earlier lines are not shown</div>}
      {log.lines.map((line, index) => (
        <Line key={left + index} stream={line.stream} text={line.text} />
      ))}
    </div>
  );
});

const Line = memo(function Line({ stream, text }: { stream: string; text: string }) {
  return (
    <div data-stream={stream}>
      {stream !== 'stdout' && <span className="nbt-hidden">{stream}: </span>}
      {plainText(text).replace(/\n$/, '') || '\u200b'}
    </div>
  );
});
