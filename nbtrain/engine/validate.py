"""Measuring the validation data, without a trace in the training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nbtrain.data.batches import NOT_YET
from nbtrain.engine import device as devices
from nbtrain.engine import losses
from nbtrain.engine.control import PATIENCE
from nbtrain.engine.training import Training, close, named_values, one_number

_SMALLEST_BATCH = 512


def validate(
    t: Training, go_on: Callable[[], bool], most: int | None = None
) -> dict[str, float] | None:
    """The means of the validation metrics over all validation samples.

    Runs in evaluation mode without gradients. Whatever it draws comes from generators of
    its own, so the steps after it are the same with or without it.

    Args:
        t: the run.
        go_on: asked between two batches and while one is waited for; False ends the
            validation, which gives None.
        most: batches to measure at most.
    """
    task = t.task
    assert task.data.val is not None
    sums = Sums()
    stateful = {
        n: f for n, f in task.metrics.items() if hasattr(f, "compute") and hasattr(f, "reset")
    }
    for metric in stateful.values():
        metric.reset()
    modes = [(module, module.training) for module in task.model.modules()]
    task.model.eval()
    # Without gradients larger batches fit, and give the same means in less time.
    size = task.data.val.batch_size or max(t.batch_size, _SMALLEST_BATCH)
    try:
        with torch.no_grad(), t.draws.aside("validate", t.progress.step):
            batches = task.data.val.epoch(0, batch_size=size, patience=PATIENCE)
            measured = 0
            for batch, samples in batches:
                if not go_on():
                    return None
                if batch is NOT_YET:
                    continue
                with devices.autocast(t.device, task.options["precision"]):
                    _measure(t, batch, samples, sums, stateful)
                measured += 1
                if measured == most:
                    close(batches)
                    break
    finally:
        for module, mode in modes:
            module.training = mode
    means = sums.means()
    for name, metric in stateful.items():
        means[f"val_{name}"] = float(metric.compute())
    return means


def _measure(t: Training, batch: Any, samples: int, sums: Sums, stateful: dict[str, Any]) -> None:
    task = t.task
    if task.training_step is not None:
        function = task.validation_step or task.training_step
        name = "validation_step" if task.validation_step else "training_step"
        result = function(task.model, batch)
        if isinstance(result, dict) and "loss" not in result and "val_loss" in result:
            result = {**result, "loss": result.pop("val_loss")}
        loss, extras = named_values(result, name)
        sums.add("loss", loss, samples)
        for key, value in (extras or {}).items():
            sums.add(key, value, samples)
        return
    assert task.loss is not None
    inputs, targets = task.data.split(batch)
    outputs = task.call(task.model, inputs)
    sums.add("loss", task.loss(outputs, targets), samples)
    right = losses.accuracy(task.loss.kind)
    if "accuracy" in task.metrics:  # the user's own
        right = None
    if right is not None and isinstance(outputs, Tensor) and isinstance(targets, Tensor):
        sums.add("accuracy", right(*task.loss.scores(outputs, targets)), samples)
    for name, metric in task.metrics.items():
        if name in stateful:
            stateful[name].update(outputs, targets)
        else:
            sums.add(name, one_number(name, metric(outputs, targets)), samples)


class Sums:
    """Sums weighted by samples, kept on the device until the end."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._samples: dict[str, int] = {}

    def add(self, name: str, value: Any, samples: int) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value * samples
        self._samples[name] = self._samples.get(name, 0) + samples

    def means(self) -> dict[str, float]:
        return {
            name if name.startswith("val_") else f"val_{name}": float(total) / self._samples[name]
            for name, total in self._sums.items()
        }
