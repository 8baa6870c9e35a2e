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

/**
 * The palette that the style sheet gives `element`; see style/theme.css. Null while the element
 * is not in the page, as that of a cell which a long notebook keeps out of it: it has no colours.
 */
export function read(element: Element): Palette | null {
  if (!element.isConnected) {
    return null;
  }
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

/** Call `shown` whenever `element` comes to take up room in the page; returns how to stop. */
export function onShown(element: Element, shown: () => void): () => void {
  let before = false;
  const observer = new ResizeObserver(() => {
    const now = element.getClientRects().length > 0;
    if (now && !before) {
      shown();
    }
    before = now;
  });
  observer.observe(element);
  return () => observer.disconnect();
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
