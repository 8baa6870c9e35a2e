/** Between a knob's value and its slider's position, both ways. */

import type { Knob } from './protocol';

/** Stops of a slider that runs on a log scale: 24 in each factor of ten, as steps allow. */
const STOPS_PER_DECADE = 24;

/** A slider's travel for one knob: integer positions from 0 to `last`. */
export interface Travel {
  /** The highest position. */
  readonly last: number;
  /** The value at a position; a word at the positions behind the numbers. */
  value(position: number): number | string;
  /** The position nearest to a value, clamped to the ends. */
  position(value: number | string): number;
}

/**
 * The travel of `knob`, whose `words` (such as batch size's full) are stops after its
 * largest number. Null for a knob without a slider.
 */
export function travel(knob: Knob, words: readonly string[] = []): Travel | null {
  if (!knob.slider) {
    return null;
  }
  const [low, high] = knob.slider;
  const numbers = knob.scale === 'linear' ? linear(knob, low, high) : log(knob, low, high);
  const top = numbers.last;
  return {
    last: top + words.length,
    value: position => (position > top ? words[position - top - 1] : numbers.value(position)),
    position: value =>
      typeof value === 'string'
        ? top + 1 + Math.max(0, words.indexOf(value))
        : clamp(numbers.position(value), 0, top)
  };
}

interface Numbers {
  last: number;
  value(position: number): number;
  position(value: number): number;
}

function linear(knob: Knob, low: number, high: number): Numbers {
  const step = knob.step ?? (high - low) / 100;
  return {
    last: Math.round((high - low) / step),
    // Rounded, for 7 × 0.01 is not 0.07.
    value: position => Number((low + position * step).toPrecision(10)),
    position: value => Math.round((value - low) / step)
  };
}

function log(knob: Knob, low: number, high: number): Numbers {
  const base = knob.scale === 'log2' ? 2 : 10;
  const per = base === 2 ? 1 : STOPS_PER_DECADE;
  const whole = knob.kind === 'int';
  const span = Math.log(high / low) / Math.log(base);
  const at = (position: number): number => {
    const exact = low * base ** (position / per);
    return whole ? Math.round(exact) : Number(exact.toPrecision(2));
  };
  return {
    last: Math.round(span * per),
    value: at,
    position: value => (value > 0 ? Math.round((Math.log(value / low) / Math.log(base)) * per) : 0)
  };
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
