/** Name, state and progress of the run, and the buttons that act on the whole of it. */

import { memo } from 'react';

import type { Wish } from './client';
import { bytes, count, duration, knobValue, speed } from './format';
import { useClosed, useModel, useSettled, useView } from './hooks';
import { Menu, type Item } from './menu';
import type { PanelModel } from './model';
import { told } from './outcome';
import type { Drawing } from './panel';
import type { Action, Knob, KnobValue, Progress, StateInfo } from './protocol';

interface Props {
  model: PanelModel;
  drawing: Drawing;
  setDrawing: (drawing: Drawing) => void;
}

export const Header = memo(function Header(props: Props) {
  const { model } = props;
  return (
    <header className="nbt-header">
      <div className="nbt-title">
        <Name model={model} />
        <Pill model={model} />
        <Meta model={model} />
      </div>
      <Buttons {...props} />
      <Bar model={model} />
      <Outcome model={model} />
    </header>
  );
});

function Name({ model }: { model: PanelModel }): JSX.Element {
  const { name, number } = useView(model, 'run');
  return (
    <>
      <span className="nbt-name" data-nbt="name" title={`${name}@${number}`}>
        {name}
      </span>
      {number > 1 && (
        <span className="nbt-number" data-nbt="number">
          @{number}
        </span>
      )}
    </>
  );
}

function Pill({ model }: { model: PanelModel }): JSX.Element {
  const state = useView(model, 'state');
  const live = useModel(model, ({ live }) => live);
  const word = stateWord(state, live);
  return (
    <span className="nbt-pill" data-nbt="state" data-state={word}>
      {word}
    </span>
  );
}

/** The state in one word: how a finished run ended says more than that it did. */
export function stateWord({ state, outcome }: StateInfo, live: boolean): string {
  if (state === 'finished') {
    return outcome ?? state;
  }
  return live ? state : 'interrupted';
}

function Meta({ model }: { model: PanelModel }): JSX.Element {
  const progress = useView(model, 'progress');
  const { state } = useView(model, 'state');
  const live = useModel(model, ({ live }) => live);
  const parts = metaParts(progress, live && state === 'running');
  return (
    <span className="nbt-meta" data-nbt="progress">
      {parts.map(({ key, text, strong, rest }) => (
        <span key={key} data-nbt={`progress-${key}`}>
          {text} {strong && <b>{strong}</b>}
          {rest}
        </span>
      ))}
    </span>
  );
}

interface Part {
  key: string;
  text?: string;
  strong?: string;
  rest?: string;
}

export function metaParts(progress: Progress, running: boolean): Part[] {
  const { epoch, epochs, step, total_steps, steps_per_second, seconds, seconds_left } = progress;
  const parts: Part[] = [];
  if (epoch !== null) {
    // Whole epochs done, for 11.7 of 30 reads as a measurement, not as a place.
    const done = Math.floor(epoch + 1e-6);
    parts.push({
      key: 'epoch',
      text: 'epoch',
      strong: count(done),
      rest: epochs ? `/${count(epochs)}` : ''
    });
  }
  parts.push({
    key: 'step',
    text: 'step',
    strong: count(step),
    rest: total_steps ? `/${count(total_steps)}` : ''
  });
  // Where room is short the last parts go first, so these stand in the order of their use.
  if (running && seconds_left !== null) {
    parts.push({ key: 'left', strong: duration(seconds_left), rest: ' left' });
  } else if (!running && seconds) {
    parts.push({ key: 'seconds', strong: duration(seconds), rest: ' trained' });
  }
  if (running && steps_per_second) {
    parts.push({ key: 'speed', strong: speed(steps_per_second), rest: ' steps/s' });
  }
  const device = progress.device_name || progress.device;
  if (device) {
    parts.push({ key: 'device', rest: device });
  }
  if (device && progress.memory) {
    parts.push({ key: 'memory', rest: bytes(progress.memory) });
  }
  return parts;
}

function Bar({ model }: { model: PanelModel }): JSX.Element {
  const { fraction } = useView(model, 'progress');
  const share = Math.min(1, Math.max(0, fraction ?? 0));
  return (
    <div
      className="nbt-bar"
      data-nbt="bar"
      role="progressbar"
      aria-label="Training progress"
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={fraction === null ? undefined : Math.round(100 * share)}
    >
      <div style={{ transform: `scaleX(${share})` }} />
    </div>
  );
}

function Outcome({ model }: { model: PanelModel }): JSX.Element | null {
  const info = useView(model, 'state');
  const best = useView(model, 'best');
  const { name } = useView(model, 'run');
  const live = useModel(model, ({ live }) => live);
  const late = useModel(model, ({ client }) =>
    [...client.pending.values()].some(({ late, target }) => late && !target.startsWith('knob:'))
  );
  const refused = useModel(
    model,
    ({ client }) =>
      [...client.rejected].filter(([target]) => !target.startsWith('knob:')).pop()?.[1]
  );
  const story = told(info, best, name, live);
  if (!late && !refused && story.length === 0) {
    return null;
  }
  return (
    <p className="nbt-outcome">
      {story.length > 0 && <span data-nbt="outcome">{story.join(' ')}</span>}
      {late && (
        <span className="nbt-waiting" data-nbt="waiting">
          sent, waiting…
        </span>
      )}
      {refused && (
        <span className="nbt-refused" data-nbt="refused">
          ✗ {refused}
        </span>
      )}
    </p>
  );
}

function Buttons({ model, drawing, setDrawing }: Props): JSX.Element {
  const { state, outcome } = useView(model, 'state');
  const closed = useClosed(model);
  const actions = useView(model, 'actions');
  const send = (wish: Wish) => () => void model.client.send(wish);
  const finished = state === 'finished';
  const going = state === 'running' || state === 'paused';
  const undo = undoable(actions);
  const knobs = useView(model, 'knobs');
  const values = useView(model, 'values');
  const settled = useSettled(model);
  return (
    <div className="nbt-buttons" role="toolbar" aria-label="Run">
      {finished ? (
        outcome !== 'completed' &&
        outcome !== 'failed' && (
          <Button
            name="resume"
            hint={closed}
            disabled={!!closed}
            onClick={send({ kind: 'Resume' })}
          >
            Resume
          </Button>
        )
      ) : state === 'paused' ? (
        <Button name="resume" hint={closed} disabled={!!closed} onClick={send({ kind: 'Resume' })}>
          Resume
        </Button>
      ) : (
        <Button
          name="pause"
          hint={closed ?? 'Wait after the current step'}
          disabled={!!closed || state !== 'running'}
          onClick={send({ kind: 'Pause' })}
        >
          Pause
        </Button>
      )}
      {!finished && (
        <Button
          name="one-step"
          hint={
            closed ??
            (state === 'paused' ? 'Take one step, then pause' : 'Pause first to go step by step')
          }
          disabled={!!closed || state !== 'paused'}
          onClick={send({ kind: 'OneStep', count: 1 })}
        >
          One step
        </Button>
      )}
      <Button
        name="undo"
        hint={settled ?? (undo ? undoText(undo, knobs, values) : 'Nothing to undo')}
        disabled={!!settled || !undo || state === 'queued'}
        onClick={send({ kind: 'Undo' })}
      >
        Undo
      </Button>
      {finished ? (
        outcome !== 'failed' && (
          <Button
            name="ten-more"
            primary
            hint={closed ?? 'Train ten more epochs'}
            disabled={!!closed}
            onClick={() => tenMore(model)}
          >
            Ten more epochs
          </Button>
        )
      ) : state === 'queued' ? (
        <Button
          name="cancel"
          primary
          hint={closed ?? 'Leave the queue without training'}
          disabled={!!closed}
          onClick={send({ kind: 'Stop', restore: 'last', early: true })}
        >
          Cancel
        </Button>
      ) : (
        <Button
          name="early-stop"
          primary
          hint={closed ?? 'End the run here and put the best weights back'}
          disabled={!!closed || !going}
          onClick={send({ kind: 'Stop', restore: 'best', early: true })}
        >
          Early stop
        </Button>
      )}
      <Menu
        label="More actions"
        items={[
          ...runItems(model, going && !closed, finished, closed),
          null,
          ...drawItems(model, drawing, setDrawing)
        ]}
      />
    </div>
  );
}

interface ButtonProps {
  name: string;
  hint: string | null;
  disabled: boolean;
  primary?: boolean;
  onClick: () => void;
  children: string;
}

function Button({ name, hint, disabled, primary, onClick, children }: ButtonProps): JSX.Element {
  // Not the disabled attribute: a button that loses focus while one reads it strands the
  // keyboard, and a disabled one cannot tell why it is.
  return (
    <button
      type="button"
      className={`nbt-button${primary ? ' nbt-primary' : ''}`}
      data-nbt={name}
      aria-disabled={disabled}
      title={hint ?? undefined}
      onClick={() => !disabled && onClick()}
    >
      {children}
    </button>
  );
}

/** The action that *Undo* would put back: the latest change of a knob that still stands. */
export function undoable(actions: readonly Action[]): Action | undefined {
  return [...actions]
    .reverse()
    .find(({ action, knob, undone }) => action === 'Set' && knob && !undone);
}

/** What undoing `action` would do. */
export function undoText(
  { id, knob: name, label }: Action,
  knobs: readonly Knob[],
  values: Readonly<Record<string, KnobValue>>
): string {
  const knob = knobs.find(knob => knob.name === name);
  const value = knob && values[knob.name];
  // Of earlier changes the panel knows only what they set.
  return knob && value?.command === id
    ? `Undo: ${knob.name} ${knobValue(knob, value.new)} back to ${knobValue(knob, value.old)}`
    : `Undo the change “${label}”`;
}

function tenMore(model: PanelModel): void {
  const { progress, values } = model.state.view;
  const epochs = values.epochs?.value;
  const planned =
    typeof epochs === 'number' ? epochs : (progress.epochs ?? Math.ceil(progress.epoch ?? 0));
  const { state } = model.state.view.state;
  // After the end ten more count from where training stands, which may be before the plan.
  const base = state === 'finished' ? Math.max(Math.ceil(progress.epoch ?? planned), 0) : planned;
  model.client.send({ kind: 'Set', knob: 'epochs', value: base + 10, schedule: 'rebase' });
}

function runItems(
  model: PanelModel,
  going: boolean,
  finished: boolean,
  closed: string | null
): Item[] {
  const send = (wish: Wish) => () => void model.client.send(wish);
  return [
    { name: 'evaluate', label: 'Evaluate now', disabled: !going, run: send({ kind: 'Evaluate' }) },
    { name: 'save', label: 'Save checkpoint', disabled: !going, run: send({ kind: 'Save' }) },
    {
      name: 'stop-last',
      label: 'Stop and keep last weights',
      disabled: !going,
      run: send({ kind: 'Stop', restore: 'last', early: true })
    },
    {
      name: 'ten-more-menu',
      label: 'Ten more epochs',
      disabled: !!closed || !(going || finished),
      run: () => tenMore(model)
    }
  ];
}

function drawItems(model: PanelModel, drawing: Drawing, setDrawing: Props['setDrawing']): Item[] {
  const all = model.state.view.charts.map(({ id }) => id);
  const log = all.length > 0 && all.every(id => drawing.log.has(id));
  return [
    {
      name: 'log-scale',
      label: 'Log scale',
      checked: log,
      run: () => setDrawing({ ...drawing, log: new Set(log ? [] : all) })
    },
    {
      name: 'smoothing-menu',
      label: 'Smoothing',
      checked: drawing.smoothing > 0,
      run: () => setDrawing({ ...drawing, smoothing: drawing.smoothing > 0 ? 0 : 0.9 })
    }
  ];
}
