/** What the widget manager loads when it meets a panel. */

export { PanelModel } from './model';
export { PanelView } from './view';
