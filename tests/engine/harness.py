"""A whole run on the test's own thread: a list of commands in, what happened out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nbtrain import messages as m
from nbtrain import options
from nbtrain.engine.checkpoint import Writer
from nbtrain.engine.control import Control, Script
from nbtrain.engine.loop import Loop
from nbtrain.engine.ownership import Ownership, plain_copy
from nbtrain.engine.task import Task, bind
from nbtrain.engine.training import Training
from nbtrain.store.history import History

E = TypeVar("E", bound=m.Happened)
CPU = torch.device("cpu")


@dataclass
class Trained:
    """What a run left."""

    training: Training
    control: Control
    events: list[m.Event]

    @property
    def model(self) -> nn.Module:
        return self.training.task.model

    @property
    def step(self) -> int:
        return self.training.progress.step

    @property
    def history(self) -> History:
        place = {"run": "test"}
        created = m.Created(name="test", number=1, spec={"name": "test", "options": {}}, **place)
        starting = m.Starting(device="cpu", device_name="cpu", **place)
        history = History.of([created, starting, *self.events])
        assert history.problems == ()
        return history

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def answer(self, command: m.Ask) -> m.Applied | m.Rejected:
        """The one answer that ``command`` got."""
        answers = [
            e
            for e in self.events
            if isinstance(e, (m.Applied, m.Rejected)) and e.command == command.id
        ]
        assert len(answers) == 1, answers
        return answers[0]

    def reason(self, command: m.Ask) -> str:
        """Why ``command`` was not obeyed."""
        answer = self.answer(command)
        assert isinstance(answer, m.Rejected), answer
        return answer.reason


def make_task(model: Any, data: Any = None, **settings: Any) -> tuple[Task, frozenset[str]]:
    """A task of what a cell leaves and the options that were typed, in one."""
    left = ("train_data", "val_data", "metrics", "training_step", "validation_step")
    given = {name: settings.pop(name) for name in left if name in settings}
    for name in ("loss", "optimizer", "scheduler"):
        if name in settings and not isinstance(settings[name], str):
            given[name] = settings.pop(name)
    typed = options.check(settings)
    if data is not None:
        given["data"] = data
    if model is not None:
        given["model"] = model
    keys = frozenset(typed)
    return bind("test", given, {**options.defaults(), **typed}, keys), keys


def run_loop(
    model: Any,
    data: Any = None,
    commands: Iterable[tuple[int, m.Command]] = (),
    *,
    attended: bool = True,
    control: Any = None,
    folder: Path | None = None,
    **settings: Any,
) -> Trained:
    """Train to the end. ``commands`` come with the step after which they act."""
    task, typed = make_task(model, data, **settings)
    task.attended = attended
    training = Training("test", task, CPU, typed)
    script = Script(commands) if control is None else control
    ownership = Ownership(task.model, "test", plain_copy)
    ownership.take()
    try:
        with training.draws.here(), ownership.here():
            script.emit(training.start(script))
            Loop(training, script, Writer(folder) if folder else None).run()
    finally:
        ownership.release()
    return Trained(training, script, script.events)


def classes(samples: int = 64, features: int = 4, count: int = 3, seed: int = 0) -> Any:
    """``(X, y)``: clusters that a small network tells apart."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(samples) % count
    centres = 3 * torch.randn(count, features, generator=draw)
    return centres[y] + torch.randn(samples, features, generator=draw), y


def values(samples: int = 64, features: int = 4, seed: int = 0) -> Any:
    """``(X, y)`` of real numbers."""
    draw = torch.Generator().manual_seed(seed)
    X = torch.randn(samples, features, generator=draw)
    return X, X.sum(1) + 0.1 * torch.randn(samples, generator=draw)


def network(dropout: float = 0.0, features: int = 4, out: int = 3) -> nn.Sequential:
    """A small network, the same at every call."""
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Linear(features, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, out)
        )


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of its state."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether two states are equal to the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
