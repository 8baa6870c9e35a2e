/** What can be done about a run that paused because its numbers failed. */

import { knobNumber } from './format';
import { useView } from './hooks';
import type { PanelModel } from './model';
import type { Knob, KnobValue, Notice, Progress, StateInfo } from './protocol';

/** Topic of the notice that a loss or a gradient was not finite. */
const NUMBERS = 'not-finite';
/** Topic of the notice that samples were not: no setting helps there. */
const DATA = 'not-finite-data';

/** How many times smaller the learning rate is that is offered. */
const LESS = 10;
/** The norm that gradients are offered to be clipped at. */
const NORM = 1;

/** Whether `notice` still speaks of where the run stands. */
export function current(notice: Notice, { state }: StateInfo, { step }: Progress): boolean {
  const speaks = state === 'paused' && notice.step === step;
  return speaks || (notice.topic !== NUMBERS && notice.topic !== DATA);
}

export interface Remedy {
  readonly knob: string;
  readonly value: number;
  readonly label: string;
}

/** The changes to offer at `step`: those that the run can obey and that were not made yet. */
export function remedies(
  knobs: readonly Knob[],
  values: Readonly<Record<string, KnobValue>>,
  step: number
): Remedy[] {
  const offered: Remedy[] = [];
  const [rate, clip] = ['lr', 'clip_grad_norm'].map(name =>
    knobs.find(knob => knob.name === name && knob.reason === null)
  );
  const lr = values.lr;
  if (rate && typeof lr?.value === 'number' && lr.value > 0 && lr.step !== step) {
    // Back to what it was raised from, where that is lower still.
    const before = typeof lr.old === 'number' && lr.old > 0 ? lr.old : Infinity;
    const value = Math.min(Number((lr.value / LESS).toPrecision(2)), before);
    offered.push({
      knob: rate.name,
      value,
      label: `Lower learning rate to ${knobNumber(rate, value)}`
    });
  }
  if (clip && values[clip.name]?.value === clip.off) {
    offered.push({ knob: clip.name, value: NORM, label: `Clip gradients at ${NORM}` });
  }
  return offered;
}

interface Props {
  model: PanelModel;
  notice: Notice;
  closed: string | null;
}

export function Remedies({ model, notice, closed }: Props): JSX.Element | null {
  const knobs = useView(model, 'knobs');
  const values = useView(model, 'values');
  const best = useView(model, 'best');
  if (closed || (notice.topic !== NUMBERS && notice.topic !== DATA)) {
    return null;
  }
  const offered = notice.topic === NUMBERS ? remedies(knobs, values, notice.step) : [];
  return (
    <span className="nbt-remedies" role="group" aria-label="What can be done">
      {offered.map(({ knob, value, label }) => (
        <button
          key={knob}
          type="button"
          className="nbt-button"
          data-nbt={`remedy-${knob}`}
          onClick={() => model.client.send({ kind: 'Set', knob, value, schedule: 'rebase' })}
        >
          {label}
        </button>
      ))}
      <button
        type="button"
        className="nbt-button"
        data-nbt="remedy-stop"
        onClick={() => model.client.send({ kind: 'Stop', restore: 'best', early: true })}
      >
        {best ? 'Stop, best weights back' : 'Stop here'}
      </button>
    </span>
  );
}
