/** What the kernel has told about a run: the fold of a snapshot and its frames. */

import { type Buffer, type Curve, patched } from './curves';
import type { FromKernel, LogLine, View } from './protocol';

/** Names of what changed: keys of the view, `curve:NAME`, `figure`, `log`. */
export type Changes = ReadonlySet<string>;

export interface Log {
  /** The number of the first line held: earlier ones were let go. */
  readonly first: number;
  readonly lines: readonly LogLine[];
  /** Lines written in all. */
  readonly total: number;
}

const NOTHING: View = {
  run: { id: '', name: '', number: 0 },
  state: {
    state: 'queued',
    outcome: null,
    reason: null,
    error: null,
    traceback: null,
    restored: null,
    behind: null
  },
  progress: {
    step: 0,
    total_steps: null,
    epoch: null,
    epochs: null,
    fraction: null,
    steps_per_second: null,
    seconds: null,
    seconds_left: null,
    device: null,
    device_name: null,
    memory: null
  },
  charts: [],
  knobs: [],
  values: {},
  actions: [],
  answers: [],
  best: null,
  horizon: null,
  notices: [],
  notes: [],
  code: null,
  readonly: false
};

/**
 * The state of one run as its panel shows it. Every part is replaced, never changed in
 * place, so that a reader sees by identity what is new.
 */
export class RunState {
  /** False until the first snapshot. */
  known = false;
  view: View = NOTHING;
  /** The Bokeh document of the charts, as JSON. */
  figure: object | null = null;
  curves: ReadonlyMap<string, Curve> = new Map();
  log: Log = { first: 0, lines: [], total: 0 };

  private expected: number | null = null;

  /**
   * Take in a message. Returns what changed, or null where a message before it was missed
   * and a snapshot must be asked for.
   */
  receive(message: FromKernel, buffers: readonly Buffer[]): Changes | null {
    const whole = message.kind === 'snapshot';
    if (!whole) {
      if (this.expected === null) {
        return new Set();
      }
      if (message.seq < this.expected) {
        return new Set();
      }
      if (message.seq > this.expected) {
        this.expected = null;
        return null;
      }
    }
    const curves = new Map(whole ? [] : this.curves);
    const changed = new Set<string>(Object.keys(message.view));
    for (const [index, head] of message.curves.entries()) {
      const buffer = buffers[index];
      const curve = buffer && patched(curves.get(head.name), head, buffer);
      if (!curve) {
        this.expected = null;
        return null;
      }
      curves.set(head.name, curve);
      changed.add(`curve:${head.name}`);
    }
    if (whole) {
      changed.add('figure');
      for (const name of this.curves.keys()) {
        changed.add(`curve:${name}`);
      }
      this.figure = kept(this.figure, message.figure);
    }
    this.view = whole ? renewed(this.view, message.view) : { ...this.view, ...message.view };
    this.curves = curves;
    if (message.log) {
      const { first, lines, total } = message.log;
      // Where lines between were left out, what was held before them goes too.
      const joint = first - this.log.first;
      const fits = !whole && joint <= this.log.lines.length;
      const before = fits ? this.log.lines.slice(0, Math.max(0, joint)) : [];
      const joined = [...before, ...lines];
      const excess = Math.max(0, joined.length - MAX_LINES);
      this.log = { first: first - before.length + excess, lines: joined.slice(excess), total };
      changed.add('log');
    }
    this.expected = message.seq + 1;
    this.known = true;
    return changed;
  }
}

/** Lines of the log that are kept in the browser. */
const MAX_LINES = 5000;

/** The view of a snapshot; what it repeats stays the same object, so nobody draws it again. */
function renewed(old: View, view: Partial<View>): View {
  const whole = { ...NOTHING, ...view };
  const parts = Object.entries(whole).map(([key, value]) => [
    key,
    kept(old[key as keyof View], value)
  ]);
  return Object.fromEntries(parts) as View;
}

function kept<T>(old: unknown, value: T): T {
  return JSON.stringify(old) === JSON.stringify(value) ? (old as T) : value;
}
