import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { AGAIN, Asking, SELDOM } from '../src/asking';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('asking for the run', () => {
  it('asks again, ever more seldom, until there is an answer', () => {
    const ask = vi.fn(() => true);
    const asking = new Asking(ask);
    asking.begin();
    expect(ask).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(AGAIN);
    expect(ask).toHaveBeenCalledTimes(2);
    vi.advanceTimersByTime(AGAIN);
    expect(ask).toHaveBeenCalledTimes(2);
    vi.advanceTimersByTime(AGAIN);
    expect(ask).toHaveBeenCalledTimes(3);
    vi.advanceTimersByTime(100 * SELDOM);
    expect(ask.mock.calls.length).toBeLessThan(110);
    asking.answered();
    const asked = ask.mock.calls.length;
    vi.advanceTimersByTime(10 * SELDOM);
    expect(ask).toHaveBeenCalledTimes(asked);
  });

  it('ends where nobody is there to ask', () => {
    const ask = vi.fn(() => false);
    new Asking(ask).begin();
    vi.advanceTimersByTime(10 * SELDOM);
    expect(ask).toHaveBeenCalledTimes(1);
  });

  it('asks once at a time, however often it begins', () => {
    const ask = vi.fn(() => true);
    const asking = new Asking(ask);
    asking.begin();
    asking.begin();
    expect(ask).toHaveBeenCalledTimes(2);
    vi.advanceTimersByTime(AGAIN);
    expect(ask).toHaveBeenCalledTimes(3);
  });
});
