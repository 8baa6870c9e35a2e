/** The exact value of a knob, to read and to type. */

import { useEffect, useRef, useState } from 'react';

import type { Value } from './messages';
import type { Knob } from './protocol';

interface Props {
  knob: Knob;
  name: string;
  text: string;
  off: boolean;
  /** Whether an answer is still to come. */
  unsure: boolean;
  /** Whether what was asked for last was refused. */
  refused: boolean;
  disabled: boolean;
  describe: string;
  /** Ask the run for a value; false where it cannot be asked for. */
  commit: (value: Value) => boolean;
  /** What was refused is taken back. */
  forgive: () => void;
}

/**
 * A field for numbers and words. Enter, or going elsewhere, sends what was typed; Escape takes
 * it back. What is refused stays, marked, until it is edited or taken back.
 */
export function Field(props: Props): JSX.Element {
  const { knob, name, text, off, unsure, refused, disabled, describe, commit, forgive } = props;
  const [draft, setDraft] = useState<string | null>(null);
  const [stage, setStage] = useState<'typed' | 'sent' | 'refused'>('typed');

  useEffect(() => {
    if (stage === 'sent' && !unsure && refused) {
      setStage('refused');
    } else if (stage === (unsure ? 'refused' : 'sent')) {
      // The answer is there, or something else was asked for since.
      setDraft(null);
      setStage('typed');
    }
  }, [stage, unsure, refused]);

  const before = useRef(refused);
  useEffect(() => {
    if (before.current && !refused && stage === 'refused') {
      // The refusal gave way to a newer value, which the field shows again.
      setDraft(null);
      setStage('typed');
    }
    before.current = refused;
  }, [stage, refused]);

  const edit = (next: string | null): void => {
    setDraft(next);
    setStage('typed');
    if (stage === 'refused') {
      forgive();
    }
  };
  const send = (): void => {
    const typed = draft?.trim() ?? '';
    if (typed === '' || typed === text) {
      edit(null);
    } else {
      const entered = Number(typed);
      setStage(commit(Number.isNaN(entered) ? typed : entered) ? 'sent' : 'refused');
    }
  };
  const onKeyDown = (event: React.KeyboardEvent<HTMLInputElement>): void => {
    if (event.key === 'Enter' && draft !== null) {
      send();
    } else if (event.key === 'Escape') {
      edit(null);
    }
    // The notebook has shortcuts for single keys; those with Ctrl or Cmd, as to save, stay.
    if (!event.ctrlKey && !event.metaKey) {
      event.stopPropagation();
    }
  };
  return (
    <span className="nbt-value" data-off={off} data-unsure={unsure}>
      <input
        type="text"
        inputMode={knob.words.length ? 'text' : 'decimal'}
        className="nbt-field"
        data-nbt={`field-${knob.name}`}
        aria-label={`${name}, exact value`}
        aria-describedby={describe}
        aria-invalid={stage === 'refused'}
        autoComplete="off"
        spellCheck={false}
        size={Math.max(3, (draft ?? text).length)}
        disabled={disabled}
        value={draft ?? text}
        onChange={event => edit(event.target.value)}
        onFocus={event => event.target.select()}
        onBlur={() => {
          if (draft !== null && stage === 'typed') {
            send();
          }
        }}
        onKeyDown={onKeyDown}
      />
    </span>
  );
}
