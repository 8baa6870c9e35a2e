/** The values of one drag on their way: few enough to follow, and always the last. */

import { newId } from './client';

/** Milliseconds between two values sent: at most ten a second. */
export const INTERVAL = 100;

/** Milliseconds of rest after which moving a slider by keys is a new action. */
const REST = 1000;

/** Sends what a slider is dragged over; the values of one drag share an id. */
export class Drag<V> {
  private id: string | null = null;
  private held = false;
  private moved = -Infinity;
  private sent = -Infinity;
  private next: { value: V } | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(
    private readonly send: (value: V, drag: string) => void,
    private readonly now: () => number = () => performance.now()
  ) {}

  /** The pointer went down: what follows is one action until `release`. */
  hold(): void {
    this.flush();
    this.id = newId();
    this.held = true;
  }

  /** The slider was moved to `value`. */
  move(value: V): void {
    const now = this.now();
    if (this.id === null || (!this.held && now - this.moved > REST)) {
      this.flush();
      this.id = newId();
    }
    this.moved = now;
    this.next = { value };
    if (this.timer === null) {
      const wait = this.sent + INTERVAL - now;
      if (wait <= 0) {
        this.flush();
      } else {
        this.timer = setTimeout(() => this.flush(), wait);
      }
    }
  }

  /** The pointer went up. The last value is sent in its turn, if it was not yet. */
  release(): void {
    this.held = false;
    this.moved = -Infinity;
  }

  /** Whether every value was sent. */
  get idle(): boolean {
    return this.next === null;
  }

  /** Send what waits, now. */
  flush(): void {
    if (this.timer !== null) {
      clearTimeout(this.timer);
      this.timer = null;
    }
    if (this.next && this.id !== null) {
      const { value } = this.next;
      this.next = null;
      this.sent = this.now();
      this.send(value, this.id);
    }
  }
}
