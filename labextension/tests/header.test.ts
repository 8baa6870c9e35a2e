import { expect, it } from 'vitest';

import { undoText } from '../src/header';
import type { Action } from '../src/protocol';
import { knob } from './build';

const raised: Action = {
  id: 'a',
  step: 7,
  epoch: null,
  action: 'Set',
  knob: 'lr',
  label: 'lr → 0.022',
  sender: 'panel',
  undone: false
};
const rate = { value: 0.022, old: 1e-3, new: 0.022, step: 7, note: null, command: 'a' };

it('undo says what it goes back to', () => {
  expect(undoText(raised, [knob()], { lr: rate })).toBe('Undo: lr 0.022 back to 1.0e-3');
});

it('undo of an earlier change names that change', () => {
  const later = { ...rate, command: 'b' };
  expect(undoText(raised, [knob()], { lr: later })).toBe('Undo the change “lr → 0.022”');
});
