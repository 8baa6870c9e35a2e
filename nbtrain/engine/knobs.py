"""The knobs of one run: their values, and how a new value takes effect.

Called between two steps, on the training thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from nbtrain import options
from nbtrain.engine import losses, optimizers
from nbtrain.engine.direction import assumed
from nbtrain.engine.early import EarlyStopping
from nbtrain.errors import CommandRejected, UsageError
from nbtrain.messages import Value

if TYPE_CHECKING:
    from nbtrain.engine.training import Training

Changed = tuple[Value, Value, str | None]
"""Old value, new value, and a note for the user or None."""

DropoutState = tuple[dict[str, float], bool]
"""The rate of each dropout layer, and whether dropout is on."""


class Knobs:
    """Every knob's value, and the way each takes effect on a `Training`."""

    def __init__(self, training: Training) -> None:
        self.training = training
        given = training.task.options
        self.dropout = Dropout(training.task.model)
        self.values: dict[str, Any] = {knob.name: given[knob.name] for knob in options.KNOBS}
        self.values["lr"] = training.schedule.lr
        self.values["momentum"] = optimizers.momentum_of(training.optimizer)
        self.values["weight_decay"] = optimizers.weight_decay_of(training.optimizer)
        loss = training.task.loss
        self.values["label_smoothing"] = loss.smoothing if loss is not None else 0.0
        if training.task.data.train.batch_size and "batch_size" not in training.typed:
            self.values["batch_size"] = training.task.data.train.batch_size
        self._decay_shares = optimizers.decay_shares(training.optimizer)
        self._put_dropout()
        self.moved: dict[str, Value] = {}
        """What the latest change moved besides the knob it was for."""

    def _put_dropout(self) -> None:
        self.values["dropout"] = self.dropout.value
        for layer, rate in self.dropout.rates.items():
            self.values[f"dropout.{layer}"] = rate

    @property
    def unsupported(self) -> dict[str, str]:
        """The knobs this run cannot obey, and why."""
        task, reasons = self.training.task, {}
        if self.values["momentum"] is None:
            reasons["momentum"] = f"{type(self.training.optimizer).__name__} has no momentum"
        if self.values["weight_decay"] is None:
            reasons["weight_decay"] = (
                f"{type(self.training.optimizer).__name__} has no weight decay"
            )
        if task.data.train.fixed:
            reasons["batch_size"] = task.data.train.fixed
        if not self.dropout.rates:
            reasons["dropout"] = "this model has no dropout layer"
        if not (task.loss and task.loss.smooths):
            reasons["label_smoothing"] = "only cross-entropy smooths labels"
        return reasons

    def set(
        self, name: str, value: Value, schedule: Literal["rebase", "hold"] = "rebase"
    ) -> Changed:
        """Set a knob from here. Raises `CommandRejected` with the reason why not."""
        before = dict(self.values)
        changed = self._set(name, value, schedule)
        self._note_moved(before, name)
        return changed

    def undo(self, name: str, old: Value, dropout: DropoutState) -> Changed:
        """Put ``old`` back, and of dropout the rates and the switch as ``dropout`` has them.

        Raises `CommandRejected` with the reason why not.
        """
        layer = name.removeprefix("dropout.")
        if name == "dropout":
            rates, on = dropout
        elif layer != name:
            # A switch that went on with the layer goes off again with it.
            rates = {**self.dropout.rates, layer: dropout[0][layer]}
            on = self.dropout.on and dropout[1]
        else:
            return self.set(name, "off" if old is None else old)
        before = dict(self.values)
        self.dropout.put_back(rates, on)
        self.training.draws.unsure = True
        self._put_dropout()
        self._note_moved(before, name)
        return before[name], self.values[name], None

    def _note_moved(self, before: dict[str, Any], name: str) -> None:
        own = name if name.startswith("dropout.") else options.knob(name).name
        self.moved = {
            other: value
            for other, value in self.values.items()
            if other != own and (other not in before or before[other] != value)
        }

    def _set(self, name: str, value: Value, schedule: Literal["rebase", "hold"]) -> Changed:
        try:
            knob = options.knob(name)
            checked = knob.check(value)
        except UsageError as error:
            raise CommandRejected(str(error)) from None
        if name.startswith("dropout."):
            return self._set_layer(name, checked)
        reason = self.unsupported.get(knob.name)
        if reason is not None:
            raise CommandRejected(f"{knob.name} cannot be changed: {reason}.")
        setter: Callable[..., str | None] = getattr(self, f"_set_{knob.name}", self._set_plain)
        old = self.values[knob.name]
        if knob.name == "lr":
            note = self.training.schedule.set(checked, schedule)
            self.values["lr"] = checked
        else:
            note = setter(checked)
            if knob.name not in ("dropout", "epochs"):
                self.values[knob.name] = checked
        return old, self.values[knob.name], note

    def _set_plain(self, value: Any) -> str | None:
        return None

    def _set_momentum(self, value: float) -> str | None:
        refused = optimizers.set_momentum(self.training.optimizer, value)
        if refused:
            raise CommandRejected(refused)
        return self.training.schedule.hold_momentum()

    def _set_weight_decay(self, value: float) -> str | None:
        optimizers.set_weight_decay(self.training.optimizer, value, self._decay_shares)
        return None

    def _set_batch_size(self, value: int | str) -> str | None:
        if value == "full" and self.training.task.data.train.samples is None:
            raise CommandRejected("full needs data of a known size, and this is a stream.")
        self.values["batch_size"] = value
        self.training.rebatch = True
        self.training.replan()
        return self.training.single_left_out

    def _set_epochs(self, value: int) -> str | None:
        # From here they count also where the run was launched by a number of steps alone.
        self.training.typed |= {"epochs"}
        p = self.training.progress
        if value > p.epoch and self.values["steps"] is not None and p.step >= self.values["steps"]:
            self.values["steps"] = None  # that plan is done, and must not end this one
        self.values["epochs"] = max(value, p.epoch)
        return self._replanned()

    def _set_steps(self, value: int | None) -> str | None:
        p = self.training.progress
        if value is not None and value > p.step and p.epoch >= self.values["epochs"]:
            self.training.typed -= {"epochs"}  # that plan is done, and must not end this one
        self.values["steps"] = value
        return self._replanned()

    def _replanned(self) -> str | None:
        training, p = self.training, self.training.progress
        training.replan()
        if not training.complete:
            return None
        training.rebatch = True  # a stream's epoch ends here too
        steps = self.values["steps"]
        if steps is not None and p.step >= steps:
            return f"{p.step} steps are done already, so the run ends here"
        return f"{p.epoch} epochs are done already, so the run ends here"

    def _set_label_smoothing(self, value: float) -> str | None:
        loss = self.training.task.loss
        assert loss is not None
        loss.smooth(value)
        return None

    def _set_early_stop(self, value: str | None) -> str | None:
        known = self.training.known_metrics()
        if value is not None and value not in known:
            raise CommandRejected(str(losses.unknown_metric(value, known)))
        self._rewatch(lambda early: early.watch(value))
        return None if value is None else self._direction_assumed(value)

    def _set_early_mode(self, value: str) -> str | None:
        self._rewatch(lambda early: early.turn(value))
        return None

    def _rewatch(self, change: Callable[[EarlyStopping], None]) -> None:
        early = self.training.early
        before = early.monitor, early.better
        change(early)
        if (early.monitor, early.better) != before:
            self.training.schedule.watch_anew(early.better)

    def _direction_assumed(self, metric: str) -> str | None:
        note = assumed(metric, self.values["early_mode"])
        return f"{note}; early_mode='max' turns that round" if note else None

    def _set_patience(self, value: int) -> str | None:
        self.training.early.patience = value
        return None

    def _set_min_delta(self, value: float) -> str | None:
        self.training.early.min_delta = value
        return None

    def _set_dropout(self, value: Any) -> str | None:
        self.dropout.set(value)
        # A recurrent layer or attention that did not draw may do so from here.
        self.training.draws.unsure = True
        self._put_dropout()
        return None

    def _set_layer(self, name: str, rate: Any) -> Changed:
        layer = name.removeprefix("dropout.")
        old = self.values.get(name)
        if not isinstance(rate, float):
            raise CommandRejected(f"{name} takes a number from 0 up to, not including, 1.")
        self.dropout.set({layer: rate})
        self.training.draws.unsure = True
        self._put_dropout()
        return old, rate, None


class Dropout:
    """The dropout layers of a model: a rate for each, and one switch for all.

    A layer is a module with a dropout rate of its own: ``nn.Dropout`` and its kin, recurrent
    layers and attention. Switched off, the rates are remembered.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers: dict[str, tuple[nn.Module, str]] = {}
        seen: set[nn.Module] = set()
        for name, module in model.named_modules():
            attribute = _rate_attribute(module)
            if attribute is not None and module not in seen:
                seen.add(module)
                self._layers[name or "model"] = (module, attribute)
        self.rates: dict[str, float] = {
            name: float(getattr(module, attribute))
            for name, (module, attribute) in self._layers.items()
        }
        self.on = any(self.rates.values())
        if not self.on:
            self.on = True

    @property
    def state(self) -> DropoutState:
        """The rate of each layer, also while off, and the switch."""
        return dict(self.rates), self.on

    def put_back(self, rates: dict[str, float], on: bool) -> None:
        """Make ``rates`` and the switch what they were."""
        self.rates, self.on = dict(rates), on
        self._put()

    @property
    def value(self) -> Value:
        """0 when off, the common rate when on, or each layer's where they differ."""
        if not self.on or not self.rates:
            return 0.0
        rates = set(self.rates.values())
        return rates.pop() if len(rates) == 1 else dict(self.rates)

    def set(self, value: Any) -> None:
        """``"on"``, 0 for off, one rate for all layers, or rates by layer."""
        if isinstance(value, dict):
            unknown = sorted(set(value) - set(self.rates))
            if unknown:
                known = ", ".join(f"dropout.{name}" for name in self.rates) or "none"
                raise CommandRejected(
                    f"There is no dropout layer {unknown[0]!r}. There is: {known}."
                )
            self.rates.update({name: float(rate) for name, rate in value.items()})
            self.on = True
        elif value == "on":
            self.on = True
        elif value == 0:
            self.on = False
        else:
            self.rates = dict.fromkeys(self.rates, float(value))
            self.on = True
        self._put()

    def _put(self) -> None:
        for name, (module, attribute) in self._layers.items():
            setattr(module, attribute, self.rates[name] if self.on else 0.0)


def _rate_attribute(module: nn.Module) -> str | None:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return "p"
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return (
            "dropout"
            if isinstance(module, nn.MultiheadAttention) or module.num_layers > 1
            else None
        )
    return None
