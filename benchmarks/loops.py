"""The rows of the ``loop`` benchmark that are plain PyTorch, and those that are nbtrain."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

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
from nbtrain.ui.panel import Panel

CPU = torch.device("cpu")
WAIT_SECONDS = 600.0


@dataclass(frozen=True)
class Trained:
    """The network that a row trained, and the seconds from its first step to its last."""

    model: nn.Module
    seconds: float


Method = Callable[[Workload], Trained]


def plain(work: Workload) -> Trained:
    """The loop of PyTorch's *Quickstart*: what 1.0 stands for."""
    model = work.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=work.lr)
    loader = work.loader()
    begin = time.perf_counter()
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
    return Trained(model, time.perf_counter() - begin)


def limit(work: Workload) -> Trained:
    """The same eager loop with nothing around it: tensors put in order beforehand once an
    epoch, and Adam in one kernel. No loop of ours can be faster."""
    model = work.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=work.lr, fused=True)
    model.train()
    begin = time.perf_counter()
    for epoch in range(work.epochs):
        order = work.order(epoch)
        inputs = work.inputs.index_select(0, order).split(work.batch_size)
        targets = work.targets.index_select(0, order).split(work.batch_size)
        for x, y in zip(inputs, targets, strict=True):
            loss = work.loss(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return Trained(model, time.perf_counter() - begin)


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
    ownership = Ownership(model, "null", lambda: plain_copy(model))
    ownership.take()
    seconds = 0.0

    def run() -> None:
        nonlocal seconds
        with training.draws.here(), ownership.here():
            training.start(Nobody())
            loop = Loop(training, Nobody())
            begin = time.perf_counter()
            loop.run()
            seconds = time.perf_counter() - begin

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    ownership.release()
    return Trained(model, seconds)


def nbtrain(work: Workload) -> Trained:
    """All of nbtrain: commands, journal on disk, history, and a panel whose client receives
    every frame. The panel is there before the first step, as it is in a notebook."""
    gate = threading.Event()
    registry.trainer(CPU).submit("gate", lambda: gate.wait(WAIT_SECONDS) and None)
    model = work.model()
    data = (work.inputs, work.targets)
    run = train(
        model,
        data,
        name=work.name,
        epochs=work.epochs,
        lr=work.lr,
        batch_size=work.batch_size,
        val_split=0.0,
        seed=SEED,
        wait=False,
    )
    panel = Panel(run.history, run.send)
    panel.widget._handle_custom_msg({"kind": "hello", "protocol": 1}, [])
    panel._writer.flush()
    begin = end = 0.0

    def changed() -> None:
        nonlocal begin, end
        panel._writer.wake()
        if not begin and run.history.state == "running":
            begin = time.perf_counter()
        if not end and run.history.step == work.steps:
            end = time.perf_counter()

    unsubscribe = registry.subscribe(changed)
    gate.set()
    run.wait(WAIT_SECONDS)
    unsubscribe()
    panel._writer.flush()
    panel._writer.remove(panel)
    panel.widget.close()
    return Trained(model, end - begin)


OURS: dict[str, Method] = {"plain": plain, "limit": limit, "null": null, "nbtrain": nbtrain}


def timed(method: Method, work: Workload) -> tuple[float, float]:
    """Seconds a step, and the loss in the end."""
    gc.collect()
    trained = method(work)
    return trained.seconds / work.steps, work.final_loss(trained.model)
