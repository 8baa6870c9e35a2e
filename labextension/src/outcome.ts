/** What became of a run, or what it waits for, in sentences. */

import { count, metric, number } from './format';
import type { Best, StateInfo } from './protocol';

/** The sentences under the header; `live` is whether a kernel holds the run. */
export function told(info: StateInfo, best: Best | null, name: string, live: boolean): string[] {
  const { state, outcome, reason, restored, behind } = info;
  const story: string[] = [];
  if (live && state === 'queued' && behind) {
    story.push(`Waiting for ${behind}. --share trains beside it.`);
  }
  if (reason && outcome !== 'failed') {
    story.push(sentence(reason));
  }
  if (state === 'finished' && restored !== null) {
    story.push(weights(restored, best, name));
  }
  if (!live) {
    story.push(
      'The kernel of this run is gone. This is the run as it was last seen; ' +
        'run the cell again to train anew.'
    );
  }
  return story;
}

function weights(restored: number, best: Best | null, name: string): string {
  const held = count(restored);
  const value = number(best?.metrics[best.monitor ?? '']);
  if (!best || Number.isNaN(value)) {
    return `The model holds the weights of step ${held}.`;
  }
  const score = `(${best.monitor} ${metric(value)})`;
  return best.step === restored
    ? `The model holds the best weights, of step ${held} ${score}.`
    : `The model holds the weights of step ${held}; the best were those of step ` +
        `${count(best.step)} ${score}: ${name}.best_model.`;
}

/** `text` as a sentence; a metric's name at its start stays as it is. */
function sentence(text: string): string {
  const isName = /^(\w*_\w*|loss|accuracy)\b/.test(text);
  const whole = isName ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
