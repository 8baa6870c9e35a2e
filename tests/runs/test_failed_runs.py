"""Runs that fail: what is told, what is let go, what lives on."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nbtrain.errors import RunFailed
from tests.engine.harness import network, same, weights
from tests.runs.harness import PATIENCE, Gate, begin, done, until


class Mistake(Exception):
    """The user's own."""


def broken_step(model: nn.Module, batch: Any) -> Tensor:
    big = torch.zeros(1000)
    HELD.append(weakref.ref(big))
    raise Mistake("in my step")


HELD: list[weakref.ref[Tensor]] = []


def test_the_users_exception_is_the_runs_error() -> None:
    model = network(0.2)
    run = begin(model, training_step=broken_step)
    with pytest.raises(RunFailed, match="in my step") as raised:
        run.wait(PATIENCE)
    assert isinstance(run.error, Mistake)
    assert raised.value.__cause__ is run.error
    assert run.state == "failed"
    assert run.history.error.endswith("Mistake: in my step")
    lines = (run.history.traceback or "").splitlines()
    assert "in broken_step" in lines[1], "it begins in the user's own frame"
    assert "nbtrain/" not in (run.history.traceback or "")
    assert type(model) is nn.Sequential
    assert done(model).state == "completed", "the kernel lives on"


def test_what_the_failed_frames_held_is_let_go() -> None:
    run = begin(training_step=broken_step)
    with pytest.raises(RunFailed):
        run.wait(PATIENCE)
    gc.collect()
    assert HELD[-1]() is None


def test_an_error_inside_pytorch_begins_at_the_users_forward() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                x = x[:, :2]
            return self.layer(x)

    run = begin(Wrong())
    with pytest.raises(RunFailed):
        run.wait(PATIENCE)
    assert "in forward" in (run.history.traceback or "").splitlines()[1]
    assert "self.layer(x)" in (run.history.traceback or "").splitlines()[2]


def test_leaving_the_interpreter_from_a_step_only_fails_the_run() -> None:
    def step(model: Any, batch: Any) -> Tensor:
        raise SystemExit(3)

    run = begin(training_step=step)
    with pytest.raises(RunFailed):
        run.wait(PATIENCE)
    assert isinstance(run.error, SystemExit)


def test_out_of_memory_says_what_to_change() -> None:
    def step(model: Any, batch: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.50 GiB. GPU 0")

    run = begin(training_step=step, batch_size=8)
    with pytest.raises(RunFailed) as raised:
        run.wait(PATIENCE)
    for word in ("7.50 GiB more were wanted", "holds", "it is 8", "--precision bf16"):
        assert word in str(raised.value)
    assert isinstance(run.error.__cause__, torch.OutOfMemoryError)


def test_a_loss_that_is_no_number_fails_where_nobody_watches() -> None:
    def step(model: Any, batch: Any) -> Tensor:
        return model(batch[0]).sum() * float("nan")

    before = weights(network())
    run = begin(training_step=step)
    with pytest.raises(RunFailed, match="the loss is NaN") as raised:
        run.wait(PATIENCE)
    assert run.error is not None
    assert raised.value.__cause__ is run.error
    assert same(weights(run.model), before)


def test_a_loss_that_is_no_number_pauses_where_somebody_does() -> None:
    class Once(Gate):
        def __call__(self, model: nn.Module, batch: Any) -> Tensor:
            loss = super().__call__(model, batch)
            return loss * float("nan") if self.calls == 3 and torch.is_grad_enabled() else loss

    run = begin(training_step=Once(), panel=True)
    until(run, lambda: run.state == "paused")
    assert "not-finite" in run.history.notices
    assert run.history.step == 3
    assert run.history.notices["not-finite"].text.endswith("Change something, then resume.")
    run.set(lr=1e-4)
    run.resume()
    assert run.wait(PATIENCE).state == "completed"


def test_the_best_weights_come_back_where_the_numbers_fail() -> None:
    class Later(Gate):
        def __call__(self, model: nn.Module, batch: Any) -> Tensor:
            if self.calls == 5 and torch.is_grad_enabled():
                with torch.no_grad():
                    model[0].weight.fill_(1e38)
            return super().__call__(model, batch)

    run = begin(training_step=Later(), panel=True)
    until(run, lambda: run.state == "paused")
    best = run.history.best
    assert best is not None
    text = run.history.notices["not-finite-data"].text
    assert "no setting can mend such weights" in text
    assert f"Stop early, which brings back the best weights, of step {best.step};" in text
    run.stop()
    assert run.wait(PATIENCE).history.restored == best.step
    assert run.model[0].weight.abs().max() < 10
