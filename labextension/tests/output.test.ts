import type { DOMWidgetView } from '@jupyter-widgets/base';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';
import { afterEach, describe, expect, it } from 'vitest';

import * as live from '../src/live';
import { RunOutput } from '../src/output';

const VIEW = 'application/vnd.jupyter.widget-view+json';
const added: live.LiveModel[] = [];
const outputs: RunOutput[] = [];

afterEach(() => {
  outputs.splice(0).forEach(output => output.dispose());
  added.splice(0).forEach(live.remove);
});

function bundle(id: string, trusted = true, data = {}): IRenderMime.IMimeModel {
  const all = {
    [VIEW]: { model_id: id },
    'image/png': 'QUJD\n',
    'text/plain': '<b>digits</b>',
    ...data
  };
  return { data: all, trusted } as unknown as IRenderMime.IMimeModel;
}

/** A run that a kernel holds; counts the views made of it. */
function run(id: string) {
  const model = {
    model_id: id,
    views: [] as Widget[],
    createView: () => {
      const widget = new Widget();
      widget.addClass('live');
      model.views.push(widget);
      return Promise.resolve({ luminoWidget: widget } as unknown as DOMWidgetView);
    }
  };
  added.push(model);
  return model;
}

function made(): RunOutput {
  const output = new RunOutput();
  outputs.push(output);
  return output;
}

const settled = () => new Promise(resolve => setTimeout(resolve));
const isLive = (output: RunOutput) => output.node.querySelector('.live') !== null;

describe('an output', () => {
  it('without its kernel is a picture, with its text', async () => {
    const output = made();
    await output.renderModel(bundle('a'));
    const image = output.node.querySelector('img')!;
    expect(image.src).toBe('data:image/png;base64,QUJD');
    expect(image.alt).toBe('<b>digits</b>');
  });

  it('without a picture is its text', async () => {
    const output = made();
    await output.renderModel(bundle('a', true, { 'image/png': undefined }));
    expect(output.node.querySelector('pre')!.textContent).toBe('<b>digits</b>');
  });

  it('of a live run is its panel, and stays so when the picture is renewed', async () => {
    const model = run('a');
    live.add(model);
    const output = made();
    await output.renderModel(bundle('a'));
    await output.renderModel(bundle('a', true, { 'image/png': 'REVG' }));
    expect(isLive(output)).toBe(true);
    expect(model.views).toHaveLength(1);
    expect(model.views[0].isDisposed).toBe(false);
  });

  it('becomes live when the kernel comes later, and a picture when the run goes', async () => {
    const output = made();
    await output.renderModel(bundle('a'));
    const model = run('a');
    live.add(model);
    await settled();
    expect(isLive(output)).toBe(true);
    live.remove(model);
    await settled();
    expect(isLive(output)).toBe(false);
    expect(output.node.querySelector('img')).not.toBeNull();
  });

  it('that is not trusted stays a picture', async () => {
    live.add(run('a'));
    const output = made();
    await output.renderModel(bundle('a', false));
    expect(isLive(output)).toBe(false);
  });

  it('takes its view with it', async () => {
    const model = run('a');
    live.add(model);
    const output = made();
    await output.renderModel(bundle('a'));
    output.dispose();
    expect(model.views[0].isDisposed).toBe(true);
  });
});
