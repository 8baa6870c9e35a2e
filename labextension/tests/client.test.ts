import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Client, LATE, newId } from '../src/client';
import { Drag, INTERVAL } from '../src/drag';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const set = (value: number) => ({ kind: 'Set', knob: 'lr', value, schedule: 'rebase' }) as const;
const answer = (id: string, ok: boolean, reason: string | null = null) => ({
  id,
  ok,
  step: 3,
  reason,
  note: null
});

function client(transmit = (): Promise<void> => Promise.resolve()) {
  const sent: Record<string, unknown>[] = [];
  const made = new Client(
    'panel-1',
    command => {
      sent.push(command);
      return transmit();
    },
    () => {}
  );
  return { client: made, sent };
}

describe('a command', () => {
  it('carries a fresh id, its sender and a growing sequence', () => {
    const { client: made, sent } = client();
    made.send({ kind: 'Pause' });
    made.send({ kind: 'Resume' });
    expect(sent.map(({ sender, sequence }) => [sender, sequence])).toEqual([
      ['panel-1', 1],
      ['panel-1', 2]
    ]);
    expect(sent[0].id).toMatch(/^[0-9a-f]{12}$/);
    expect(sent[0].id).not.toBe(sent[1].id);
  });

  it('says that it waits after a tenth of a second, and no earlier', () => {
    const { client: made } = client();
    made.send(set(1));
    vi.advanceTimersByTime(LATE - 1);
    expect(made.pending.get('knob:lr')?.late).toBe(false);
    vi.advanceTimersByTime(1);
    expect(made.pending.get('knob:lr')?.late).toBe(true);
  });

  it('is settled by the answer to its id', () => {
    const { client: made } = client();
    const id = made.send(set(1));
    made.answered([answer('000000000000', true)]);
    expect(made.pending.size).toBe(1);
    made.answered([answer(id, true)]);
    expect(made.pending.size).toBe(0);
    expect(made.rejected.size).toBe(0);
  });

  it('shows why it was rejected, until the next one', () => {
    const { client: made } = client();
    made.answered([answer(made.send(set(1)), false, 'Too large.')]);
    expect(made.rejected.get('knob:lr')).toBe('Too large.');
    made.send(set(2));
    expect(made.rejected.size).toBe(0);
  });

  it('is not held against the newer one that took its place', () => {
    const { client: made } = client();
    const first = made.send(set(1));
    const second = made.send(set(2));
    made.answered([answer(first, false, 'superseded')]);
    expect(made.rejected.size).toBe(0);
    expect(made.pending.get('knob:lr')?.id).toBe(second);
  });

  it('shows the error of the control channel', async () => {
    const { client: made } = client(() => Promise.reject(new Error('No such knob.')));
    made.send(set(1));
    await vi.advanceTimersByTimeAsync(0);
    expect(made.rejected.get('knob:lr')).toBe('No such knob.');
    expect(made.pending.size).toBe(0);
  });

  it('is given up when nobody is left to answer', () => {
    const { client: made } = client();
    made.send({ kind: 'Pause' });
    made.abandon('The kernel is gone.');
    expect(made.rejected.get('Pause')).toBe('The kernel is gone.');
    vi.advanceTimersByTime(LATE);
    expect(made.pending.size).toBe(0);
  });

  it('to another run waits for no answer here', () => {
    const { client: made, sent } = client();
    made.relay({ kind: 'Resume', sender: 'panel' }, 'abc');
    expect(made.pending.size).toBe(0);
    expect(sent[0]).toMatchObject({ kind: 'Resume', sender: 'panel-1', sequence: 1 });
  });
});

describe('a drag', () => {
  function dragged() {
    const sent: [number, string, number][] = [];
    const drag = new Drag<number>(
      (value, id) => sent.push([value, id, Date.now()]),
      () => Date.now()
    );
    return { drag, sent };
  }

  it('sends at most ten values a second, and always the last', () => {
    const { drag, sent } = dragged();
    drag.hold();
    for (let value = 1; value <= 50; value++) {
      drag.move(value);
      vi.advanceTimersByTime(10);
    }
    drag.release();
    vi.advanceTimersByTime(INTERVAL);
    expect(sent.length).toBeLessThanOrEqual(7);
    expect(sent[sent.length - 1][0]).toBe(50);
    const gaps = sent.slice(1).map(([, , at], index) => at - sent[index][2]);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(INTERVAL);
  });

  it('is one action, and the next is another', () => {
    const { drag, sent } = dragged();
    drag.hold();
    drag.move(1);
    vi.advanceTimersByTime(200);
    drag.move(2);
    drag.release();
    vi.advanceTimersByTime(200);
    drag.hold();
    drag.move(3);
    expect(sent[0][1]).toBe(sent[1][1]);
    expect(sent[2][1]).not.toBe(sent[0][1]);
  });

  it('by keys is one action until they rest', () => {
    const { drag, sent } = dragged();
    drag.move(1);
    vi.advanceTimersByTime(400);
    drag.move(2);
    vi.advanceTimersByTime(1500);
    drag.move(3);
    expect(sent[0][1]).toBe(sent[1][1]);
    expect(sent[2][1]).not.toBe(sent[0][1]);
  });

  it('held still is the same action when it goes on', () => {
    const { drag, sent } = dragged();
    drag.hold();
    drag.move(1);
    vi.advanceTimersByTime(5000);
    drag.move(2);
    expect(sent[0][1]).toBe(sent[1][1]);
  });
});

it('ids are 12 hexadecimal digits', () => {
  expect(new Set(Array.from({ length: 100 }, newId)).size).toBe(100);
});
