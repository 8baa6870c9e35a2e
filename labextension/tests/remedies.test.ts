import { expect, it } from 'vitest';

import { current, remedies } from '../src/remedies';
import { knob, progress } from './build';

const clip = knob({ name: 'clip_grad_norm', can_be_off: true, off: null });
const value = (value: number | null, step: number | null = null) => ({
  value,
  old: null,
  new: value,
  step,
  note: null,
  command: null
});

const labels = (...given: Parameters<typeof remedies>) =>
  remedies(...given).map(({ label }) => label);

it('a lower rate and clipped gradients are offered where numbers failed', () => {
  const values = { lr: value(3e-2), clip_grad_norm: value(null) };
  expect(remedies([knob(), clip], values, 40)).toMatchObject([
    { knob: 'lr', value: 3e-3 },
    { knob: 'clip_grad_norm', value: 1 }
  ]);
  expect(labels([knob(), clip], values, 40)).toEqual([
    'Lower learning rate to 3.0e-3',
    'Clip gradients at 1'
  ]);
});

it('a rate that was raised is offered as it was before', () => {
  const raised = { lr: { ...value(1000, 38), old: 1e-3 } };
  expect(labels([knob()], raised, 40)).toEqual(['Lower learning rate to 1.0e-3']);
  const slightly = { lr: { ...value(1e-3, 38), old: 9e-4 } };
  expect(labels([knob()], slightly, 40)).toEqual(['Lower learning rate to 1.0e-4']);
});

it('what was done, or cannot be, is not offered', () => {
  const done = { lr: value(3e-3, 40), clip_grad_norm: value(0.5, 12) };
  expect(remedies([knob(), clip], done, 40)).toEqual([]);
  const earlier = { lr: value(3e-3, 39), clip_grad_norm: value(null) };
  const fixed = knob({ ...clip, reason: 'This step clips by itself.' });
  expect(labels([knob(), fixed], earlier, 40)).toEqual(['Lower learning rate to 3.0e-4']);
});

it('a warning about numbers goes when the run goes on', () => {
  const notice = {
    topic: 'not-finite',
    step: 40,
    level: 'warning',
    text: 'x',
    button: null
  } as const;
  const state = {
    outcome: null,
    reason: null,
    error: null,
    traceback: null,
    restored: null,
    behind: null
  };
  const at = (step: number) => progress({ step });
  expect(current(notice, { ...state, state: 'paused' }, at(40))).toBe(true);
  expect(current(notice, { ...state, state: 'running' }, at(40))).toBe(false);
  expect(current(notice, { ...state, state: 'paused' }, at(90))).toBe(false);
  const data = { ...notice, topic: 'not-finite-data' };
  expect(current(data, { ...state, state: 'paused' }, at(40))).toBe(true);
  expect(current(data, { ...state, state: 'running' }, at(41))).toBe(false);
  expect(current({ ...notice, topic: 'slow' }, { ...state, state: 'running' }, at(90))).toBe(true);
});
