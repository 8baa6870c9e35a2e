/** The exact cell that the run trains, and the earlier cells it stands on. */

import { memo, useEffect, useRef, useState } from 'react';

import { useView } from './hooks';
import type { PanelModel } from './model';
import { Inferred } from './notes';

export const CodeTab = memo(function CodeTab({ model }: { model: PanelModel }) {
  const code = useView(model, 'code');
  const notes = useView(model, 'notes');
  const { name } = useView(model, 'run');
  if (!code?.source) {
    return <p className="nbt-nothing">This run was not started from a cell.</p>;
  }
  const options = Object.entries(code.options ?? {});
  const first = ['%%train', name, ...options.map(([key, value]) => flag(key, value))].join(' ');
  return (
    <div className="nbt-code">
      {notes.length > 0 && <Inferred notes={notes} />}
      {code.context.length > 0 && (
        <details>
          <summary>
            {code.context.length === 1 ? '1 earlier cell' : `${code.context.length} earlier cells`}{' '}
            it reads from
          </summary>
          {code.context.map((source, index) => (
            <pre key={index} tabIndex={0}>
              {source}
            </pre>
          ))}
        </details>
      )}
      <div className="nbt-cell">
        <Copy text={`${first}\n${code.source}`} />
        <pre tabIndex={0} data-nbt="code">
          <span className="nbt-magic">{first}</span>
          {'\n'}
          {code.source}
        </pre>
      </div>
    </div>
  );
});

function flag(name: string, value: unknown): string {
  const word = name.replace(/_/g, '-');
  if (typeof value === 'boolean') {
    return value ? `--${word}` : `--no-${word}`;
  }
  const text =
    typeof value === 'string' || typeof value === 'number'
      ? String(value)
      : value === null
        ? 'off'
        : `{${JSON.stringify(value)}}`;
  return `--${word} ${text}`;
}

function Copy({ text }: { text: string }): JSX.Element {
  const [copied, setCopied] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>();
  useEffect(() => () => clearTimeout(timer.current), []);
  const onClick = async (): Promise<void> => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setCopied(false), 2000);
  };
  return (
    <button
      type="button"
      className="nbt-button nbt-copy"
      data-nbt="copy"
      onClick={() => void onClick()}
    >
      {copied ? 'Copied' : 'Copy'}
    </button>
  );
}
