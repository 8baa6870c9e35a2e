import { expect, it } from 'vitest';

import { type Curve, drawable, endless, lonely, lost, patched } from '../src/curves';
import { mainRow, placeText, rowsAt, valueText } from '../src/reading';
import { rows } from './build';

type Point = [x: number, step: number, low: number, high: number, mean: number];

const curve = (...points: Point[]): Curve =>
  patched(undefined, { name: 'loss', start: 0, count: points.length }, rows(...points))!;
const exact = (x: number, step: number, value: number): Point => [x, step, value, value, value];

const CHART = {
  id: 'loss',
  title: 'Loss',
  series: [
    { name: 'loss', label: 'train', role: 'train' as const },
    { name: 'val_loss', label: 'validation', role: 'validation' as const }
  ]
};

function read(curves: Record<string, Curve>, x: number, byEpoch = true): string[] {
  const found = rowsAt(CHART, new Map(Object.entries(curves)), x);
  const main = mainRow(found);
  const said = found.map(row => valueText(row, main));
  return [placeText(main, byEpoch), ...said.map(({ value, more }) => `${value} ${more}`.trim())];
}

it('a point of one step is read with its epoch and step', () => {
  const loss = curve(exact(0.5, 1, 2), exact(1, 2, 1.5), exact(1.5, 3, 1));
  const val_loss = curve(exact(1, 2, 1.25));
  expect(read({ loss, val_loss }, 1.1)).toEqual(['epoch 1.00 · step 2', '1.50', '1.25']);
  expect(read({ loss, val_loss }, 9)).toEqual(['epoch 1.50 · step 3', '1.00', '1.25 at step 2']);
  expect(read({ loss }, 0, false)).toEqual(['step 1', '2.00']);
});

it('a point that steps were merged into is read with all of them', () => {
  const loss = curve([0.5, 4, 1, 3, 2], [1.5, 1208, 0.5, 0.75, 0.625]);
  expect(read({ loss }, 0)).toEqual(['epoch 0.50 · steps 1–4', '2.00 1.00 to 3.00']);
  expect(read({ loss }, 2)[0]).toBe('epoch 1.50 · steps 5–1,208');
});

it('what is infinite, not a number or not measured is said to be', () => {
  const none = NaN;
  const loss = curve(
    [1, 1, none, Infinity, none],
    [2, 2, -Infinity, Infinity, none],
    [3, 3, none, none, none],
    [4, 5, 0.5, Infinity, 0.75],
    [5, 7, -Infinity, Infinity, 0.75]
  );
  const said = [1, 2, 3, 4, 5].map(x => read({ loss }, x)[1]);
  expect(said).toEqual([
    'infinite',
    'not a number',
    '–',
    '0.75 0.50 to infinity',
    '0.75 some not a number'
  ]);
});

it('a curve tells where it is beyond all bounds, and what it ends in', () => {
  const early = curve(exact(1, 1, 2), [2, 2, NaN, Infinity, NaN], [3, 3, 1, 1, 1]);
  expect(lost(early)).toEqual([{ x: 2, above: true }]);
  expect(endless(early)).toBeNull();
  const late = curve(exact(1, 23, 2), [2, 46, NaN, Infinity, NaN], [3, 69, NaN, Infinity, NaN]);
  expect(endless(late)).toEqual({ word: 'infinite', step: 46 });
  const under = curve([1, 1, -Infinity, NaN, NaN]);
  expect(lost(under)).toEqual([{ x: 1, above: false }]);
  const gap = curve(exact(1, 1, 2), [2, 2, NaN, NaN, NaN]);
  expect(endless(gap)).toBeNull();
});

it('a point without neighbours is drawn by itself, and bands have ends', () => {
  const some = curve(exact(1, 1, 3), [2, 2, NaN, Infinity, NaN], exact(3, 3, 2), [
    4,
    5,
    1,
    Infinity,
    1.5
  ]);
  expect(lonely(some)).toEqual([{ x: 1, y: 3 }]);
  expect([...drawable(some).high]).toEqual([3, NaN, 2, 1.5]);
});
