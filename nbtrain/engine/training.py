"""The state of a run that trains: everything the loop reads and writes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from nbtrain.engine import device as devices
from nbtrain.engine import losses, optimizers
from nbtrain.engine.control import Control
from nbtrain.engine.direction import better_of
from nbtrain.engine.draws import Draws
from nbtrain.engine.dry import NORMS
from nbtrain.engine.early import EarlyStopping, Weights
from nbtrain.engine.flags import Flags
from nbtrain.engine.knobs import Knobs
from nbtrain.engine.recorder import Recorder
from nbtrain.engine.regularize import FiniteCheck, Overflows
from nbtrain.engine.schedule import Schedule, is_scheduler
from nbtrain.engine.task import Task, check_names, metric_names
from nbtrain.engine.update import Trained
from nbtrain.errors import DataError, ModelError, UsageError
from nbtrain.messages import Started, Validated


@dataclass(slots=True)
class Progress:
    """How far a run is. ``position`` counts the samples of the epoch that were used."""

    step: int = 0
    updates: int = 0
    epoch: int = 0
    position: int = 0
    samples: int = 0
    branch: int = 0
    seconds: float = 0.0


class Place(TypedDict):
    """Where in a run an event happens, as every event takes it."""

    run: str
    branch: int
    step: int


@dataclass(slots=True)
class Request:
    """What commands have asked of the loop and it has not done yet."""

    paused: bool = False
    steps: int = 0
    stop: str | None = None
    outcome: Any = None
    restore: str = "last"


class Training:
    """One run's model, optimizer and place, from `start` to the end and beyond.

    Made on the main thread; everything after that happens on the training thread.
    """

    def __init__(self, run: str, task: Task, device: torch.device, typed: frozenset[str]) -> None:
        self.run = run
        self.task = task
        self.device = device
        self.typed = typed
        self.progress = Progress()
        self.request = Request()
        self.draws = Draws(task.seed)
        self.flags = Flags(device)
        self.rebatch = False
        self.total_steps: int | None = None
        self.best: Weights | None = None
        self.best_metrics: dict[str, float] = {}
        self.measured: dict[str, str] = {}
        self.actions: list[Any] = []
        self.newest: dict[tuple[str, str], int] = {}
        self.clock: float | None = None
        self.started = False
        self._gauged = -1.0
        self._gauges: dict[str, float] = {}

    def start(self, control: Control) -> Started:
        """Move everything to the device and make the optimizer."""
        task, options = self.task, self.task.options
        task.model.to(self.device)
        task.data.to(self.device)
        for metric in task.metrics.values():
            if isinstance(metric, nn.Module):
                metric.to(self.device)
        if isinstance(task.loss, losses.Loss) and isinstance(task.loss.function, nn.Module):
            task.loss.function.to(self.device)
            if options["label_smoothing"]:
                task.loss.smooth(options["label_smoothing"])
        if not task.model.training:
            task.model.train()
        # Of one value a channel there are no statistics to normalize by.
        task.data.train.no_single = any(
            isinstance(module, NORMS) and module.training and module not in task.roomy
            for module in task.model.modules()
        )
        self.optimizer = self._optimizer()
        self.trained = Trained(self.optimizer, task.model)
        self.parameters: Sequence[nn.Parameter] = self.trained.parameters
        self.schedule = Schedule(self.optimizer, None, None)
        self.early = EarlyStopping(
            monitor=options["early_stop"] or ("val_loss" if task.data.val is not None else "loss"),
            active=options["early_stop"] is not None,
            patience=options["patience"],
            min_delta=options["min_delta"],
            mode=options["early_mode"],
        )
        self.knobs = Knobs(self)
        self._launch_knobs()
        self.replan()
        given = task.scheduler if task.scheduler is not None else options["scheduler"]
        self.schedule = Schedule(self.optimizer, given, self.total_steps, mode=self.early.better)
        if is_scheduler(task.scheduler) and options["lr"] is not None:
            # It was made before this rate was known, and would write its own.
            self.schedule.set(options["lr"], "rebase")
        self.knobs.values["lr"] = self.schedule.lr
        self.recorder = Recorder(self.run, self.device, task.loss)
        self.finite = FiniteCheck(self.device)
        self.overflows = Overflows(self.device)
        self.on_cpu = self.device.type == "cpu"
        self.by_flag = not self.on_cpu and optimizers.skips_by_flag(self.optimizer)
        if self.by_flag:
            optimizers.skip_by_flag(self.optimizer, self.finite.found)
        self.scaler = (
            torch.amp.GradScaler(self.device.type) if options["precision"] == "fp16" else None
        )
        self.measured = {name: self._better_of(name) for name in metric_names(task)}
        self.started = True
        return Started(
            run=self.run,
            knobs=dict(self.knobs.values),
            unsupported=self.knobs.unsupported,
            layers=tuple(self.knobs.dropout.rates),
            epoch_samples=task.data.train.samples,
            total_steps=self.total_steps,
            parameters=sum(p.numel() for p in task.model.parameters()),
            metrics=dict(self.measured),
            monitor=self.early.monitor if self.early.active else None,
            notes=(*task.notes, *self._single_note()),
        )

    def _optimizer(self) -> torch.optim.Optimizer:
        task, options = self.task, self.task.options
        settings = {name: options[name] for name in ("lr", "momentum", "weight_decay")}
        if task.optimizer is None:
            name = options["optimizer"] or "adam"
            return optimizers.build(name, task.model, self.device, **settings)
        optimizer = optimizers.from_cell(task.optimizer, task.model)
        if settings["lr"] is not None and not is_scheduler(task.scheduler):
            optimizers.set_lr(optimizer, settings["lr"])
        if settings["weight_decay"] is not None:
            shares = optimizers.decay_shares(optimizer)
            optimizers.set_weight_decay(optimizer, settings["weight_decay"], shares)
        if settings["momentum"] is not None:
            if optimizers.momentum_of(optimizer) is None:
                raise optimizers.no_momentum(optimizer)
            optimizers.set_momentum(optimizer, settings["momentum"])
        return optimizer

    def _launch_knobs(self) -> None:
        """Knobs that act on the model: what was typed takes effect before the first step."""
        options = self.task.options
        for name, value in options.items():
            if name.startswith("dropout.") or (name == "dropout" and name in self.typed):
                self.knobs.set(name, value if value != 0.0 or name != "dropout" else "off")

    # ── the plan ──────────────────────────────────────────────────────────────────────

    @property
    def batch_size(self) -> int:
        """Samples in one step; the whole training set for ``full``."""
        size = self.knobs.values["batch_size"]
        if size == "full":
            samples = self.task.data.train.samples
            assert samples is not None  # `bind` and the knob see to that
            return samples
        return int(size)

    @property
    def single_left_out(self) -> str | None:
        """What to tell where an epoch ends before a last sample that would be alone."""
        train = self.task.data.train
        if not train.no_single or not train.samples or train.fixed:
            return None
        if train.samples - (train.steps(self.batch_size) or 0) * self.batch_size != 1:
            return None
        # A pass of a training_step is not tried beforehand.
        needs = "needs" if self.task.training_step is None else "may need"
        return (
            "the last sample of each epoch is left out, because it would be a batch of one, and "
            f"batch normalization {needs} two"
        )

    def _single_note(self) -> tuple[str, ...]:
        text = self.single_left_out
        return () if text is None else (f"{text[0].upper()}{text[1:]}.",)

    def replan(self) -> None:
        """Count the planned steps again, and let a schedule cover the rest."""
        p, values = self.progress, self.knobs.values
        train = self.task.data.train
        whole = train.steps(self.batch_size)
        rest = train.steps(self.batch_size, p.position)
        total = None
        if whole is not None and rest is not None:
            left = max(0, values["epochs"] - p.epoch - 1) * whole + rest
            total = p.step + (left if values["epochs"] > p.epoch else 0)
        if values["steps"] is not None:
            total = (
                values["steps"]
                if total is None or "epochs" not in self.typed
                else min(total, values["steps"])
            )
        if total is not None:
            total = max(total, p.step)
        if total != self.total_steps:
            self.total_steps = total
            self.schedule.span(p.step, total)

    @property
    def complete(self) -> bool:
        """Whether every planned step is done."""
        p, values = self.progress, self.knobs.values
        if values["steps"] is not None:
            if p.step >= values["steps"]:
                return True
            if "epochs" not in self.typed:
                return False
        return bool(p.epoch >= values["epochs"])

    @property
    def place(self) -> Place:
        """Where the run is: after its latest step."""
        return {"run": self.run, "branch": self.progress.branch, "step": self.progress.step}

    # ── what is measured ──────────────────────────────────────────────────────────────

    def known_metrics(self) -> list[str]:
        """The metrics that were measured so far or will be."""
        return list(self.measured)

    def will_measure(self, names: Iterable[str]) -> None:
        """These are metrics of this run too."""
        for name in names:
            self.measured.setdefault(name, self._better_of(name))

    def _better_of(self, metric: str) -> str:
        return self.early.better if metric == self.early.monitor else better_of(metric)

    def compute(
        self, batch: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None, dict[str, Any] | None]:
        """Forward one batch: loss, outputs and targets (declared form), other named values.

        Raises `ModelError` where a ``training_step`` returns no loss.
        """
        task = self.task
        with devices.autocast(self.device, task.options["precision"]):
            if task.training_step is not None:
                loss, extras = named_values(task.training_step(task.model, batch), "training_step")
                if not loss.requires_grad and torch.is_grad_enabled():
                    raise ModelError(
                        "The loss that training_step returned does not depend on any weight that "
                        "trains. Compute it from the model's outputs, without .item(), .detach() "
                        "or torch.no_grad()."
                    )
                return loss, None, None, extras
            assert task.loss is not None
            inputs, targets = task.data.split(batch)
            outputs = task.call(task.model, inputs)
            loss = task.loss(outputs, targets)
        extras = None
        if task.metrics:
            with torch.no_grad():
                extras = {
                    name: one_number(name, metric(_detached(outputs), targets))
                    for name, metric in task.metrics.items()
                }
        if isinstance(outputs, Tensor) and isinstance(targets, Tensor):
            return loss, outputs.detach(), targets, extras
        return loss, None, None, extras

    def batch_of(self, index: int) -> tuple[Any, int]:
        """The batch of the ``index``-th step since the last frame, made again, and the place
        of its first sample in the epoch."""
        p, seen = self.progress, self.recorder.samples
        sizes = [b - a for a, b in itertools.pairwise([*seen, seen[-1]])]
        before = seen[index - 1] if index else seen[0] - (sizes[0] if len(sizes) > 1 else 0)
        start = max(0, p.position - (p.samples - before))
        batches = self.task.data.train.epoch(p.epoch, batch_size=self.batch_size, start=start)
        batch, _ = next(batches)
        close(batches)
        self.rebatch = True  # the pass that was under way has ended with this one
        return batch, start

    def validated(self, metrics: dict[str, float], best: bool) -> Validated:
        """The event of one validation."""
        p = self.progress
        self.will_measure(metrics)
        return Validated(
            run=self.run,
            branch=p.branch,
            step=p.step,
            metrics=metrics,
            samples=p.samples,
            epoch=p.epoch,
            best=best,
        )

    def empty_epoch(self) -> DataError:
        """The error for an epoch without a batch, which nobody could ever stop."""
        return DataError(
            f"Epoch {self.progress.epoch + 1} gave no batch. Where drop_last leaves out a batch "
            f"that is short, take a --batch-size (it is {self.batch_size}) that the data fills."
        )

    def no_such_monitor(self, measured: Iterable[str]) -> UsageError:
        """The error for an early-stopping metric that nobody measures."""
        return losses.unknown_metric(self.early.monitor, list(measured))

    def gauges(self) -> dict[str, float]:
        """Readings that need no history: ``memory`` in bytes, read once a second."""
        now = time.perf_counter()
        if now > self._gauged + 1.0:
            self._gauged = now
            self._gauges = {"memory": devices.memory_used(self.device)}
        return self._gauges

    # ── time ──────────────────────────────────────────────────────────────────────────

    def tick(self) -> None:
        """Let training time run, or go on running."""
        now = time.perf_counter()
        if self.clock is not None:
            self.progress.seconds += now - self.clock
        self.clock = now

    def hold_clock(self) -> None:
        """Stop counting training time."""
        self.tick()
        self.clock = None


def close(batches: Any) -> None:
    """Let go of an epoch that is left before its end, and of what was fetched ahead."""
    shut = getattr(batches, "close", None)
    if shut is not None:
        shut()


def named_values(result: Any, function: str) -> tuple[Tensor, dict[str, Any] | None]:
    """The loss and the other named values that a step function returned."""
    extras: dict[str, Any] | None = None
    if isinstance(result, dict):
        if "loss" not in result:
            have = ", ".join(map(repr, result)) or "nothing"
            raise ModelError(
                f"{function} returned a dict without 'loss' (it has {have}). "
                "Return {'loss': loss, …}."
            )
        extras = {
            str(name): one_number(str(name), value)
            for name, value in result.items()
            if name != "loss"
        }
        if function == "training_step":
            check_names(extras, "training_step returned")
        result = result["loss"]
    if not isinstance(result, Tensor):
        raise ModelError(
            f"{function} returned {_kind(result)}. Return the loss: a tensor of one number that "
            "was computed from the model's outputs, or a dict that holds it under 'loss'."
        )
    if result.numel() != 1:
        raise ModelError(
            f"{function} returned a tensor of shape {tuple(result.shape)}; the loss is one number. "
            "Take its mean: return loss.mean()."
        )
    return result.reshape(()), extras


def one_number(name: str, value: Any) -> float | Tensor:
    """A metric's value: a detached tensor without axes, or a number.

    Raises `ModelError` where it is something else.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.detach().reshape(())
    if not isinstance(value, Tensor):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else _kind(value)
    raise ModelError(f"The metric {name!r} is {what}; it must be one number, such as a mean.")


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
