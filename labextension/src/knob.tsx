/** One knob: its control, its exact value, and what the run answered. */

import { memo, useEffect, useId, useMemo, useRef, useState } from 'react';

import { answerText, check, onValue } from './answer';
import { Drag } from './drag';
import { Field } from './field';
import { isOff, knobValue } from './format';
import { useModel } from './hooks';
import type { Value } from './messages';
import type { PanelModel } from './model';
import type { Knob, KnobValue } from './protocol';
import { travel } from './scale';

export interface Props {
  model: PanelModel;
  knob: Knob;
  /** Why no knob can be set now, or null. */
  closed: string | null;
}

export const KnobRow = memo(function KnobRow({ model, knob, closed }: Props) {
  const id = useId();
  const target = `knob:${knob.name}`;
  const known = useModel(model, ({ state }) => state.view.values[knob.name]);
  const value = useStable(known);
  const pending = useModel(model, ({ client }) => client.pending.get(target));
  const refused = useModel(model, ({ client }) => client.rejected.get(target));
  const [wish, setWish] = useState<{ value: Value } | null>(null);
  const { drag, held, hold, release } = useDrag(model, knob);
  const remembered = useRef<Value>(null);

  // The wish gives way to the run's answer: when nothing is under way any more, the value
  // shown is the one that took effect.
  const busy = held || pending !== undefined;
  useEffect(() => {
    if (!busy && drag.idle) {
      setWish(null);
    }
  }, [busy, drag, value]);

  // What was refused is past once another command, such as an undo, has set the knob since.
  const setBy = value?.command ?? null;
  const last = useRef({ setBy, refused });
  useEffect(() => {
    const before = last.current;
    last.current = { setBy, refused };
    if (refused !== undefined && before.refused === refused && before.setBy !== setBy) {
      model.client.forgive(target);
    }
  }, [model, target, setBy, refused]);

  const current = value?.value ?? null;
  if (!isOff(knob, current)) {
    remembered.current = current;
  }
  const shown = wish ? wish.value : current;
  const off = isOff(knob, shown);
  const reason = knob.reason ?? closed;
  const set = (next: Value): void => {
    setWish({ value: next });
    model.client.send({ kind: 'Set', knob: knob.name, value: next, schedule: 'rebase' });
  };
  const describe = `${id}-doc ${id}-answer`;
  const text = knobValue(knob, shown);
  return (
    <div
      className="nbt-knob"
      data-nbt={`knob-${knob.name}`}
      data-value={text}
      data-layer={knob.layer ?? undefined}
      aria-disabled={reason !== null}
      title={reason ?? undefined}
    >
      <label className="nbt-label" htmlFor={`${id}-main`} title={reason ?? knob.doc}>
        {knob.layer !== null && <span className="nbt-unit">layer </span>}
        {knob.label}
        {knob.unit && <span className="nbt-unit"> {knob.unit}</span>}
      </label>
      <div className="nbt-control">
        {knob.can_be_off && knob.kind !== 'text' && knob.kind !== 'choice' && (
          <Switch
            id={knob.slider ? undefined : `${id}-main`}
            label={`${called(knob)} on`}
            name={`switch-${knob.name}`}
            on={!off}
            disabled={reason !== null}
            describe={describe}
            flip={() => {
              const planned = model.state.view.progress.total_steps;
              set(off ? onValue(knob, value, remembered.current, planned) : 'off');
            }}
          />
        )}
        {knob.slider && !(off && knob.can_be_off) && (
          <Slider
            id={`${id}-main`}
            knob={knob}
            value={shown}
            text={text}
            disabled={reason !== null}
            describe={describe}
            hold={hold}
            release={release}
            move={next => {
              setWish({ value: next });
              drag.move(next);
            }}
          />
        )}
        {(knob.kind === 'choice' || knob.kind === 'text') && (
          <Select
            id={`${id}-main`}
            knob={knob}
            value={shown}
            disabled={reason !== null}
            describe={describe}
            choose={set}
          />
        )}
        {knob.kind === 'flag' && (
          <Switch
            id={`${id}-main`}
            label={called(knob)}
            name={`switch-${knob.name}`}
            on={shown === true}
            disabled={reason !== null}
            describe={describe}
            flip={() => set(shown !== true)}
          />
        )}
      </div>
      {knob.slider && (
        <Field
          knob={knob}
          name={called(knob)}
          text={text}
          off={off}
          unsure={wish !== null}
          disabled={reason !== null}
          refused={refused !== undefined}
          describe={describe}
          commit={entered => {
            const problem = check(knob, entered);
            if (problem) {
              model.client.refuse(target, problem);
            } else {
              set(entered);
            }
            return problem === null;
          }}
          forgive={() => model.client.forgive(target)}
        />
      )}
      <span className="nbt-hidden" id={`${id}-doc`}>
        {reason ?? knob.doc}
      </span>
      <Answer id={`${id}-answer`} model={model} knob={knob} value={value} refused={refused} />
    </div>
  );
});

/** A knob's name by itself, read out of the row it stands in. */
export function called({ name, label, layer }: Knob): string {
  return layer === null ? label : `${name.split('.')[0]} of layer ${label}`;
}

/** `value`, the same object as long as its content is the same. */
function useStable(value: KnobValue | undefined): KnobValue | undefined {
  const last = useRef(value);
  if (JSON.stringify(last.current) !== JSON.stringify(value)) {
    last.current = value;
  }
  return last.current;
}

function useDrag(model: PanelModel, knob: Knob) {
  const [held, setHeld] = useState(false);
  const drag = useMemo(
    () =>
      new Drag<Value>((value, id) =>
        model.client.send({ kind: 'Set', knob: knob.name, value, drag: id, schedule: 'rebase' })
      ),
    [model, knob.name]
  );
  useEffect(() => () => drag.flush(), [drag]);
  return {
    drag,
    held,
    hold: () => {
      drag.hold();
      setHeld(true);
    },
    release: () => {
      drag.release();
      setHeld(false);
    }
  };
}

interface SwitchProps {
  id?: string;
  label: string;
  name: string;
  on: boolean;
  disabled: boolean;
  describe: string;
  flip: () => void;
}

function Switch({ id, label, name, on, disabled, describe, flip }: SwitchProps): JSX.Element {
  return (
    <button
      type="button"
      role="switch"
      id={id}
      className="nbt-switch"
      data-nbt={name}
      aria-label={label}
      aria-checked={on}
      aria-disabled={disabled}
      aria-describedby={describe}
      onClick={() => !disabled && flip()}
    >
      <span />
    </button>
  );
}

interface SliderProps {
  id: string;
  knob: Knob;
  value: Value;
  text: string;
  disabled: boolean;
  describe: string;
  move: (value: Value) => void;
  hold: () => void;
  release: () => void;
}

function Slider(props: SliderProps): JSX.Element | null {
  const { id, knob, value, text, disabled, describe, move, hold, release } = props;
  // "on" is something to ask for, not a value to stand at.
  const way = useMemo(
    () =>
      travel(
        knob,
        knob.words.filter(word => word !== 'on')
      ),
    [knob]
  );
  if (!way) {
    return null;
  }
  const position = way.position(scalar(value));
  const share = way.last > 0 ? position / way.last : 0;
  return (
    <input
      type="range"
      id={id}
      aria-label={[called(knob), knob.unit].filter(Boolean).join(' ')}
      className="nbt-slider"
      data-nbt={`slider-${knob.name}`}
      min={0}
      max={way.last}
      step={1}
      value={position}
      disabled={disabled}
      style={{ '--nbt-share': share } as React.CSSProperties}
      aria-valuetext={[text, knob.unit].filter(Boolean).join(' ')}
      aria-describedby={describe}
      onChange={event => move(way.value(Number(event.target.value)))}
      onPointerDown={hold}
      onPointerUp={release}
      onPointerCancel={release}
      onBlur={release}
    />
  );
}

/** One number or word for a slider to stand at; rates that differ are drawn at their mean. */
function scalar(value: Value): number | string {
  if (typeof value === 'object' && value !== null) {
    const rates = Object.values(value).map(Number);
    return rates.reduce((sum, rate) => sum + rate, 0) / Math.max(1, rates.length);
  }
  const given = typeof value === 'string' ? value : Number(value ?? 0);
  return given === 'on' || given === 'off' ? 0 : given;
}

interface SelectProps {
  id: string;
  knob: Knob;
  value: Value;
  disabled: boolean;
  describe: string;
  choose: (value: string) => void;
}

function Select({ id, knob, value, disabled, describe, choose }: SelectProps): JSX.Element {
  const current = isOff(knob, value) ? 'off' : typeof value === 'string' ? value : '';
  const words = [...new Set([...(knob.can_be_off ? ['off'] : []), ...knob.words, current])];
  return (
    <select
      id={id}
      className="nbt-select"
      data-nbt={`select-${knob.name}`}
      value={current}
      disabled={disabled}
      aria-describedby={describe}
      onChange={event => choose(event.target.value)}
    >
      {words.map(word => (
        <option key={word} value={word}>
          {word}
        </option>
      ))}
    </select>
  );
}

interface AnswerProps {
  id: string;
  model: PanelModel;
  knob: Knob;
  value: KnobValue | undefined;
  refused: string | undefined;
}

function Answer({ id, model, knob, value, refused }: AnswerProps): JSX.Element {
  const target = `knob:${knob.name}`;
  const late = useModel(model, ({ client }) => client.pending.get(target)?.late ?? false);
  const [kind, text] = late
    ? ['waiting', 'sent, waiting…']
    : refused
      ? ['refused', `✗ ${refused}`]
      : value && value.step !== null
        ? ['applied', answerText(knob, value)]
        : ['none', ''];
  return (
    <span className="nbt-answer" id={id} data-nbt={`answer-${knob.name}`} data-kind={kind}>
      {text}
    </span>
  );
}
