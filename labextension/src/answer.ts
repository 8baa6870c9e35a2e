/** What the run answered, in words; and what a knob is asked for. */

import { count, isOff, knobValue, number } from './format';
import type { Value } from './messages';
import type { Knob, KnobValue } from './protocol';

/** What took effect, and when. */
export function answerText(knob: Knob, value: KnobValue): string {
  const before = knobValue(knob, value.old);
  const after = knobValue(knob, value.new);
  const was = isOff(knob, value.old);
  const is = isOff(knob, value.new);
  const worded = knob.kind === 'choice' || knob.kind === 'text';
  const change = is
    ? 'off'
    : was
      ? after === 'on' || worded
        ? after
        : `on, ${after},`
      : before === after
        ? after
        : `${before} → ${after}`;
  const note = value.note ? ` (${value.note})` : '';
  return `✓ ${change} at step ${count(value.step ?? 0)}${note}`;
}

/**
 * What switching on brings back: the value before, or one in the slider's middle. A limit to
 * the steps begins at the end that is `planned`, so that it cannot end the run by itself.
 */
export function onValue(
  knob: Knob,
  value: KnobValue | undefined,
  remembered: Value,
  planned: number | null = null
): Value {
  if (knob.name === 'steps' && planned !== null) {
    return planned;
  }
  if (knob.words.includes('on')) {
    return 'on';
  }
  for (const candidate of [remembered, value?.old ?? null]) {
    if (candidate !== null && !isOff(knob, candidate)) {
      return candidate;
    }
  }
  if (!knob.slider) {
    return null;
  }
  const [low, high] = knob.slider;
  const start = knob.scale === 'linear' ? low + (high - low) / 5 : Math.sqrt(low * high);
  return knob.kind === 'int' ? Math.round(start) : Number(start.toPrecision(1));
}

/** What is wrong with `value`, or null where the run may be asked for it. */
export function check(knob: Knob, value: Value): string | null {
  if (typeof value === 'string') {
    const word = knob.words.includes(value) || (knob.can_be_off && value === 'off');
    return word ? null : `${knob.label} takes ${knob.range}.`;
  }
  const given = Number(value);
  const inside = !(given < number(knob.low)) && !(given > number(knob.high));
  const whole = knob.kind !== 'int' || Number.isInteger(given);
  return inside && whole && Number.isFinite(given) ? null : `${knob.label} takes ${knob.range}.`;
}
