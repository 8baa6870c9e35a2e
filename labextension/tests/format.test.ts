import { describe, expect, it } from 'vitest';

import { smoothed } from '../src/curves';
import { bytes, duration, knobValue, metric } from '../src/format';
import { answerText, onValue } from '../src/answer';
import { place } from '../src/labels';
import { horizontal, isShare, vertical } from '../src/ranges';
import { travel } from '../src/scale';
import { plainText } from '../src/text';
import { logTicks, tickLabels } from '../src/ticks';
import { knob } from './build';

const batch = knob({ kind: 'int', scale: 'log2', slider: [1, 1024], words: ['full'] });
const decay = knob({ can_be_off: true, off: 0 });
const momentum = knob({ scale: 'linear', slider: [0, 0.99], step: 0.01 });

describe('a value', () => {
  it.each([
    [knob(), 1e-3, '1.0e-3'],
    [knob(), 2.5e-4, '2.5e-4'],
    [knob(), 1.234e-4, '1.234e-4'],
    [knob(), 0.05, '0.05'],
    [knob(), 1, '1'],
    [momentum, 0.9, '0.90'],
    [momentum, 0.905, '0.905'],
    [batch, 64, '64'],
    [batch, 'full', 'full'],
    [decay, 0, 'off'],
    [decay, null, 'off'],
    [knob(), null, '–'],
    [momentum, { a: 0.2, b: 0.2 }, '0.20'],
    [momentum, { a: 0.2, b: 0.5 }, 'mixed']
  ])('of %o reads %o as %s', (declared, value, text) => {
    expect(knobValue(declared, value)).toBe(text);
  });

  it.each([
    [0.17564, '0.1756'],
    [2.5, '2.50'],
    [98.25, '98.25'],
    [12345.6, '12346'],
    [1.234e-5, '1.23e-5'],
    [0, '0'],
    [NaN, 'not a number'],
    [-Infinity, '−infinity']
  ])('measured as %d reads %s', (value, text) => {
    expect(metric(value)).toBe(text);
  });

  it('of time and size', () => {
    expect([duration(9), duration(75), duration(3671)]).toEqual(['0:09', '1:15', '1:01:11']);
    expect([bytes(412e6), bytes(2.5e9)]).toEqual(['412 MB', '2.5 GB']);
  });
});

describe('an answer', () => {
  const given = (old: number | null, value: number | null, note: string | null = null) => ({
    value,
    old,
    new: value,
    step: 180,
    note,
    command: 'x'
  });

  it('says what took effect, and when', () => {
    expect(answerText(knob(), given(3e-3, 1e-3))).toBe('✓ 3.0e-3 → 1.0e-3 at step 180');
    const late = { ...given(3e-3, 1e-3), step: 1231 };
    expect(answerText(knob(), late)).toBe('✓ 3.0e-3 → 1.0e-3 at step 1,231');
    const scheduled = { ...given(3e-3, 1e-3), value: 4e-7 };
    expect(answerText(knob(), scheduled)).toBe('✓ 3.0e-3 → 1.0e-3 at step 180');
    expect(answerText(decay, given(1e-4, 0))).toBe('✓ off at step 180');
    expect(answerText(decay, given(0, 1e-4))).toBe('✓ on, 1.0e-4, at step 180');
    const watch = knob({ kind: 'text', slider: null, can_be_off: true, off: null });
    const watched = { ...given(null, null), new: 'val_loss' };
    expect(answerText(watch, watched)).toBe('✓ val_loss at step 180');
    expect(answerText(knob(), given(1e-3, 1e-3, 'recompiled once'))).toBe(
      '✓ 1.0e-3 at step 180 (recompiled once)'
    );
  });

  it('to switching on brings back the last value, or a sensible one', () => {
    expect(onValue(decay, given(1e-4, 0), null)).toBe(1e-4);
    expect(onValue(decay, given(0, 0), 5e-4)).toBe(5e-4);
    expect(onValue(knob({ can_be_off: true, slider: [1e-2, 1e2] }), undefined, null)).toBe(1);
    expect(onValue(knob({ words: ['on'], can_be_off: true }), undefined, null)).toBe('on');
    const steps = knob({ name: 'steps', kind: 'int', can_be_off: true, slider: [1, 1e5] });
    expect(onValue(steps, given(null, 300), 300, 1380)).toBe(1380);
    expect(onValue(steps, given(null, 300), 300)).toBe(300);
  });
});

describe('a slider', () => {
  it('runs on a log scale and comes back to where it was', () => {
    const way = travel(knob())!;
    for (let position = 0; position <= way.last; position++) {
      expect(way.position(way.value(position))).toBe(position);
    }
    expect(way.value(0)).toBe(1e-6);
    expect(way.value(way.last)).toBe(1);
    expect(Array.from({ length: way.last + 1 }, (_, p) => way.value(p))).toContain(1e-3);
  });

  it('stops at powers of two, and at a word behind them', () => {
    const way = travel(batch, ['full'])!;
    expect(way.last).toBe(11);
    expect([way.value(0), way.value(6), way.value(10), way.value(11)]).toEqual([
      1,
      64,
      1024,
      'full'
    ]);
    expect(way.position('full')).toBe(11);
  });

  it('runs in steps on a linear scale', () => {
    const way = travel(momentum)!;
    expect(way.value(7)).toBe(0.07);
    expect(way.position(0.9)).toBe(90);
  });

  it('stands at its end for a value outside its common range', () => {
    expect(travel(knob())!.position(50)).toBe(travel(knob())!.last);
    expect(travel(knob())!.position(0)).toBe(0);
  });
});

describe('labels', () => {
  it('stand right of their marks in the first row', () => {
    expect(place([{ x: 10, width: 40 }], 300, 3)).toEqual([{ left: 14, row: 0 }]);
  });

  it('never lie over one another', () => {
    const wanted = Array.from({ length: 60 }, (_, index) => ({
      x: index * 7,
      width: 30 + (index % 5) * 20
    }));
    const placed = place(wanted, 420, 3);
    const boxes = placed.flatMap((spot, index) =>
      spot ? [{ ...spot, right: spot.left + wanted[index].width }] : []
    );
    for (const a of boxes) {
      for (const b of boxes) {
        expect(a === b || a.row !== b.row || a.right <= b.left || b.right <= a.left).toBe(true);
      }
      expect(a.left >= 0 && a.right <= 420).toBe(true);
    }
    expect(boxes.length).toBeGreaterThan(5);
  });

  it('of the latest marks are kept where room runs out', () => {
    const wanted = Array.from({ length: 10 }, () => ({ x: 50, width: 40 }));
    const kept = place(wanted, 100, 2).map(spot => spot !== null);
    expect(kept).toEqual([...Array<boolean>(6).fill(false), ...Array<boolean>(4).fill(true)]);
  });
});

describe('axes', () => {
  const curve = (...mean: number[]) => {
    const values = Float32Array.from(mean);
    return { x: values, step: values, low: values, high: values, mean: values };
  };

  it('show the whole plan once a good part of it is done', () => {
    expect(horizontal(12, 30)).toBe(30);
    expect(horizontal(0.1, 64)).toBe(1);
    expect(horizontal(9, 64)).toBe(16);
    expect(horizontal(40, 30)).toBe(40);
    expect(horizontal(50, null)).toBeCloseTo(51);
  });

  it('begin at zero for losses, and end at one for shares', () => {
    expect(vertical([curve(2, 0.1)], false)![0]).toBe(0);
    const [low, high] = vertical([curve(0.1, 0.97)], false, true)!;
    expect([low, high >= 1 && high < 1.05]).toEqual([0, true]);
    expect(vertical([curve(0.1, 0.7)], false)![1]).toBeLessThan(0.75);
    expect(['accuracy', 'top5_acc', 'F1'].map(isShare)).toEqual([true, true, true]);
    expect(['loss', 'accumulated', 'mae'].map(isShare)).toEqual([false, false, false]);
    expect(vertical([curve(100, 101)], false)![0]).toBeGreaterThan(99);
    expect(vertical([curve()], false)).toBeNull();
  });

  it('hold the spikes among the values that were merged into a point', () => {
    const [means, peaks] = [curve(0.2, 0.3, 0.2), curve(0.2, 0.84, 0.2)];
    expect(vertical([{ ...means, high: peaks.mean }], false)![1]).toBeGreaterThan(0.84);
  });

  it('are not ruined by a single spike', () => {
    const losses = Array.from({ length: 300 }, (_, index) => 2 / (1 + index / 50));
    const [low, high] = vertical([curve(...losses, 5000)], false)!;
    expect([low, high > 1 && high < 3]).toEqual([0, true]);
    expect(vertical([curve(...losses, 5000)], true)![1]).toBeGreaterThan(5000);
    expect(vertical([curve(2, 1, 100)], false)![1]).toBeGreaterThan(100);
  });

  it('leave out what a log scale cannot show', () => {
    const [low, high] = vertical([curve(0, 0.1, 10, NaN)], true)!;
    expect(low).toBeGreaterThan(0.05);
    expect(high).toBeLessThan(20);
  });

  it('have few ticks, in numbers people write', () => {
    expect(logTicks(0.03, 2.6)).toEqual([0.05, 0.1, 0.2, 0.5, 1, 2]);
    expect(logTicks(1e-8, 1e4).length).toBeLessThanOrEqual(7);
    expect(logTicks(1.01, 1.03).length).toBe(3);
    expect(tickLabels([0, 0.2, 0.4])).toEqual(['0.0', '0.2', '0.4']);
    expect(tickLabels([0, 1, 2])).toEqual(['0', '1', '2']);
    expect(tickLabels([0, 2e-4, 4e-4])).toEqual(['0', '2e-4', '4e-4']);
    expect(tickLabels([0.05, 0.1, 0.5, 1])).toEqual(['0.05', '0.1', '0.5', '1']);
  });
});

describe('smoothing', () => {
  it('starts at the first value and keeps gaps', () => {
    const line = smoothed(Float32Array.from([4, 4, NaN, 4]), 0.9);
    expect(line[0]).toBeCloseTo(4);
    expect(line[1]).toBeCloseTo(4);
    expect(line[2]).toBeNaN();
    expect(line[3]).toBeCloseTo(4);
  });

  it('of nothing changes nothing', () => {
    const values = Float32Array.from([1, 2]);
    expect(smoothed(values, 0)).toBe(values);
  });
});

it('text of a terminal loses its colours and what was written over', () => {
  expect(plainText('\u001b[31mred\u001b[0m\n10%\r50%\r\n<img onerror=x>')).toBe(
    'red\n50%\n<img onerror=x>'
  );
});
