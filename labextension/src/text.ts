/** Text that programs wrote for a terminal. */

// Colours and cursor movement: ESC [ … letter, and ESC ] … BEL (or ESC \).
// eslint-disable-next-line no-control-regex
const ESCAPES = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;

/** `text` without escape sequences; of a line written over itself, the last writing. */
export function plainText(text: string): string {
  return text
    .replace(ESCAPES, '')
    .split('\n')
    .map(line => line.replace(/\r+$/, '').split('\r').pop())
    .join('\n');
}
