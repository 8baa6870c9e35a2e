/** A menu button, as the ARIA practices describe it. */

import { Fragment, useEffect, useId, useRef, useState } from 'react';

export interface Item {
  readonly name: string;
  readonly label: string;
  readonly disabled?: boolean;
  /** Given where the item is a switch. */
  readonly checked?: boolean;
  readonly run: () => void;
}

/** A button that opens `items`; null stands for a line between groups. */
export function Menu({ label, items }: { label: string; items: (Item | null)[] }): JSX.Element {
  const id = useId();
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (!open) {
      return;
    }
    entries(root.current)[0]?.focus();
    const outside = (event: Event): void => {
      if (!root.current?.contains(event.target as Node)) {
        setOpen(false);
      }
    };
    document.addEventListener('pointerdown', outside, true);
    return () => document.removeEventListener('pointerdown', outside, true);
  }, [open]);

  const close = (): void => {
    setOpen(false);
    button.current?.focus();
  };
  const onKeyDown = (event: React.KeyboardEvent): void => {
    const all = entries(root.current);
    const at = all.indexOf(document.activeElement as HTMLElement);
    const to = {
      ArrowDown: (at + 1) % all.length,
      ArrowUp: (at - 1 + all.length) % all.length,
      Home: 0,
      End: all.length - 1
    }[event.key];
    if (event.key === 'Escape') {
      close();
    } else if (event.key === 'Tab') {
      setOpen(false);
      return;
    } else if (to !== undefined) {
      all[to]?.focus();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div className="nbt-menu" ref={root}>
      <button
        type="button"
        ref={button}
        className="nbt-button"
        data-nbt="menu"
        aria-label={label}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => setOpen(!open)}
      >
        ⋯
      </button>
      {open && (
        <div role="menu" id={id} aria-label={label} className="nbt-menu-list" onKeyDown={onKeyDown}>
          {items.map((item, index) =>
            item === null ? (
              <div key={index} role="separator" />
            ) : (
              <Fragment key={item.name}>
                <button
                  type="button"
                  role={item.checked === undefined ? 'menuitem' : 'menuitemcheckbox'}
                  aria-checked={item.checked}
                  aria-disabled={item.disabled}
                  tabIndex={-1}
                  data-nbt={item.name}
                  onClick={() => {
                    if (!item.disabled) {
                      close();
                      item.run();
                    }
                  }}
                >
                  <span aria-hidden="true">{item.checked ? '✓' : ''}</span>
                  {item.label}
                </button>
              </Fragment>
            )
          )}
        </div>
      )}
    </div>
  );
}

function entries(root: HTMLElement | null): HTMLElement[] {
  return [...(root?.querySelectorAll<HTMLElement>('[role^="menuitem"]') ?? [])];
}
