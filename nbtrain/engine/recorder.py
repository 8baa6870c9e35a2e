"""Every step's metrics, kept on the device and copied off it once a frame."""

from __future__ import annotations

import math
import time
from array import array

import torch
from torch import Tensor

from nbtrain.engine.losses import Loss, accuracy
from nbtrain.messages import Stepped

FRAME = 0.1
"""Seconds between two blocks."""

_LARGE = 65_536
"""Elements of outputs above which accuracy is measured at once instead of being kept."""


class Recorder:
    """Collects steps and makes a `Stepped` block of them, ten times a second.

    On a CPU a step's loss is a number at once. On an accelerator it stays a tensor until
    the block is made, so that there is one device sync a frame, not one a step. Accuracy is
    measured over all the block's steps in one call.
    """

    def __init__(self, run: str, device: torch.device, loss: Loss | None) -> None:
        self.run = run
        self.on_cpu = device.type == "cpu"
        self.loss = loss
        self._right = accuracy(loss.kind) if loss else None
        self.totals: dict[str, tuple[float, int]] = {}
        """Sum and count of each series since the epoch began, as far as blocks were made."""
        self._clear()
        self.due = time.perf_counter() + FRAME

    def _clear(self) -> None:
        self._epoch_row = 0
        self.samples: list[int] = []
        self.rates: list[float] = []
        self._losses: list[float | Tensor] = []
        self._extras: dict[str, list[float | Tensor]] = {}
        self._answers: list[tuple[Tensor, Tensor]] = []
        self._accuracies: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.samples)

    def add(
        self,
        loss: float | Tensor,
        samples: int,
        lr: float,
        outputs: Tensor | None,
        targets: Tensor | None,
        extras: dict[str, float | Tensor] | None,
    ) -> None:
        """Record one step. ``samples`` is the number seen in all; tensors are detached."""
        row = len(self.samples)
        self._losses.append(loss)
        self.samples.append(samples)
        self.rates.append(lr)
        if self._right is not None and outputs is not None and targets is not None:
            if outputs.numel() > _LARGE:
                assert self.loss is not None
                self._settle()
                self._accuracies.append(self._right(*self.loss.scores(outputs, targets)).view(1))
            else:
                self._answers.append((outputs, targets))
        if extras:
            for name, value in extras.items():
                values = self._extras.setdefault(name, [])
                values.extend([math.nan] * (row - len(values)))
                values.append(value)

    def _settle(self) -> None:
        """Measure the answers kept so far: steps of one shape together."""
        if not self._answers or self.loss is None or self._right is None:
            return
        start = 0
        answers = self._answers
        for end in range(1, len(answers) + 1):
            shape = answers[start][0].shape
            if end == len(answers) or answers[end][0].shape != shape:
                outputs, targets = zip(
                    *(self.loss.scores(*a) for a in answers[start:end]), strict=True
                )
                self._accuracies.append(self._right(torch.stack(outputs), torch.stack(targets)))
                start = end
        self._answers = []

    def block(
        self,
        step: int,
        updates: int,
        epoch: int,
        branch: int,
        seconds: tuple[float, float],
        total_steps: int | None,
        gauges: dict[str, float],
    ) -> Stepped | None:
        """The block of the steps recorded since the last one, or None if there are none."""
        self.due = time.perf_counter() + FRAME
        if not self.samples:
            return None
        series = {"loss": _numbers(self._losses)}
        self._settle()
        if self._accuracies:
            series["accuracy"] = array("f", torch.cat(self._accuracies).tolist())
        count = len(self.samples)
        for name, values in self._extras.items():
            series[name] = _numbers(values + [math.nan] * (count - len(values)))
        for name, numbers in series.items():
            total, seen = self.totals.get(name, (0.0, 0))
            of_epoch = numbers[self._epoch_row :]
            added = sum(of_epoch)
            if math.isnan(added):  # not measured at some steps, or of a step that was skipped
                of_epoch = array("f", [value for value in of_epoch if not math.isnan(value)])
                added = sum(of_epoch)
            self.totals[name] = (total + added, seen + len(of_epoch))
        series["lr"] = array("f", self.rates)
        event = Stepped(
            run=self.run,
            branch=branch,
            step=step,
            count=count,
            samples=array("q", self.samples),
            series=series,
            updates=updates,
            epoch=epoch,
            seconds=seconds,
            total_steps=total_steps,
            gauges=gauges,
        )
        self._clear()
        return event

    def begin_epoch(self) -> None:
        """Steps from here on are another epoch's; those before may still be in no block."""
        self.totals = {}
        self._epoch_row = len(self.samples)

    def epoch_means(self) -> dict[str, float]:
        """The mean of each series since the epoch began, as far as blocks were made."""
        return {name: total / seen for name, (total, seen) in self.totals.items() if seen}


def _numbers(values: list[float | Tensor]) -> array[float]:
    if values and all(isinstance(value, Tensor) for value in values):
        tensors = [v for v in values if isinstance(v, Tensor)]
        return array("f", torch.stack(tensors).to(torch.float32).tolist())
    return array("f", [float(value) for value in values])
