/** The wire protocol of the panel; docs/architecture.md, "Seam: panel and browser". */

import type { Command, NonFinite, Outcome, State, Value } from './messages';

export const PROTOCOL = 1;

/** A number as standard JSON spells it. */
export type Num = number | NonFinite;

export interface RunInfo {
  id: string;
  name: string;
  number: number;
}

export interface StateInfo {
  state: State;
  outcome: Outcome | null;
  reason: string | null;
  error: string | null;
  traceback: string | null;
  restored: number | null;
  /** The name of the run that holds the device while this one is queued. */
  behind: string | null;
}

export interface Progress {
  step: number;
  total_steps: number | null;
  epoch: number | null;
  epochs: number | null;
  fraction: number | null;
  steps_per_second: number | null;
  seconds: number | null;
  seconds_left: number | null;
  device: string | null;
  device_name: string | null;
  memory: number | null;
}

export type Role = 'train' | 'validation';

export interface Series {
  name: string;
  label: string;
  role: Role;
}

export interface Chart {
  id: string;
  title: string;
  series: Series[];
}

export interface Knob {
  name: string;
  label: string;
  group: string;
  kind: 'float' | 'int' | 'choice' | 'text' | 'flag' | 'rates';
  unit: string;
  scale: 'linear' | 'log' | 'log2';
  slider: [number, number] | null;
  step: number | null;
  low: Num | null;
  high: Num | null;
  words: string[];
  can_be_off: boolean;
  off: Value;
  doc: string;
  range: string;
  reason: string | null;
  layer: string | null;
}

export interface KnobValue {
  value: Value;
  /** What the latest action replaced, and by what; the value may have moved on since. */
  old: Value;
  new: Value;
  step: number | null;
  note: string | null;
  command: string | null;
}

export interface Action {
  id: string;
  step: number;
  epoch: number | null;
  action: string;
  knob: string | null;
  label: string;
  sender: string;
  undone: boolean;
}

export interface Answer {
  id: string;
  ok: boolean;
  step: number | null;
  reason: string | null;
  note: string | null;
}

export interface Best {
  step: number;
  epoch: number | null;
  metrics: Record<string, Num>;
  monitor: string | null;
}

export interface Horizon {
  from: number;
  to: number;
}

export interface Notice {
  topic: string;
  step: number;
  level: 'info' | 'warning';
  text: string;
  button: { label: string; run: string; command: Record<string, unknown> } | null;
}

export interface Code {
  source: string;
  context: string[];
  options: Record<string, unknown> | null;
}

/** What the panel shows besides curves and log; a message holds the keys that changed. */
export interface View {
  run: RunInfo;
  state: StateInfo;
  progress: Progress;
  charts: Chart[];
  knobs: Knob[];
  values: Record<string, KnobValue>;
  actions: Action[];
  answers: Answer[];
  best: Best | null;
  horizon: Horizon | null;
  notices: Notice[];
  notes: string[];
  code: Code | null;
  readonly: boolean;
}

/** Where a buffer's rows go: drop the points from `start` on and append `count`. */
export interface CurveHead {
  name: string;
  start: number;
  count: number;
}

export interface LogPatch {
  first: number;
  lines: LogLine[];
  total: number;
}

export interface LogLine {
  stream: string;
  text: string;
}

interface Update {
  seq: number;
  view: Partial<View>;
  curves: CurveHead[];
  log: LogPatch | null;
}

export interface Snapshot extends Update {
  kind: 'snapshot';
  figure: object | null;
}

export interface Frame extends Update {
  kind: 'frame';
}

export type FromKernel = Snapshot | Frame;

export type ToKernel =
  | { kind: 'hello'; protocol: number }
  | { kind: 'command'; run: string; command: Command | Record<string, unknown> };
