/** The panel: header, notices, and the tabs below. */

import { memo, useId, useRef, useState } from 'react';

import { Announcer } from './announcer';
import { Charts } from './charts';
import { CodeTab } from './code';
import { Controls } from './controls';
import { Failure } from './failure';
import { Header } from './header';
import { useModel } from './hooks';
import { LogTab } from './log';
import type { PanelModel } from './model';
import { Notes } from './notes';
import { Notices } from './notices';

/** How the charts are drawn; the reader's own choice, which no run knows. */
export interface Drawing {
  /** Ids of the charts on a log scale. */
  readonly log: ReadonlySet<string>;
  /** Share of the past in the smoothed line; 0 draws the line as it is. */
  readonly smoothing: number;
}

const TABS = ['Curves', 'Log', 'Code'] as const;
type Tab = (typeof TABS)[number];

export function Panel({ model }: { model: PanelModel }): JSX.Element {
  const known = useModel(model, ({ state }) => state.known);
  const [drawing, setDrawing] = useState<Drawing>({ log: new Set(), smoothing: 0 });
  if (!known) {
    return <div className="nbt-empty">Asking the kernel for the run…</div>;
  }
  return (
    <section className="nbt-frame" aria-label="Training run">
      <Header model={model} drawing={drawing} setDrawing={setDrawing} />
      <Failure model={model} />
      <Notices model={model} />
      <Tabs model={model} drawing={drawing} setDrawing={setDrawing} />
      <Announcer model={model} />
    </section>
  );
}

interface TabsProps {
  model: PanelModel;
  drawing: Drawing;
  setDrawing: (drawing: Drawing) => void;
}

const Tabs = memo(function Tabs({ model, drawing, setDrawing }: TabsProps) {
  const id = useId();
  const [tab, setTab] = useState<Tab>('Curves');
  const list = useRef<HTMLDivElement>(null);
  const onKeyDown = (event: React.KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) {
      const next = (TABS.indexOf(tab) + step + TABS.length) % TABS.length;
      setTab(TABS[next]);
      (list.current?.children[next] as HTMLElement | undefined)?.focus();
      event.preventDefault();
    }
  };
  return (
    <>
      <div className="nbt-tabs">
        <div role="tablist" aria-label="Views of the run" ref={list} onKeyDown={onKeyDown}>
          {TABS.map(name => (
            <button
              key={name}
              type="button"
              role="tab"
              id={`${id}-tab-${name}`}
              data-nbt={`tab-${name.toLowerCase()}`}
              aria-selected={tab === name}
              aria-controls={`${id}-${name}`}
              tabIndex={tab === name ? 0 : -1}
              onClick={() => setTab(name)}
            >
              {name}
              {name === 'Log' && <LogCount model={model} />}
            </button>
          ))}
        </div>
        {tab !== 'Code' && <Notes model={model} />}
      </div>
      <div
        role="tabpanel"
        className="nbt-tabpanel"
        id={`${id}-${tab}`}
        aria-labelledby={`${id}-tab-${tab}`}
      >
        {tab === 'Curves' && (
          <div className="nbt-curves">
            <Charts model={model} drawing={drawing} setDrawing={setDrawing} />
            <Controls model={model} />
          </div>
        )}
        {tab === 'Log' && <LogTab model={model} />}
        {tab === 'Code' && <CodeTab model={model} />}
      </div>
    </>
  );
});

function LogCount({ model }: { model: PanelModel }): JSX.Element | null {
  const total = useModel(model, ({ state }) => state.log.total);
  return total > 0 ? <span className="nbt-count">{total > 999 ? '999+' : total}</span> : null;
}
