/** Where a vertical axis has its ticks, and what is written beside them. */

const MOST_LOG_TICKS = 6;

/** Ticks of a log scale from `low` to `high`: 1, 2, 5 in each factor of ten, or fewer. */
export function logTicks(low: number, high: number): number[] {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const within = (mantissas: number[], every: number): number[] => {
    const ticks: number[] = [];
    for (let power = first; power <= last; power++) {
      if ((power - last) % every === 0) {
        ticks.push(...mantissas.map(mantissa => Number(`${mantissa}e${power}`)));
      }
    }
    return ticks.filter(tick => tick >= low && tick <= high);
  };
  const choices = [[1, 2, 5], [1, 3], [1]].map(mantissas => within(mantissas, 1));
  const fitting = choices.find(ticks => ticks.length <= MOST_LOG_TICKS);
  if (fitting && fitting.length > 1) {
    return fitting;
  }
  if (fitting) {
    // Less than a factor of two or so: a log scale is all but linear there.
    return [low, Math.sqrt(low * high), high].map(tick => Number(tick.toPrecision(2)));
  }
  return within([1], Math.ceil((last - first) / MOST_LOG_TICKS));
}

/** The labels of `ticks`: as many decimals as their distance needs, short exponents. */
export function tickLabels(ticks: readonly number[]): string[] {
  const sizes = ticks.map(Math.abs).filter(size => size > 0);
  if (sizes.length === 0) {
    return ticks.map(String);
  }
  const [small, large] = [Math.min(...sizes), Math.max(...sizes)];
  if (large < 1e-3 || large >= 1e5 || large / small >= 1e4) {
    return ticks.map(tick => (tick === 0 ? '0' : short(tick)));
  }
  const even = ticks.length > 2 ? evenStep(ticks) : null;
  if (even === null) {
    return ticks.map(tick => String(Number(tick.toPrecision(4))));
  }
  const decimals = Math.max(0, Math.min(6, -Math.floor(Math.log10(even) + 1e-9)));
  const needed = ticks.some(tick => Math.abs(tick - Number(tick.toFixed(decimals))) > 1e-9 * large)
    ? decimals + 1
    : decimals;
  return ticks.map(tick => tick.toFixed(needed));
}

function evenStep(ticks: readonly number[]): number | null {
  const step = ticks[1] - ticks[0];
  const even = ticks.every(
    (tick, index) => Math.abs(tick - ticks[0] - index * step) < 1e-6 * Math.abs(step)
  );
  return even ? Math.abs(step) : null;
}

function short(value: number): string {
  return Number(value.toPrecision(3)).toExponential().replace('e+', 'e');
}
