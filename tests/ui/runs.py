"""Hand-made histories for the tests of the panel."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from nbtrain import messages as m
from nbtrain import options
from nbtrain.spec import Spec
from nbtrain.store.history import History

RUN = "0123456789ab"


def started(
    name: str = "digits",
    *,
    epoch_samples: int | None = 640,
    layers: tuple[str, ...] = (),
    knobs: Mapping[str, m.Value] | None = None,
    metrics: Mapping[str, str] | None = None,
    total_steps: int | None = 300,
    given: tuple[str, ...] = ("lr",),
) -> History:
    """A history of a run that has begun to train: 10 steps an epoch, 30 epochs."""
    history = History()
    settings = {**options.defaults(), "lr": 3e-3, "epochs": 30}
    spec = Spec(name=name, options=settings, given=given, source="model = 1", context=("a = 1",))
    history.apply(m.Created(run=RUN, name=name, number=1, spec=spec.to_json()))
    history.apply(m.Starting(run=RUN, device="cpu", device_name="A processor"))
    values: dict[str, Any] = {knob.name: settings[knob.name] for knob in options.KNOBS}
    values |= {"early_stop": "val_loss", "patience": 5, "min_delta": 0.0, **(knobs or {})}
    history.apply(
        m.Started(
            run=RUN,
            knobs=values,
            unsupported={"momentum": "Adagrad has no momentum"},
            layers=layers,
            epoch_samples=epoch_samples,
            total_steps=total_steps,
            parameters=1234,
            metrics=metrics
            or {"loss": "min", "accuracy": "max", "val_loss": "min", "val_accuracy": "max"},
            monitor="val_loss",
            notes=("cross-entropy, because the targets are 10 integer classes",),
        )
    )
    return history


def step(history: History, count: int = 10, lr: float = 3e-3, **series: list[float]) -> None:
    """Train ``count`` more steps of 64 samples; other series than loss and accuracy by name."""
    first = history.step
    places = range(first + 1, first + count + 1)
    drawn = {
        "loss": [2.0 / place for place in places],
        "accuracy": [1.0 - 1.0 / (place + 1) for place in places],
        "lr": [lr] * count,
        **series,
    }
    history.apply(
        m.Stepped(
            run=RUN,
            step=first + count,
            count=count,
            samples=array("q", [64 * place for place in places]),
            series={name: array("f", values) for name, values in drawn.items()},
            updates=first + count,
            epoch=64 * (first + count) // 640,
            seconds=(first / 100, (first + count) / 100),
            total_steps=history.total_steps,
            gauges={"memory": 4.0e8},
        )
    )


def validate(history: History, loss: float, best: bool = True) -> None:
    """Validate now."""
    history.apply(
        m.Validated(
            run=RUN,
            step=history.step,
            metrics={"val_loss": loss, "val_accuracy": 1 - loss / 3},
            samples=history.samples,
            epoch=history.step // 10,
            best=best,
        )
    )


def applied(history: History, knob: str | None = "lr", **fields: Any) -> m.Applied:
    """Answer a command as the engine does."""
    fields = {"command": m.new_id(), "action": "Set", "sender": "panel", **fields}
    event = m.Applied(run=RUN, step=history.step, knob=knob, **fields)
    history.apply(event)
    return event


def finish(history: History, outcome: m.Outcome = "completed", **fields: Any) -> None:
    """End the run."""
    fields = {"reason": "30 epochs done", **fields}
    history.apply(m.Finished(run=RUN, step=history.step, outcome=outcome, **fields))
