/** Wires the parts into JupyterLab and Jupyter Notebook; nothing else happens here. */

import { IJupyterWidgetRegistry } from '@jupyter-widgets/base';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';

import { factory, RANK } from './output';
import { MODULE } from './version';

/** The panel, as the widget that the kernel shows. */
const widget: JupyterFrontEndPlugin<void> = {
  id: 'nbtrain:widget',
  description: 'The live panel of a training run.',
  autoStart: true,
  requires: [IJupyterWidgetRegistry],
  activate: (_: JupyterFrontEnd, registry: IJupyterWidgetRegistry) => {
    registry.registerWidget({
      name: MODULE.name,
      version: MODULE.version,
      // Loaded with the first panel, so that a page without one pays nothing.
      exports: () => import('./widget')
    });
  }
};

/** Outputs of runs: the live panel where a kernel holds the run, else its picture. */
const output: JupyterFrontEndPlugin<void> = {
  id: 'nbtrain:output',
  description: 'Shows a saved run with or without its kernel.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  activate: (_: JupyterFrontEnd, rendermime: IRenderMimeRegistry) => {
    rendermime.addFactory(factory, RANK);
  }
};

export default [widget, output];
