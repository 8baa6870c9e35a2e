"""Early stopping, and which weights were best."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from nbtrain.engine.direction import better_of


@dataclass(slots=True)
class EarlyStopping:
    """Counts validations without improvement of one metric.

    Prechelt, "Early Stopping – But When?" (1998), the criterion UP with a patience.
    ``monitor`` is the metric; ``active`` says whether it may end the run, else it only
    tells which weights were best. ``mode`` says whether less (``"min"``) or more (``"max"``)
    of it is better; ``"auto"`` goes by its name.
    """

    monitor: str
    active: bool
    patience: int
    min_delta: float
    best: float = math.nan
    waited: int = 0
    mode: str = "auto"

    @property
    def better(self) -> str:
        """``"min"`` or ``"max"``: which way the metric gets better."""
        # What nobody asked to watch is the loss, whatever a watched metric would be.
        loss = not self.active and self.monitor in ("loss", "val_loss")
        return better_of(self.monitor, "auto" if loss else self.mode)

    def update(self, metrics: dict[str, float], counts: bool = True) -> bool:
        """Take one validation's metrics. Returns whether it was the best so far.

        A validation that someone asked for does not count against the patience.
        """
        value = metrics.get(self.monitor, math.nan)
        if not math.isfinite(value):
            self.waited += counts
            return False
        sign = 1.0 if self.better == "min" else -1.0
        improved = math.isnan(self.best) or sign * (self.best - value) > self.min_delta
        if improved:
            self.best, self.waited = value, 0
        else:
            self.waited += counts
        return improved

    @property
    def ended(self) -> bool:
        """Whether patience is over."""
        return self.active and self.waited >= self.patience

    def watch(self, monitor: str | None) -> None:
        """Watch another metric from here, or none."""
        self.active = monitor is not None
        if monitor is not None and monitor != self.monitor:
            self.monitor, self.best = monitor, math.nan
        self.waited = 0

    def turn(self, mode: str) -> None:
        """Take less or more for better from here, and begin anew where that changes it."""
        before, self.mode = self.better, mode
        if self.better != before:
            self.best, self.waited = math.nan, 0


class Weights:
    """A copy of a model's weights and buffers, on their device."""

    def __init__(self, model: nn.Module, step: int) -> None:
        self.step = step
        self.state: dict[str, Tensor] = {
            name: tensor.detach().clone()
            for name, tensor in model.state_dict().items()
            if isinstance(tensor, Tensor)
        }

    def fits(self, model: nn.Module) -> bool:
        """Whether ``model`` has a place for each of these, of the same shape."""
        now = model.state_dict()
        return all(
            isinstance(there := now.get(name), Tensor) and there.shape == tensor.shape
            for name, tensor in self.state.items()
        )

    def is_in(self, model: nn.Module) -> bool:
        """Whether ``model`` holds exactly these."""
        now = model.state_dict()
        return self.fits(model) and all(
            tensor.equal(now[name].to(tensor.device)) for name, tensor in self.state.items()
        )

    def restore(self, model: nn.Module) -> None:
        """Write them back into ``model``, which they must fit, in place."""
        now = model.state_dict()
        for name, tensor in self.state.items():
            now[name].copy_(tensor)
