/** Numbers, durations and sizes as the panel writes them. */

import type { Knob, Num } from './protocol';
import type { Value } from './messages';

const DASH = '–';

/** A number off the wire; NaN for what is none. */
export function number(value: Num | null | undefined): number {
  return value === null || value === undefined ? NaN : Number(value);
}

/** A metric: four significant digits, as in 0.0412, 12.35, 1.2e-5. */
export function metric(value: number): string {
  if (!Number.isFinite(value)) {
    return Number.isNaN(value) ? 'not a number' : value > 0 ? 'infinity' : '−infinity';
  }
  const size = Math.abs(value);
  if (size === 0) {
    return '0';
  }
  if (size < 1e-3 || size >= 1e6) {
    return exponent(value, 2);
  }
  return value.toPrecision(4).includes('e') ? String(Math.round(value)) : trimmed(value);
}

function trimmed(value: number): string {
  const text = value.toPrecision(4);
  return text.includes('.') ? text.replace(/(\.\d{2}\d*?)0+$/, '$1') : text;
}

/** Scientific notation with a short exponent: 1.0e-3. */
export function exponent(value: number, digits = 1): string {
  return value.toExponential(digits).replace('e+', 'e');
}

/** The value of a knob: 1.0e-3 on a log scale, 0.90 on a linear one, 64 for a count. */
export function knobValue(knob: Knob, value: Value): string {
  if (isOff(knob, value)) {
    return 'off';
  }
  if (typeof value === 'boolean') {
    return value ? 'on' : 'off';
  }
  if (typeof value === 'number') {
    return knobNumber(knob, value);
  }
  if (value === null) {
    return DASH;
  }
  if (typeof value === 'object') {
    const rates = [...new Set(Object.values(value).map(Number))];
    return rates.length === 1 ? knobNumber(knob, rates[0]) : 'mixed';
  }
  return value;
}

/** A number as `knob` shows it. */
export function knobNumber(knob: Pick<Knob, 'kind' | 'scale' | 'step'>, value: number): string {
  if (!Number.isFinite(value)) {
    return String(value);
  }
  if (knob.kind === 'int') {
    return String(value);
  }
  if (knob.scale === 'log') {
    const size = Math.abs(value);
    if (size >= 0.01 && size < 1e5) {
      return plain(value);
    }
    return value === 0 ? '0' : shortest(value);
  }
  const fixed = value.toFixed(2);
  return Math.abs(Number(fixed) - value) < 1e-9 ? fixed : plain(value);
}

function plain(value: number): string {
  return String(Number(value.toPrecision(4)));
}

function shortest(value: number): string {
  const short = exponent(value, 1);
  const precise = exponent(value, 3);
  return Number(short) === Number(precise) ? short : precise.replace(/0+e/, 'e');
}

/** Whether `value` is the one that the word off stands for. */
export function isOff(knob: Pick<Knob, 'can_be_off' | 'off'>, value: Value): boolean {
  return knob.can_be_off && (value === knob.off || value === null || value === 'off');
}

/** Seconds as h:mm:ss or m:ss. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) {
    return DASH;
  }
  const whole = Math.round(seconds);
  const two = (part: number) => String(part).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** Bytes in MB or GB. */
export function bytes(size: number): string {
  return size >= 1e9 ? `${(size / 1e9).toFixed(1)} GB` : `${Math.round(size / 1e6)} MB`;
}

/** A count with separators: 2,410. */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** Steps per second: 2,410, or 0.4 where slow. */
export function speed(value: number): string {
  return value >= 10 ? count(value) : value.toFixed(1);
}
