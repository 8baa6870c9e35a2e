/** Asking the kernel for the whole run, until it answers. */

/** Milliseconds until the question is asked again; doubled each time. */
export const AGAIN = 1_000;
/** The longest wait between two questions, in milliseconds. */
export const SELDOM = 30_000;

/**
 * Asks at once and again until it is answered. A kernel announces a widget before it listens
 * to it, so a first question that arrives in between, on a subshell's thread, is lost.
 */
export class Asking {
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `ask` sends the question; false where there is nobody to ask any more. */
  constructor(private readonly ask: () => boolean) {}

  /** Ask now, and again until `answered`. */
  begin(): void {
    this.answered();
    this.again(AGAIN);
  }

  /** The answer is there, or is not wanted any more. */
  answered(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private again(wait: number): void {
    if (this.ask()) {
      this.timer = setTimeout(() => this.again(Math.min(2 * wait, SELDOM)), wait);
    }
  }
}
