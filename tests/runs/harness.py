"""Runs in the background, and ways to hold them at a place without waiting for time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nbtrain.runs.run import Run
from nbtrain.runs.train import train
from tests.engine.harness import classes, network

PATIENCE = 30.0
"""Seconds until a test gives a run up."""


def begin(model: Any = None, data: Any = None, **settings: Any) -> Run:
    """A small run in the background."""
    if data is None and "train_data" not in settings:
        data = classes(40)
    settings = {"epochs": 2, "batch_size": 8, "panel": False, "wait": False, **settings}
    return train(network() if model is None else model, data, **settings)


def done(model: Any = None, data: Any = None, **settings: Any) -> Run:
    """The same, after its end."""
    return begin(model, data, **settings).wait(PATIENCE)


def until(run: Run, condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds, looking after each of the run's events."""
    from nbtrain.runs import registry

    changed = threading.Event()
    unsubscribe = registry.subscribe(changed.set)
    try:
        while not condition():
            assert changed.wait(PATIENCE), f"{run!r}: nothing happens"
            changed.clear()
    finally:
        unsubscribe()


class Gate:
    """A ``training_step`` that stops before the steps it is told to, until it is opened."""

    def __init__(self, *steps: int) -> None:
        self.steps = set(steps)
        self.calls = 0
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        if torch.is_grad_enabled():
            self.calls += 1
            if self.calls in self.steps:
                self.reached.set()
                assert self.open.wait(PATIENCE), "nobody opened the gate"
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def arrive(self) -> None:
        assert self.reached.wait(PATIENCE), "the run never got there"


def paused(**settings: Any) -> Run:
    """A run that waits at some step."""
    run = begin(pace=2000.0, epochs=1000, **settings)
    run.pause()
    until(run, lambda: run.state == "paused")
    return run
