"""The learning rate: its own course, and what people make of it.

A PyTorch scheduler writes into the optimizer's groups, and most overwrite what anyone else
wrote there. So the scheduler runs on a shadow of the optimizer, which holds the nominal
learning rates and is never written to by anyone else; the optimizer gets the nominal rate
times a factor per run. Setting the rate by hand changes the factor (``rebase``) or holds a
constant (``hold``); ratios between parameter groups stay as they are.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from nbtrain.errors import ModelError

Every = Literal["step", "epoch"]

SHAPES: dict[str, Callable[[float], float]] = {
    "cosine": lambda p: 0.5 * (1 + math.cos(math.pi * p)),
    "linear": lambda p: 1 - p,
    "step": lambda p: 0.1 ** min(int(p * 3), 2),
    "exponential": lambda p: 0.01**p,
    "warm-restarts": lambda p: 0.5 * (1 + math.cos(math.pi * ((p * 4) % 1.0 if p < 1 else 1.0))),
    "one-cycle": lambda p: (
        0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * p / 0.3))
        if p < 0.3
        else 4e-6 + (1 - 4e-6) * 0.5 * (1 + math.cos(math.pi * (p - 0.3) / 0.7))
    ),
}
"""The named schedules as a share of the learning rate over the run's progress from 0 to 1.

cosine: half a cosine to 0 (Loshchilov and Hutter, 2017). linear: straight to 0. step: a
tenth after each third. exponential: evenly in the logarithm to a hundredth. warm-restarts:
four half cosines (SGDR, the same paper). one-cycle: up for 30 %, then down (Smith and
Topin, 2018), with the shape of PyTorch's `OneCycleLR`. plateau is PyTorch's
`ReduceLROnPlateau` itself.
"""

_PER_STEP = (torch.optim.lr_scheduler.OneCycleLR, torch.optim.lr_scheduler.CyclicLR)


class Schedule:
    """Keeps the optimizer's learning rates at the nominal rate times the run's factor.

    Args:
        optimizer: its groups' learning rates at this moment are the base.
        given: a name of `SHAPES`, ``plateau``, a PyTorch scheduler made for ``optimizer``, a
            function of an optimizer that makes one, or None for a constant rate.
        total_steps: planned steps, for the named shapes; None where unknown.
        mode: whether a smaller or a larger monitored metric is better, for ``plateau``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        given: str | Any | None,
        total_steps: int | None,
        mode: str = "min",
    ) -> None:
        self.optimizer = optimizer
        self.factor = 1.0
        self.held: float | None = None
        self.scheduler: LRScheduler | ReduceLROnPlateau | None = None
        self.every: Every = "epoch"
        self.shape: Callable[[float], float] | None = None
        self._step = 0
        self._span = (0, max(total_steps or 0, 1), 0.0)  # first step, last step, progress at first
        self._shadow = _shadow(optimizer)
        self._base = [
            float(group.get("initial_lr", group["lr"])) for group in self._shadow.param_groups
        ]
        self._plateau = False
        self._moves_momentum = False
        self._until_nonzero = False
        self._joined: list[float] = []
        if given is not None:
            self._attach(given, total_steps, mode)
        self._write()

    def _attach(self, given: str | Any, total_steps: int | None, mode: str) -> None:
        if isinstance(given, str) and given in SHAPES:
            check_name(given, planned=total_steps is not None)
            self.shape, self.every = SHAPES[given], "step"
            return
        if given == "plateau":
            self._plateau = True
            self.watch_anew(mode)
            return
        made = given
        if isinstance(given, (LRScheduler, ReduceLROnPlateau)):
            check_optimizer(given, self.optimizer)
            _point_at(given, self._shadow)
        elif callable(given):
            made = given(self._shadow)
        if not isinstance(made, (LRScheduler, ReduceLROnPlateau)):
            raise no_scheduler(made)
        self.scheduler = made
        self.every = "step" if isinstance(made, _PER_STEP) else "epoch"
        self._moves_momentum = isinstance(made, _PER_STEP)

    def watch_anew(self, mode: str) -> None:
        """Have ``plateau`` begin anew: it is for another metric, or better is the other way."""
        if self._plateau:
            self.scheduler = ReduceLROnPlateau(self._shadow, mode="max" if mode == "max" else "min")

    @property
    def constant(self) -> bool:
        """Whether the rate stays unless somebody sets it."""
        return self.scheduler is None and self.shape is None

    @property
    def lr(self) -> float:
        """The first group's learning rate in force."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set(self, lr: float, how: Literal["rebase", "hold"]) -> str | None:
        """Set the first group's rate from here. Returns a note on the schedule, or None."""
        nominal = self._nominal()[0]
        if self.constant or (how == "rebase" and nominal > 0):
            self.held, self._until_nonzero = None, False
            base = nominal if nominal > 0 else 1.0
            if nominal <= 0:
                for group in self._shadow.param_groups:
                    group["lr"] = 1.0
            self.factor = lr / base
            note = None if self.constant else "the schedule goes on from here, rescaled"
        else:
            self.held = lr
            note = "held until the schedule leaves zero" if how == "rebase" else "held"
            self._until_nonzero = how == "rebase"
        self._write()
        return note

    def after_step(self, step: int) -> None:
        """One step is done."""
        if self.every != "step":
            return
        self._step = step
        if self.scheduler is not None:
            self._advance(self.scheduler)
        self._write()

    def after_epoch(self, metric: float | None) -> None:
        """One epoch is done; ``metric`` is the monitored one, for ``plateau``."""
        if self.every != "epoch" or self.scheduler is None:
            return
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self._advance(self.scheduler)
        elif metric is not None:
            self.scheduler.step(metric)
        self._write()

    def span(self, step: int, total_steps: int | None) -> None:
        """The planned number of steps changed: the rest of the shape covers the rest.

        A shape that has come to its end, perhaps a rate of zero, covers all steps anew.
        """
        if self.shape is None or not total_steps:
            return
        done = self._progress(step)
        first = 0 if done >= 1.0 else step
        self._step = step
        self._span = (first, max(total_steps, step + 1), done if done < 1.0 else 0.0)
        self._write()

    def state(self) -> dict[str, Any]:
        """What `set` and the course so far have made of it, as JSON holds it."""
        simple = (bool, int, float, str, type(None))
        own = {} if self.scheduler is None else self.scheduler.state_dict()
        return {
            "factor": self.factor,
            "held": self.held,
            "step": self._step,
            "span": list(self._span),
            "nominal": [float(group["lr"]) for group in self._shadow.param_groups],
            "scheduler": {key: value for key, value in own.items() if isinstance(value, simple)},
        }

    def hold_momentum(self) -> str | None:
        """Momentum was set by hand: the schedule leaves it alone. Returns a note, or None."""
        if not self._moves_momentum:
            return None
        self._moves_momentum = False
        return "the schedule no longer moves it"

    def _progress(self, step: int) -> float:
        first, last, done = self._span
        return min(1.0, done + (1 - done) * (step - first) / (last - first))

    def _advance(self, scheduler: LRScheduler) -> None:
        total = getattr(scheduler, "total_steps", None)
        if total is not None and scheduler.last_epoch + 1 >= total:
            return  # one-cycle raises past its end; it stays at its last rate
        with warnings.catch_warnings():
            # The shadow's step() is never called, which PyTorch warns of.
            warnings.filterwarnings("ignore", message=".*optimizer.step().*")
            scheduler.step()

    def _nominal(self) -> list[float]:
        rates = [float(group["lr"]) for group in self._shadow.param_groups]
        if self.shape is not None:
            share = self.shape(self._progress(self._step))
            rates = [rate * share for rate in rates]
        return rates

    def _write(self) -> None:
        nominal = self._nominal()
        if self._until_nonzero and nominal[0] > 0:
            # Rescaling from a rate just above zero would send the rest of it sky-high.
            self.held, self._until_nonzero = None, False
        base = nominal if nominal[0] > 0 else self._base
        own_groups = self.optimizer.param_groups[: len(nominal)]
        joined = self.optimizer.param_groups[len(nominal) :]
        first = float(own_groups[0]["lr"])
        for group in joined[len(self._joined) :]:
            self._joined.append(float(group["lr"]) / first if first > 0 else 1.0)
        for group, rate, own in zip(own_groups, nominal, base, strict=True):
            if self.held is not None:
                value = self.held * (own / base[0] if base[0] > 0 else 1.0)
            else:
                value = rate * self.factor
            _put_rate(group, value)
        # Groups that a step added since follow the first one.
        for group, share in zip(joined, self._joined, strict=True):
            _put_rate(group, share * self.lr)
        if self._moves_momentum:
            for group, shadow in zip(own_groups, self._shadow.param_groups, strict=True):
                for key in ("momentum", "betas"):
                    if key in shadow:
                        group[key] = shadow[key]


def is_scheduler(given: Any) -> bool:
    """Whether ``given`` is a scheduler of PyTorch's, made for an optimizer."""
    return isinstance(given, (LRScheduler, ReduceLROnPlateau))


def no_scheduler(given: Any) -> ModelError:
    """The error for something that is no scheduler and makes none."""
    return ModelError(
        f"`scheduler` is a {type(given).__name__}. Leave a torch.optim.lr_scheduler, or a "
        "function of the optimizer that makes one."
    )


def check_name(name: str, *, planned: bool) -> None:
    """Raise `ModelError` if the schedule called ``name`` needs a plan and there is none."""
    if name in SHAPES and not planned:
        raise ModelError(
            f"--scheduler {name} needs to know how many steps there will be, and a stream does "
            "not say. Give --steps."
        )


def check_optimizer(scheduler: Any, optimizer: Any) -> None:
    """Raise `ModelError` if ``scheduler`` was not made for ``optimizer``."""
    if getattr(scheduler, "optimizer", None) is not optimizer:
        raise ModelError(
            "The `scheduler` was made for another optimizer. Make it from the `optimizer` "
            "that is given with it."
        )


def _put_rate(group: dict[str, Any], value: float) -> None:
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(value)
    else:
        group["lr"] = value


def _shadow(optimizer: Optimizer) -> Optimizer:
    """An optimizer with the same groups over parameters that do not exist elsewhere."""
    groups = []
    for group in optimizer.param_groups:
        settings = {k: v for k, v in group.items() if k != "params"}
        settings["lr"] = float(settings["lr"])
        groups.append({**settings, "params": [torch.zeros((), requires_grad=True)]})
    return _Shadow(groups, dict(optimizer.defaults))


class _Shadow(Optimizer):
    """Holds learning rates, and never steps."""


def _point_at(scheduler: Any, shadow: Optimizer) -> None:
    scheduler.optimizer = shadow
    for inner in getattr(scheduler, "_schedulers", ()):
        _point_at(inner, shadow)
