/** The colours of the charts, read from the page's theme. */

export interface Palette {
  readonly train: string;
  readonly validation: string;
  readonly text: string;
  readonly muted: string;
  readonly grid: string;
  readonly axis: string;
  readonly mark: string;
  readonly surface: string;
  /** The page's font family. */
  readonly font: string;
}

const NAMES: Exclude<keyof Palette, 'font'>[] = [
  'train',
  'validation',
  'text',
  'muted',
  'grid',
  'axis',
  'mark',
  'surface'
];

/** The palette that the style sheet gives `element`; see style/theme.css. */
export function read(element: Element): Palette {
  // A variable's own text may be any colour expression; a property's computed value is one
  // that a canvas understands.
  const probe = document.createElement('span');
  probe.hidden = true;
  element.append(probe);
  const style = getComputedStyle(probe);
  const font = style.fontFamily;
  const colours = Object.fromEntries(
    NAMES.map(name => {
      probe.style.color = `var(--nbt-${name})`;
      return [name, style.color];
    })
  );
  probe.remove();
  return { ...colours, font } as Palette;
}

/** Call `changed` whenever the page's theme was changed; returns how to stop. */
export function watch(changed: () => void): () => void {
  const observer = new MutationObserver(() => changed());
  observer.observe(document.body, {
    attributes: true,
    attributeFilter: ['data-jp-theme-light', 'data-jp-theme-name', 'class']
  });
  return () => observer.disconnect();
}
