import { describe, expect, it } from 'vitest';

import { RunState } from '../src/state';
import { frame, line, progress, rows, snapshot } from './build';

const curve = (name: string, start: number, count: number) => ({ name, start, count });

describe('messages', () => {
  it('are ignored until there is a snapshot', () => {
    const state = new RunState();
    expect(state.receive(frame(4), [])?.size).toBe(0);
    expect(state.known).toBe(false);
  });

  it('change only what they name', () => {
    const state = new RunState();
    state.receive(snapshot(1, { view: { notes: ['a'], readonly: true } }), []);
    const { notes } = state.view;
    const changes = state.receive(frame(2, { view: { progress: progress({ step: 7 }) } }), []);
    expect([...changes!]).toEqual(['progress']);
    expect(state.view.progress.step).toBe(7);
    expect(state.view.notes).toBe(notes);
  });

  it('ask for a snapshot after a gap, and count from the next one', () => {
    const state = new RunState();
    state.receive(snapshot(1), []);
    expect(state.receive(frame(3), [])).toBeNull();
    expect(state.receive(frame(4, { view: { readonly: true } }), [])?.size).toBe(0);
    expect(state.view.readonly).toBe(false);
    state.receive(snapshot(5), []);
    expect(state.receive(frame(6, { view: { readonly: true } }), [])?.has('readonly')).toBe(true);
  });

  it('that come twice are ignored', () => {
    const state = new RunState();
    state.receive(snapshot(1), []);
    state.receive(frame(2, { curves: [curve('loss', 0, 1)] }), [line(0, 1)]);
    expect(state.receive(frame(2, { curves: [curve('loss', 1, 1)] }), [line(0, 9)])?.size).toBe(0);
    expect(state.curves.get('loss')!.mean).toHaveLength(1);
  });

  it('of a second snapshot keep what they repeat, so that it is not drawn again', () => {
    const state = new RunState();
    const charts = () => [{ id: 'loss', title: 'Loss', series: [] }];
    state.receive(snapshot(1, { figure: { roots: [1] }, view: { charts: charts() } }), []);
    const { figure, view } = state;
    state.receive(
      snapshot(2, { figure: { roots: [1] }, view: { charts: charts(), readonly: true } }),
      []
    );
    expect(state.figure).toBe(figure);
    expect(state.view.charts).toBe(view.charts);
    expect(state.view.readonly).toBe(true);
  });

  it('of a second snapshot forget what they do not repeat', () => {
    const state = new RunState();
    state.receive(snapshot(1, { view: { notes: ['old'] }, curves: [curve('loss', 0, 1)] }), [
      line(0, 1)
    ]);
    const changes = state.receive(snapshot(2), []);
    expect(state.view.notes).toEqual([]);
    expect(state.curves.size).toBe(0);
    expect(changes!.has('curve:loss')).toBe(true);
  });
});

describe('curves', () => {
  it('are read column after column, from any byte on', () => {
    const state = new RunState();
    state.receive(snapshot(1, { curves: [curve('loss', 0, 2)] }), [
      rows([0.5, 10, 1, 3, 2], [1.5, 20, 4, 6, 5])
    ]);
    const { x, step, low, high, mean } = state.curves.get('loss')!;
    expect([[...x], [...step], [...low], [...high], [...mean]]).toEqual([
      [0.5, 1.5],
      [10, 20],
      [1, 4],
      [3, 6],
      [2, 5]
    ]);
  });

  it('are cut at start and go on from there', () => {
    const state = new RunState();
    state.receive(snapshot(1, { curves: [curve('loss', 0, 3)] }), [line(0, 1, 2, 3)]);
    const before = state.curves.get('loss')!;
    state.receive(frame(2, { curves: [curve('loss', 2, 2)] }), [line(2, 30, 40)]);
    expect([...state.curves.get('loss')!.mean]).toEqual([1, 2, 30, 40]);
    expect([...before.mean]).toEqual([1, 2, 3]);
  });

  it('are replaced as a whole when points were merged', () => {
    const state = new RunState();
    state.receive(snapshot(1, { curves: [curve('loss', 0, 4)] }), [line(0, 1, 2, 3, 4)]);
    state.receive(frame(2, { curves: [curve('loss', 0, 2)] }), [line(0, 1.5, 3.5)]);
    expect([...state.curves.get('loss')!.mean]).toEqual([1.5, 3.5]);
  });

  it('that do not fit what is held ask for a snapshot', () => {
    const state = new RunState();
    state.receive(snapshot(1), []);
    expect(state.receive(frame(2, { curves: [curve('loss', 5, 1)] }), [line(5, 1)])).toBeNull();
  });

  it('whose buffer is short ask for a snapshot', () => {
    const state = new RunState();
    state.receive(snapshot(1), []);
    expect(state.receive(frame(2, { curves: [curve('loss', 0, 2)] }), [line(0, 1)])).toBeNull();
    expect(state.known).toBe(true);
  });
});

describe('the log', () => {
  const lines = (...texts: string[]) => texts.map(text => ({ stream: 'stdout', text }));
  const texts = (state: RunState) => state.log.lines.map(({ text }) => text);

  it('grows, and replaces a line that was written over', () => {
    const state = new RunState();
    state.receive(snapshot(1, { log: { first: 0, lines: lines('a', '10%'), total: 2 } }), []);
    state.receive(frame(2, { log: { first: 1, lines: lines('50%', 'b'), total: 3 } }), []);
    expect(texts(state)).toEqual(['a', '50%', 'b']);
  });

  it('counts from the first line that was sent', () => {
    const state = new RunState();
    state.receive(snapshot(1, { log: { first: 900, lines: lines('x', 'y'), total: 902 } }), []);
    state.receive(frame(2, { log: { first: 901, lines: lines('z'), total: 902 } }), []);
    expect(texts(state)).toEqual(['x', 'z']);
    expect(state.log.first).toBe(900);
  });

  it('lets go of what comes before lines that were left out', () => {
    const state = new RunState();
    state.receive(snapshot(1, { log: { first: 0, lines: lines('a'), total: 1 } }), []);
    state.receive(frame(2, { log: { first: 400, lines: lines('z'), total: 401 } }), []);
    expect(texts(state)).toEqual(['z']);
    expect(state.log.first).toBe(400);
  });

  it('is bounded', () => {
    const state = new RunState();
    const many = Array.from({ length: 6000 }, (_, index) => String(index));
    state.receive(snapshot(1, { log: { first: 0, lines: lines(...many), total: 6000 } }), []);
    expect(state.log.lines).toHaveLength(5000);
    expect(state.log.first).toBe(1000);
    expect(texts(state)[0]).toBe('1000');
  });
});
