import { act } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { afterEach, beforeEach, expect, it } from 'vitest';

import { Client } from '../src/client';
import { KnobRow } from '../src/knob';
import type { PanelModel } from '../src/model';
import { RunState } from '../src/state';
import { frame, knob, snapshot } from './build';

const value = (number: number, command: string | null = null) => ({
  lr: { value: number, old: 1e-3, new: number, step: command ? 7 : null, note: null, command }
});

/** A row for the learning rate, and the run it speaks to. */
class Bench {
  readonly state = new RunState();
  readonly sent: Record<string, unknown>[] = [];
  readonly client: Client;
  private readonly slots = new Set<() => void>();
  private readonly root: Root;
  private seq = 1;

  constructor() {
    this.client = new Client('panel', this.take, () => this.slots.forEach(slot => slot()));
    this.state.receive(snapshot(1, { view: { values: value(1e-3) } }), []);
    const changed = {
      connect: (slot: () => void) => this.slots.add(slot),
      disconnect: (slot: () => void) => this.slots.delete(slot)
    };
    const { state, client } = this;
    const model = { state, client, changed, live: true } as unknown as PanelModel;
    const host = document.createElement('div');
    document.body.replaceChildren(host);
    this.root = createRoot(host);
    act(() => this.root.render(<KnobRow model={model} knob={knob()} closed={null} />));
  }

  private readonly take = (command: Record<string, unknown>): Promise<void> => {
    this.sent.push(command);
    return Promise.resolve();
  };

  get field(): HTMLInputElement {
    return document.querySelector('[data-nbt=field-lr]')!;
  }

  get answer(): string {
    return document.querySelector('[data-nbt=answer-lr]')!.textContent ?? '';
  }

  type(text: string): void {
    act(() => {
      this.field.focus();
      put(this.field, text);
    });
  }

  press(key: string): void {
    act(() => {
      this.field.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    });
  }

  leave(): void {
    act(() => this.field.blur());
  }

  reply(ok: boolean, reason: string | null = null): void {
    const { id, value: wanted } = this.sent[this.sent.length - 1] as { id: string; value: number };
    const answers = [{ id, ok, step: 7, reason, note: null }];
    act(() => {
      this.seq += 1;
      const view = ok ? { answers, values: value(wanted, id) } : { answers };
      this.state.receive(frame(this.seq, { view }), []);
      this.client.answered(answers);
    });
  }

  /** Another command, such as an undo, sets the knob. */
  setElsewhere(number: number): void {
    act(() => {
      this.seq += 1;
      this.state.receive(frame(this.seq, { view: { values: value(number, `${this.seq}`) } }), []);
      this.slots.forEach(slot => slot());
    });
  }

  dispose(): void {
    act(() => this.root.unmount());
    this.client.dispose();
  }
}

/** What a user's hand does to an input; React overwrites the plain property. */
function put(input: HTMLInputElement, text: string): void {
  const property = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value');
  property?.set?.call(input, text);
  input.dispatchEvent(new Event('input', { bubbles: true }));
}

let bench: Bench;
beforeEach(() => {
  (globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;
  bench = new Bench();
});
afterEach(() => bench.dispose());

const shown = () => [bench.field.value, bench.field.getAttribute('aria-invalid')];

it('a number out of range stays in its field until it is edited', () => {
  bench.type('5000');
  bench.press('Enter');
  expect(bench.sent).toEqual([]);
  expect(shown()).toEqual(['5000', 'true']);
  expect(bench.answer).toBe('✗ Learning rate takes a number from 0 up to 1000.');
  bench.leave();
  expect(shown()).toEqual(['5000', 'true']);
  bench.type('500');
  expect(shown()).toEqual(['500', 'false']);
  expect(bench.answer).toBe('');
  bench.press('Enter');
  bench.reply(true);
  expect(shown()).toEqual(['500', 'false']);
  expect(bench.answer).toBe('✓ 1.0e-3 → 500 at step 7');
});

it('Escape takes back what was refused', () => {
  bench.type('fast');
  bench.press('Enter');
  expect(shown()).toEqual(['fast', 'true']);
  bench.press('Escape');
  expect(shown()).toEqual(['1.0e-3', 'false']);
  expect(bench.answer).toBe('');
});

it('what the run refuses stays too, and gives way to the next wish', () => {
  bench.type('2');
  bench.press('Enter');
  expect(bench.field.value).toBe('2');
  bench.reply(false, 'Too steep for this run.');
  expect(shown()).toEqual(['2', 'true']);
  expect(bench.answer).toBe('✗ Too steep for this run.');
  act(() => {
    const slider = document.querySelector<HTMLInputElement>('[data-nbt=slider-lr]')!;
    put(slider, '96');
  });
  expect(shown()).toEqual(['0.01', 'false']);
  expect(bench.sent).toHaveLength(2);
});

it('what was refused gives way to a value that is set since', () => {
  bench.type('fast');
  bench.press('Enter');
  expect(shown()).toEqual(['fast', 'true']);
  bench.setElsewhere(0.02);
  expect(shown()).toEqual(['0.02', 'false']);
  expect(bench.answer).toBe('✓ 1.0e-3 → 0.02 at step 7');
});

it('a number is sent as the field is left, once', () => {
  bench.type('0.01');
  bench.leave();
  expect(bench.sent).toMatchObject([{ kind: 'Set', knob: 'lr', value: 0.01 }]);
  bench.reply(true);
  bench.leave();
  bench.type('0.02');
  bench.press('Enter');
  bench.leave();
  expect(bench.sent).toHaveLength(2);
});

it('what was not changed is not sent', () => {
  bench.type('1.0e-3');
  bench.leave();
  bench.type('');
  bench.press('Enter');
  bench.type('4');
  bench.press('Escape');
  bench.leave();
  expect(bench.sent).toEqual([]);
  expect(bench.field.value).toBe('1.0e-3');
});
