"""What ended runs hold: enough to go on for the last ones, little for the others.

Garbage collection is off, so what is not let go of at once is held.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nbtrain import messages as m
from nbtrain.errors import CommandRejected, RunFailed, UsageError
from nbtrain.runs import registry
from nbtrain.runs.run import Run
from tests.engine.harness import classes, network, same, weights
from tests.runs.harness import PATIENCE, Gate, begin, done, until


@pytest.fixture(autouse=True)
def no_collection(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_kept", [])
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Held:
    """What a run is made of, without holding it."""

    def __init__(self, run: Run) -> None:
        training = run._execution.training
        optimizer = training.optimizer
        self.model = weakref.ref(run._execution.task.model)
        self.optimizer = weakref.ref(optimizer)
        self.state = weakref.ref(next(iter(optimizer.state.values()))["exp_avg"])
        self.data = weakref.ref(run._execution.task.data.train)

    @property
    def goes_on(self) -> bool:
        """Whether everything that training needs is there."""
        return None not in (self.optimizer(), self.state(), self.data())

    @property
    def gone(self) -> bool:
        """Whether nothing that training needs is there."""
        return (self.optimizer(), self.state(), self.data()) == (None, None, None)


def idle(run: Run) -> None:
    """Wait until the training thread has let go of the run, a moment after its end."""
    execution = run._execution
    with execution._turn:
        pass
    execution.trainer.submit("test", lambda: None)
    thread = execution.trainer._thread
    if thread is not None:
        thread.join(PATIENCE)


def ended(**settings: Any) -> Run:
    run = done(**settings)
    idle(run)
    return run


def test_the_last_that_ended_can_go_on_and_older_ones_give_back() -> None:
    runs = [ended(name=f"try_{n}") for n in range(6)]
    held = [Held(run) for run in runs[-3:]]
    ended(name="newest", epochs=1)
    assert [one.goes_on for one in held] == [True] * 3
    begin(name="another").wait(PATIENCE)
    assert [one.goes_on for one in held] == [False, True, True]
    assert held[0].gone
    runs[-1].set(epochs=4)
    runs[-1].wait(PATIENCE)
    assert runs[-1].history.epoch == 4


def test_an_older_run_still_has_its_model_and_says_what_it_gave_back() -> None:
    X, _ = classes(40)
    model = network()
    run = ended(model=model, name="old", epochs=3, lr=0.1)
    answers, best = run.predict(X), weights(run.best_model)
    for n in range(4):
        ended(name=f"try_{n}")
    assert run.model is model
    assert torch.equal(run.predict(X), answers)
    assert same(weights(run.best_model), best)
    assert len(run.history["loss"]) == run.history.step
    assert registry.find("old") is run
    for ask in (run.evaluate, run.resume, lambda: run.set(epochs=20), lambda: run.set(lr=0.1)):
        with pytest.raises(CommandRejected, match="gave its data and optimizer back"):
            ask()
    assert run.state == "completed"


def test_a_run_that_is_used_is_not_an_old_one() -> None:
    run = ended(name="used")
    for n in range(5):
        ended(name=f"try_{n}", epochs=1)
        assert "val_loss" in run.evaluate()
        idle(run)


def test_a_cell_that_runs_twenty_times_holds_no_more_than_a_few() -> None:
    models: list[weakref.ref[nn.Module]] = []
    data: list[weakref.ref[Any]] = []
    for _ in range(20):
        model = network(0.1)
        digits = ended(model=model, name="digits", epochs=1)
        models.append(weakref.ref(model))
        data.append(weakref.ref(digits._execution.task.data.train))
    del digits
    few = registry.KEPT + 1
    assert [ref() is not None for ref in models] == [False] * (20 - few) + [True] * few
    assert [ref() is not None for ref in data] == [False] * (20 - few) + [True] * few


def test_a_run_that_nobody_holds_is_gone_with_its_model() -> None:
    digits = ended(name="digits")
    identity, model = digits.id, weakref.ref(digits.model)
    for n in range(4):
        ended(name=f"try_{n}")
    assert registry.find(identity) is digits
    del digits
    assert registry.find(identity) is None
    assert model() is None


def test_a_failed_run_gives_back_at_once() -> None:
    kept: list[weakref.ref[Any]] = []

    def step(model: nn.Module, batch: Any) -> Tensor:
        raise ValueError("no")

    X, y = classes(40)
    kept += [weakref.ref(X), weakref.ref(step)]
    run = begin(data=(X, y), training_step=step)
    with pytest.raises(RunFailed):
        run.wait(PATIENCE)
    idle(run)
    del X, y, step
    assert [ref() for ref in kept] == [None, None]
    assert isinstance(run.error, ValueError)
    with pytest.raises(UsageError, match="no best weights"):
        run.best_model


def test_a_run_with_an_answer_to_give_is_not_let_go_of() -> None:
    """A command waits behind another run, and whoever sent it let go of the run."""
    old = ended(name="old")
    gate = Gate(1)
    new = begin(name="new", training_step=gate)
    gate.arrive()
    history = old.history
    command = m.Set(knob="epochs", value=4)
    old.send(command)
    reference = weakref.ref(old)
    del old
    for n in range(5):
        ended(name=f"try_{n}", share=True, epochs=1)
    assert reference() is not None
    gate.open.set()
    new.wait(PATIENCE)
    until(new, lambda: history.epoch == 4 and history.state == "finished")
    assert isinstance(history.answers[command.id], m.Applied)


def test_a_step_leaves_no_gradient_behind() -> None:
    run = ended()
    assert all(p.grad is None for p in run.model.parameters())
