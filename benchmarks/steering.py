"""``steering``: from a command to its effect, in ms, by a client outside the kernel's process.

A real kernel trains the ``cnn`` of `workloads` in the background; a client sends commands as
JupyterLab's panel does, on the control channel, at moments that have nothing to do with the
steps. The effect is when the run says `Applied`, read from the journal on disk afterwards.
``idle`` is a kernel that does nothing besides; ``busy`` one whose main thread spins in pure
Python, so that the trainer gets a fraction of the interpreter and its steps take longer:
``step`` is the mean step meanwhile, and the budget is one step and 100 ms.

Last figures, on two busy cores of an AMD EPYC with ipykernel 7.4: idle 6 ms (nine in ten within
14), busy 24 ms (80), with steps of 7 and 29 ms. See docs/performance.md.
"""

from __future__ import annotations

import os
import queue
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from benchmarks import report
from nbtrain import messages as m
from nbtrain import wire
from nbtrain.store.catalog import Store

COMMANDS = 60
QUICK_COMMANDS = 5
WAIT_SECONDS = 60.0
ROOT = Path(__file__).resolve().parent.parent

LAUNCH = """%%train steered --no-panel --no-wait --epochs 1000000 --val-split 0
import torch
torch.set_num_threads(1)
from benchmarks import workloads
work = workloads.cnn()
model, data = work.model(), (work.inputs, work.targets)
"""
SPIN = "while True:\n    pass"


def run(plan: report.Plan) -> list[report.Row]:
    """Steer a run while its kernel is idle, then while it spins."""
    count = QUICK_COMMANDS if plan.quick else COMMANDS
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(Path(folder))
        try:
            kernel.execute("%load_ext nbtrain")
            kernel.execute(LAUNCH)
            rows = _rows("idle", kernel, count)
            kernel.client.execute(SPIN)
            rows += _rows("busy", kernel, count)
            kernel.manager.interrupt_kernel()
            return [r for r in rows if plan.wants(r.name, r.name.partition("/")[0])]
        finally:
            kernel.close()


class Kernel:
    """A kernel whose runs are stored in ``folder``, and a client of it."""

    def __init__(self, folder: Path) -> None:
        environment = {"NBTRAIN_HOME": str(folder / "runs"), "IPYTHONDIR": str(folder)}
        environment["PYTHONPATH"] = str(ROOT)
        self.store = Store(folder / "runs")
        self.manager = KernelManager()
        self.manager.start_kernel(env={**os.environ, **environment})
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(WAIT_SECONDS)

    def execute(self, code: str) -> None:
        """Run ``code``. Raises RuntimeError where it fails."""
        content = self.client.execute_interactive(
            code, timeout=WAIT_SECONDS, output_hook=lambda _: None
        )["content"]
        if content["status"] != "ok":
            raise RuntimeError("\n".join(content.get("traceback") or [str(content)]))

    def command(self, run: str, command: m.Command) -> float:
        """Send ``command`` on the control channel; returns when, in seconds since 1970."""
        content = {"kind": "command", "run": run, "command": wire.to_json(command)}
        message = self.client.session.msg("nbtrain_request", content)
        sent = time.time()
        self.client.control_channel.send(message)
        reply = self._reply(message["header"]["msg_id"])
        if reply["status"] != "ok":
            raise RuntimeError(f"The kernel refused {command}: {reply}")
        return sent

    def _reply(self, request: str) -> dict[str, Any]:
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                message = self.client.control_channel.get_msg(timeout=end - time.monotonic())
            except queue.Empty:
                raise TimeoutError("The kernel's control channel does not answer.") from None
            if message["parent_header"].get("msg_id") == request:
                reply: dict[str, Any] = message["content"]
                return reply

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def _rows(name: str, kernel: Kernel, count: int) -> list[report.Row]:
    moments = random.Random(0)
    record = kernel.store.find("steered")
    sent: dict[str, float] = {}
    time.sleep(2.0)  # the run notices a busy interpreter within half a second or so
    for index in range(count):
        command = m.Set(knob="lr", value=1e-3 * (1 + index % 2), sender=f"benchmark {name}")
        sent[command.id] = kernel.command(record.id, command)
        time.sleep(moments.uniform(0.1, 0.3))
    answers = _answers(kernel, record, set(sent))
    effects = [1000 * (answers[command].time - when) for command, when in sent.items()]
    first, last = min(answers.values(), key=_time), max(answers.values(), key=_time)
    step = 1000 * (last.time - first.time) / max(1, last.step - first.step)
    tenths = statistics.quantiles(effects, n=10, method="inclusive")
    spread = f"{min(effects):.1f} – {max(effects):.1f} of {count} commands"
    return [
        report.row(f"{name}/p50", "ms", [statistics.median(effects)], spread),
        report.row(f"{name}/p90", "ms", [tenths[8]]),
        report.row(f"{name}/step", "ms", [step]),
    ]


def _answers(kernel: Kernel, record: Any, wanted: set[str]) -> dict[str, m.Applied]:
    """The journal's `Applied` of each command, by its id."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        events = record.read().events
        found = {e.command: e for e in events if isinstance(e, m.Applied) and e.command in wanted}
        if found.keys() == wanted:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"{len(wanted - found.keys())} commands are not in the journal.")
        time.sleep(0.05)


def _time(event: m.Applied) -> float:
    return event.time
