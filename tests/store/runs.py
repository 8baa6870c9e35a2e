"""A run's events by hand, for the store's tests."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

from nbtrain import messages as m

RUN = "0123456789ab"
SPEC = {"name": "digits", "options": {"lr": 0.1}, "source": "model = …"}


def created(run: str = RUN, name: str = "digits", number: int = 1, time: float = 1.0) -> m.Created:
    return m.Created(run=run, name=name, number=number, spec={**SPEC, "name": name}, time=time)


def starting(run: str = RUN) -> m.Starting:
    return m.Starting(run=run, device="cpu", device_name="a processor", time=2.0)


def started(run: str = RUN, epoch_samples: int | None = 100) -> m.Started:
    return m.Started(
        run=run,
        knobs={"lr": 0.1, "epochs": 3, "early_stop": "val_loss"},
        unsupported={"momentum": "Adagrad has none"},
        layers=("1", "4"),
        epoch_samples=epoch_samples,
        total_steps=30,
        parameters=1234,
        metrics={"loss": "min", "val_loss": "min"},
        monitor="val_loss",
        notes=("cross-entropy, because the targets are 10 integer classes",),
        time=3.0,
    )


def opening(run: str = RUN) -> list[m.Event]:
    """The events before the first step."""
    return [created(run), starting(run), started(run)]


def stepped(
    first: int,
    last: int,
    *,
    run: str = RUN,
    series: Mapping[str, Sequence[float]] | None = None,
    epoch: int | None = None,
    seconds: tuple[float, float] | None = None,
    branch: int = 0,
) -> m.Stepped:
    """Steps ``first`` to ``last``, of 10 samples and a tenth of a second each."""
    count = last - first + 1
    values = series if series is not None else {"loss": [1 / n for n in range(first, last + 1)]}
    return m.Stepped(
        run=run,
        branch=branch,
        step=last,
        count=count,
        samples=array("q", range(10 * first, 10 * last + 1, 10)),
        series={name: array("d", numbers) for name, numbers in values.items()},
        updates=last,
        epoch=last // 10 if epoch is None else epoch,
        seconds=((first - 1) / 10, last / 10) if seconds is None else seconds,
        total_steps=30,
        gauges={"memory": float(last)},
        time=3.0 + last / 10,
    )


def validated(step: int, value: float, *, best: bool = False, branch: int = 0) -> m.Validated:
    return m.Validated(
        run=RUN,
        branch=branch,
        step=step,
        metrics={"val_loss": value},
        samples=10 * step,
        epoch=step // 10,
        best=best,
        time=3.0 + step / 10,
    )


def applied(
    step: int,
    command: str,
    knob: str | None = "lr",
    old: m.Value = None,
    new: m.Value = None,
    *,
    action: str = "Set",
    drag: str | None = None,
    undoes: str | None = None,
) -> m.Applied:
    return m.Applied(
        run=RUN,
        step=step,
        command=command,
        action=action,
        sender="panel",
        knob=knob,
        old=old,
        new=new,
        drag=drag,
        undoes=undoes,
        time=3.0 + step / 10,
    )


def finished(step: int = 30, *, outcome: m.Outcome = "completed", run: str = RUN) -> m.Finished:
    return m.Finished(
        run=run, step=step, outcome=outcome, reason="3 epochs done", restored=step, time=9.0
    )
