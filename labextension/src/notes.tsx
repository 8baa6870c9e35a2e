/** What was inferred, in as many whole sentences as there is room for, and the rest on demand. */

import { memo, useId, useLayoutEffect, useRef, useState } from 'react';

import { useView } from './hooks';
import type { PanelModel } from './model';

export const Notes = memo(function Notes({ model }: { model: PanelModel }) {
  const notes = useView(model, 'notes');
  const id = useId();
  const [open, setOpen] = useState(false);
  const line = useRef<HTMLParagraphElement>(null);
  const hidden = useHidden(line, notes, open);
  if (notes.length === 0) {
    return null;
  }
  return (
    <>
      <div className="nbt-notes" data-nbt="notes">
        {!open && (
          <p ref={line}>
            {notes.map((note, index) => (
              <span key={index} title={note}>
                {note}
              </span>
            ))}
          </p>
        )}
        {(hidden > 0 || open) && (
          <button
            type="button"
            className="nbt-fold"
            data-nbt="notes-more"
            aria-label={open ? `${notes.length} notes` : `${hidden} more notes`}
            aria-expanded={open}
            aria-controls={open ? id : undefined}
            onClick={() => setOpen(!open)}
          >
            <span aria-hidden="true">{open ? '▾' : '▸'}</span>
            {open ? `${notes.length} notes` : `${hidden} more`}
          </button>
        )}
      </div>
      {open && <Inferred id={id} notes={notes} />}
    </>
  );
});

/** All the notes, one below the other. */
export function Inferred({ id, notes }: { id?: string; notes: readonly string[] }): JSX.Element {
  return (
    <ul id={id} className="nbt-inferred">
      {notes.map((note, index) => (
        <li key={index}>{note}</li>
      ))}
    </ul>
  );
}

/** How many sentences of the line have no room in it, as its width changes. */
function useHidden(
  line: React.RefObject<HTMLElement>,
  notes: readonly string[],
  open: boolean
): number {
  const [hidden, setHidden] = useState(0);
  useLayoutEffect(() => {
    const element = line.current;
    if (!element) {
      return;
    }
    const measure = (): void => {
      const edge = element.getBoundingClientRect().bottom + 1;
      const cut = [...element.children].filter(
        part => part.getBoundingClientRect().bottom > edge || part.scrollWidth > part.clientWidth
      );
      setHidden(cut.length);
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [line, notes, open]);
  return hidden;
}
