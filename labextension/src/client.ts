/** Commands on their way: sent, waiting, answered. */

import type { Command } from './messages';
import type { Answer } from './protocol';

/** A command as the caller writes it: the client adds id, sender and sequence. */
export type Wish = Command extends infer C
  ? C extends Command
    ? Omit<C, 'id' | 'sender' | 'sequence'>
    : never
  : never;

/** A command without an answer. */
export interface Pending {
  readonly id: string;
  /** What it acts on: `knob:NAME` or the command's kind. */
  readonly target: string;
  /** Whether it has waited so long that the user should know. */
  readonly late: boolean;
}

/**
 * The way out, to the run with the id `run` (null for the panel's own); resolves when the
 * command was taken, rejects with why not.
 */
export type Send = (command: Record<string, unknown>, run: string | null) => Promise<void>;

/** Milliseconds without an answer after which the panel says "sent, waiting". */
export const LATE = 100;

/**
 * Sends the commands of one panel and keeps what is known of their answers. `changed` is
 * called whenever `pending` or `rejected` was replaced.
 */
export class Client {
  /** By target, the newest command that waits for its answer. */
  pending: ReadonlyMap<string, Pending> = new Map();
  /** By target, why its newest command was not obeyed. */
  rejected: ReadonlyMap<string, string> = new Map();

  private sequence = 0;
  private timers = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(
    private readonly sender: string,
    private readonly transmit: Send,
    private readonly changed: () => void
  ) {}

  /** Send `wish` and return its id. */
  send(wish: Wish): string {
    return this.post({ ...wish, id: newId() }, targetOf(wish));
  }

  /**
   * Send a command that the kernel worded, such as a notice's button, to the run it names.
   * That run answers on its own panel; here only a refusal shows.
   */
  relay(command: Record<string, unknown>, run: string): void {
    this.sequence += 1;
    const whole = { ...command, id: newId(), sender: this.sender, sequence: this.sequence };
    void this.transmit(whole, run).catch((error: unknown) => {
      this.refuse(`run:${run}`, messageOf(error));
    });
  }

  /** Say why `target` is not asked for what somebody wished. */
  refuse(target: string, reason: string): void {
    this.rejected = new Map(this.rejected).set(target, reason);
    this.changed();
  }

  /** Forget what `target` was refused. */
  forgive(target: string): void {
    this.rejected = without(this.rejected, target);
    this.changed();
  }

  /** Take in the answers that the kernel gave. */
  answered(answers: readonly Answer[]): void {
    const byId = new Map(answers.map(answer => [answer.id, answer]));
    for (const [target, { id }] of this.pending) {
      const answer = byId.get(id);
      if (answer) {
        this.settle(target, id, answer.ok ? null : (answer.reason ?? 'The run did not obey.'));
      }
    }
  }

  /** Give up on everything that waits: nobody is there to answer. */
  abandon(reason: string): void {
    for (const [target, { id }] of this.pending) {
      this.settle(target, id, reason);
    }
  }

  dispose(): void {
    for (const timer of this.timers.values()) {
      clearTimeout(timer);
    }
    this.timers.clear();
    this.pending = new Map();
  }

  private post(command: Record<string, unknown> & { id: string }, target: string): string {
    const { id } = command;
    this.sequence += 1;
    // A command that takes the place of one still waiting inherits its lateness, or the
    // note would blink during a drag.
    const late = this.pending.get(target)?.late ?? false;
    this.pending = new Map(this.pending).set(target, { id, target, late });
    this.rejected = without(this.rejected, target);
    if (!this.timers.has(target)) {
      this.timers.set(
        target,
        setTimeout(() => this.mark(target), LATE)
      );
    }
    this.changed();
    const whole = { ...command, sender: this.sender, sequence: this.sequence };
    void this.transmit(whole, null).catch((error: unknown) => {
      this.settle(target, id, messageOf(error));
    });
    return id;
  }

  private mark(target: string): void {
    this.timers.delete(target);
    const pending = this.pending.get(target);
    if (pending && !pending.late) {
      this.pending = new Map(this.pending).set(target, { ...pending, late: true });
      this.changed();
    }
  }

  private settle(target: string, id: string, reason: string | null): void {
    if (this.pending.get(target)?.id !== id) {
      return;
    }
    clearTimeout(this.timers.get(target));
    this.timers.delete(target);
    this.pending = without(this.pending, target);
    if (reason !== null) {
      this.rejected = new Map(this.rejected).set(target, reason);
    }
    this.changed();
  }
}

/** A fresh id for a command: 12 hexadecimal digits. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function targetOf(command: object): string {
  const { kind, knob } = command as { kind?: unknown; knob?: unknown };
  return typeof knob === 'string' ? `knob:${knob}` : String(kind);
}

function without<V>(map: ReadonlyMap<string, V>, key: string): ReadonlyMap<string, V> {
  if (!map.has(key)) {
    return map;
  }
  const rest = new Map(map);
  rest.delete(key);
  return rest;
}
