import { expect, it } from 'vitest';

import { metaParts } from '../src/header';
import { told } from '../src/outcome';
import type { StateInfo } from '../src/protocol';
import { progress } from './build';

const info = (rest: Partial<StateInfo>): StateInfo => ({
  state: 'finished',
  outcome: null,
  reason: null,
  error: null,
  traceback: null,
  restored: null,
  behind: null,
  ...rest
});
const best = { step: 1196, epoch: 52, metrics: { val_loss: 0.1057 }, monitor: 'val_loss' };

it('a completed run says where better weights are', () => {
  const done = info({ outcome: 'completed', reason: 'all 60 epochs done', restored: 1380 });
  expect(told(done, best, 'digits', true).join(' ')).toBe(
    'All 60 epochs done. The model holds the weights of step 1,380; the best were those of ' +
      'step 1,196 (val_loss 0.1057): digits.best_model.'
  );
  expect(told(done, null, 'digits', true)[1]).toBe('The model holds the weights of step 1,380.');
});

it('a run that stopped early says that the best weights are back', () => {
  const reason = 'val_loss did not improve in 5 validations';
  const done = info({ outcome: 'early-stopped', reason, restored: 1196 });
  expect(told(done, best, 'digits', true)).toEqual([
    'val_loss did not improve in 5 validations.',
    'The model holds the best weights, of step 1,196 (val_loss 0.1057).'
  ]);
});

it('a queued run names the run that it waits for', () => {
  const queued = info({ state: 'queued', behind: 'nanny' });
  expect(told(queued, null, 'b', true)).toEqual(['Waiting for nanny. --share trains beside it.']);
});

it('a run without a kernel says how to train anew', () => {
  expect(told(info({ state: 'running' }), null, 'b', false).join()).toContain(
    'run the cell again to train anew'
  );
});

it('the header lists first what goes last where room is short', () => {
  const going = progress({ steps_per_second: 900, seconds_left: 9, memory: 5e8 });
  const keys = metaParts(going, true).map(({ key }) => key);
  expect(keys).toEqual(['epoch', 'step', 'left', 'speed', 'device', 'memory']);
});
