/** The widget's model: what the kernel told, what was asked of it, and one signal. */

import { DOMWidgetModel, type DOMWidgetView } from '@jupyter-widgets/base';
import { type Kernel, KernelMessage } from '@jupyterlab/services';
import type { JSONObject } from '@lumino/coreutils';
import { Signal } from '@lumino/signaling';

import { Asking } from './asking';
import { Client } from './client';
import type { Buffer } from './curves';
import * as live from './live';
import { type FromKernel, PROTOCOL, type ToKernel } from './protocol';
import { type Changes, RunState } from './state';
import { MODULE } from './version';

/** The name of a request on the control channel; its content is a command message. */
const REQUEST = 'nbtrain_request';

/** One run in the browser. It knows no view; several views may draw it. */
export class PanelModel extends DOMWidgetModel {
  readonly state = new RunState();
  readonly client: Client;

  /** Emitted at most once per animation frame, with the names of what changed. */
  readonly changed = new Signal<PanelModel, Changes>(this);

  private readonly asking: Asking;
  private waiting = new Set<string>();
  private frame = 0;

  defaults(): Backbone.ObjectHash {
    return {
      ...super.defaults(),
      _model_name: 'PanelModel',
      _model_module: MODULE.name,
      _model_module_version: MODULE.version,
      _view_name: 'PanelView',
      _view_module: MODULE.name,
      _view_module_version: MODULE.version,
      run: ''
    };
  }

  constructor(...args: ConstructorParameters<typeof DOMWidgetModel>) {
    super(...args);
    this.client = new Client(
      `panel-${this.model_id}`,
      (command, run) => this.transmit(command, run),
      () => this.mark(['client'])
    );
    this.on('msg:custom', (content: FromKernel, buffers: readonly Buffer[]) =>
      this.receive(content, buffers ?? [])
    );
    this.on('comm_live_update', () => {
      if (!this.comm_live) {
        this.client.abandon('The kernel is gone.');
      }
      this.mark(['live']);
    });
    this.asking = new Asking(() => {
      this.post({ kind: 'hello', protocol: PROTOCOL });
      return this.comm_live;
    });
    this.asking.begin();
    if (this.comm_live) {
      live.add(this);
    }
  }

  createView(): Promise<DOMWidgetView> {
    return this.widget_manager.create_view<DOMWidgetView>(this);
  }

  /** Whether a kernel holds this run. */
  get live(): boolean {
    return this.comm_live;
  }

  close(closed?: boolean): Promise<void> {
    live.remove(this);
    cancelAnimationFrame(this.frame);
    this.asking.answered();
    this.client.dispose();
    Signal.clearData(this);
    return super.close(closed);
  }

  private receive(message: FromKernel, buffers: readonly Buffer[]): void {
    if (message.kind !== 'snapshot' && message.kind !== 'frame') {
      return;
    }
    const changes = this.state.receive(message, buffers);
    if (changes === null) {
      this.asking.begin();
      return;
    }
    if (message.kind === 'snapshot') {
      this.asking.answered();
    }
    if (changes.has('answers')) {
      this.client.answered(this.state.view.answers);
    }
    this.mark(changes);
  }

  private mark(names: Iterable<string>): void {
    for (const name of names) {
      this.waiting.add(name);
    }
    if (this.frame === 0 && this.waiting.size > 0) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        const changes = this.waiting;
        this.waiting = new Set();
        this.changed.emit(changes);
      });
    }
  }

  /**
   * Send a command both ways: the control channel is served while the kernel computes, and
   * the widget's own channel works where there is no control channel. The run drops the
   * second copy by the command's id.
   */
  private async transmit(command: Record<string, unknown>, run: string | null): Promise<void> {
    const message = { kind: 'command' as const, run: run ?? this.state.view.run.id, command };
    const kernel = this.kernel();
    if (!this.comm_live && !kernel) {
      throw new Error('No kernel holds this run.');
    }
    if (this.comm_live) {
      this.post(message);
    }
    if (kernel) {
      await request(kernel, message);
    }
  }

  private post(message: ToKernel): void {
    // A message is JSON all through, which an interface cannot tell the compiler.
    this.send(message as unknown as JSONObject, {});
  }

  private kernel(): Kernel.IKernelConnection | null {
    // Only JupyterLab's managers know their kernel; other front ends have comms alone.
    const manager = this.widget_manager as unknown as { kernel?: Kernel.IKernelConnection | null };
    const kernel = manager.kernel;
    return kernel && kernel.status !== 'dead' && !kernel.isDisposed ? kernel : null;
  }
}

/** Send `content` on the control channel; rejects with the error that the kernel answers. */
function request(kernel: Kernel.IKernelConnection, content: ToKernel): Promise<void> {
  const message = KernelMessage.createMessage({
    msgType: REQUEST as 'debug_request',
    channel: 'control',
    session: kernel.clientId,
    username: kernel.username,
    content: content as never
  });
  return new Promise((resolve, reject) => {
    const future = kernel.sendControlMessage(message, true, true);
    future.onReply = reply => {
      const answer = reply.content as unknown as { status?: string; error?: string };
      if (answer.status === 'error') {
        reject(new Error(answer.error ?? 'The kernel did not take the command.'));
      } else {
        resolve();
      }
    };
    // A future also ends without a reply, as when the kernel restarts; what became of the
    // command then shows in the run's answers, or in the comm's end.
    future.done.catch(() => resolve());
  });
}
