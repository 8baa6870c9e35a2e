/** The knobs, grouped as the textbooks do. */

import { memo, useState } from 'react';

import { useSettled, useView } from './hooks';
import { KnobRow } from './knob';
import type { PanelModel } from './model';
import type { Knob } from './protocol';

export const Controls = memo(function Controls({ model }: { model: PanelModel }) {
  const knobs = useView(model, 'knobs');
  const closed = useSettled(model);
  const groups = [...new Set(knobs.map(({ group }) => group))];
  return (
    <div className="nbt-controls" data-nbt="controls">
      {groups.map(group => (
        <fieldset key={group} className="nbt-group">
          <legend>{group}</legend>
          {knobs
            .filter(knob => knob.group === group && knob.layer === null)
            .map(knob => (
              <Family
                key={knob.name}
                model={model}
                knob={knob}
                layers={knobs.filter(
                  ({ name, layer }) => layer !== null && name.startsWith(`${knob.name}.`)
                )}
                closed={closed}
              />
            ))}
        </fieldset>
      ))}
    </div>
  );
});

interface FamilyProps {
  model: PanelModel;
  knob: Knob;
  /** The knobs of single layers, folded under the one for all. */
  layers: Knob[];
  closed: string | null;
}

function Family({ model, knob, layers, closed }: FamilyProps): JSX.Element {
  const [open, setOpen] = useState(false);
  return (
    <>
      <KnobRow model={model} knob={knob} closed={closed} />
      {layers.length > 0 && (
        <div className="nbt-layers">
          <button
            type="button"
            className="nbt-fold"
            data-nbt={`layers-${knob.name}`}
            aria-label={`${knob.label} of ${layers.length === 1 ? '1 layer' : `${layers.length} layers`}`}
            aria-expanded={open}
            onClick={() => setOpen(!open)}
          >
            <span aria-hidden="true">{open ? '▾' : '▸'}</span>
            {layers.length === 1 ? '1 layer' : `${layers.length} layers`}
          </button>
          {open &&
            layers.map(layer => (
              <KnobRow key={layer.name} model={model} knob={layer} closed={closed} />
            ))}
        </div>
      )}
    </>
  );
}
