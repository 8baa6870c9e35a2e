"""The rows of the ``loop`` benchmark that are plain PyTorch, and those that are nbtrain."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from benchmarks.workloads import SEED, Workload
from nbtrain import messages as m
from nbtrain import options
from nbtrain.engine.control import GO, Decision
from nbtrain.engine.loop import Loop
from nbtrain.engine.ownership import Ownership, plain_copy
from nbtrain.engine.task import bind
from nbtrain.engine.training import Training
from nbtrain.runs import registry
from nbtrain.runs.train import train
from nbtrain.ui import writer
from nbtrain.ui.panel import Panel

T = TypeVar("T")
CPU = torch.device("cpu")
WAIT_SECONDS = 600.0


class Clock:
    """Two clocks from the first step to the last: the time that passed, and the processor
    time of all threads of this process, which says the same on a machine that is busy."""

    seconds = processor = 0.0
    aside = 0.0
    """Processor time of it that went to drawing the panel and to writing down what happened."""

    def __init__(self) -> None:
        self._begin = 0.0, 0.0

    def start(self, *_: Any, **__: Any) -> None:
        """Called before the first step."""
        self._begin = time.perf_counter(), time.process_time()

    def stop(self, *_: Any, **__: Any) -> None:
        """Called after the last step."""
        self.seconds = time.perf_counter() - self._begin[0]
        self.processor = time.process_time() - self._begin[1]

    def counting(self, function: Callable[..., T]) -> Callable[..., T]:
        """``function``, with its processor time counted as `aside` while the clock runs."""

        def counted(*arguments: Any) -> T:
            begin = time.thread_time()
            result = function(*arguments)
            if self._begin[0] and not self.seconds:
                self.aside += time.thread_time() - begin
            return result

        return counted


@dataclass(frozen=True)
class Trained:
    """The network that a row trained, and how long that took."""

    model: nn.Module
    clock: Clock


Method = Callable[[Workload], Trained]


def plain(work: Workload) -> Trained:
    """The loop of PyTorch's *Quickstart*: what 1.0 stands for."""
    model = work.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=work.lr)
    loader = work.loader()
    clock = Clock()
    clock.start()
    for _ in range(work.epochs):
        model.train()
        for batch, (inputs, targets) in enumerate(loader):
            outputs = model(inputs)
            loss = work.loss(outputs, targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if batch % 100 == 0:
                loss.item()  # which the tutorial prints
    clock.stop()
    return Trained(model, clock)


def limit(work: Workload) -> Trained:
    """The same eager loop with nothing around it: tensors put in order beforehand once an
    epoch, and Adam in one kernel. No loop of ours can be faster."""
    model = work.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=work.lr, fused=True)
    model.train()
    clock = Clock()
    clock.start()
    for epoch in range(work.epochs):
        order = work.order(epoch)
        inputs = work.inputs.index_select(0, order).split(work.batch_size)
        targets = work.targets.index_select(0, order).split(work.batch_size)
        for x, y in zip(inputs, targets, strict=True):
            loss = work.loss(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    clock.stop()
    return Trained(model, clock)


class Nobody:
    """A control point that never decides anything and drops every event."""

    def decide(self, step: int, wait: float | None = 0.0) -> Decision:
        return GO

    def emit(self, event: m.Event) -> None:
        return None


def null(work: Workload) -> Trained:
    """nbtrain's engine on a thread of its own, with nobody to steer or to watch it."""
    given = {"lr": work.lr, "epochs": work.epochs, "batch_size": work.batch_size}
    settings = options.defaults() | options.check({**given, "val_split": 0.0, "seed": SEED})
    model = work.model()
    left = {"model": model, "data": (work.inputs, work.targets)}
    training = Training(
        "null", bind("null", left, settings, frozenset(given)), CPU, frozenset(given)
    )
    ownership = Ownership(model, "null", plain_copy)
    ownership.take()
    clock = Clock()

    def run() -> None:
        with training.draws.here(), ownership.here():
            training.start(Nobody())
            loop = Loop(training, Nobody())
            clock.start()
            loop.run()
            clock.stop()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    ownership.release()
    return Trained(model, clock)


def nbtrain(work: Workload) -> Trained:
    """All of nbtrain: commands, journal on disk, history, and a panel whose client receives
    every frame. The run waits before its first step until the panel has drawn its figures,
    which it does once (see ``open_ms`` of the ``panel`` benchmark)."""
    gate, clock = threading.Event(), Clock()
    registry.trainer(CPU).submit("gate", partial(_wait, gate))
    model = work.model()
    run = train(
        model,
        (work.inputs, work.targets),
        name=work.name,
        epochs=work.epochs,
        lr=work.lr,
        batch_size=work.batch_size,
        val_split=0.0,
        seed=SEED,
        wait=False,
    )
    paused = threading.Event()
    panel = Panel(run.history, run.send)
    for drawn in (panel, panel._pictures):
        drawn.draw = clock.counting(drawn.draw)  # type: ignore[method-assign]
    inbox = run._execution.inbox
    inbox.emit = clock.counting(inbox.emit)

    def changed() -> None:
        writer.wake()  # frames and pictures
        if run.history.state == "paused":
            paused.set()
        elif run.history.step == work.steps and not clock.seconds:
            clock.stop()

    unsubscribe = registry.subscribe(changed)
    run.send(m.Pause())
    gate.set()
    paused.wait(WAIT_SECONDS)
    panel.widget._handle_custom_msg({"kind": "hello", "protocol": 1}, [])
    writer.flush(WAIT_SECONDS)
    clock.start()
    run.send(m.Resume())
    run.wait(WAIT_SECONDS)
    unsubscribe()
    writer.flush()
    writer.writer.remove(panel)
    writer.painter.remove(panel._pictures)
    panel.widget.close()
    return Trained(model, clock)


def _wait(gate: threading.Event) -> None:
    gate.wait(WAIT_SECONDS)


OURS: dict[str, Method] = {"plain": plain, "limit": limit, "null": null, "nbtrain": nbtrain}


def timed(method: Method, work: Workload) -> tuple[Clock, float]:
    """How long ``method`` took, and the loss in the end."""
    gc.collect()
    trained = method(work)
    return trained.clock, work.final_loss(trained.model)
