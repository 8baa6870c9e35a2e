"""The learning rate under a schedule, and what people make of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, Optimizer
from torch.optim import lr_scheduler as ls

from nbtrain import messages as m
from nbtrain.engine.schedule import SHAPES, Schedule
from nbtrain.errors import ModelError
from tests.engine.harness import classes, network, run_loop, values

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def sgd(*rates: float, momentum: float = 0.9) -> SGD:
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates]
    return SGD(groups, lr=rates[0], momentum=momentum)


def course(schedule: Schedule, steps: int, start: int = 0) -> list[float]:
    """The rate of each of so many steps."""
    rates = []
    for step in range(start + 1, start + steps + 1):
        rates.append(schedule.lr)
        schedule.after_step(step)
    return rates


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cosine", lambda p: 0.5 * (1 + math.cos(math.pi * p))),
        ("linear", lambda p: 1 - p),
        ("step", lambda p: [1, 0.1, 0.01][min(2, int(3 * p))]),
        ("exponential", lambda p: 0.01**p),
        ("warm-restarts", lambda p: 0.5 * (1 + math.cos(math.pi * (4 * p % 1)))),
    ],
)
def test_a_named_shape(name: str, expected: Callable[[float], float]) -> None:
    rates = course(Schedule(sgd(0.5), name, 100), 100)
    assert rates == pytest.approx([0.5 * expected(step / 100) for step in range(100)])


def test_one_cycle_has_pytorchs_shape() -> None:
    plain = ls.OneCycleLR(sgd(1.0), max_lr=1.0, total_steps=1001, cycle_momentum=False)
    ours = Schedule(sgd(1.0), "one-cycle", 1000)
    for step in range(1, 1000):
        ours.after_step(step)
        plain.optimizer.step()
        plain.step()
        assert ours.lr == pytest.approx(plain.get_last_lr()[0], abs=0.006)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_never_leaves_its_range(name: str) -> None:
    rates = course(Schedule(sgd(1.0), name, 10), 15)
    assert all(0 <= rate <= 1 for rate in rates)


SCHEDULERS: dict[str, tuple[Callable[[Optimizer], Any], str]] = {
    "step": (lambda o: ls.StepLR(o, 2, 0.5), "epoch"),
    "multi-step": (lambda o: ls.MultiStepLR(o, [2, 5], 0.5), "epoch"),
    "exponential": (lambda o: ls.ExponentialLR(o, 0.9), "epoch"),
    "cosine": (lambda o: ls.CosineAnnealingLR(o, 20), "epoch"),
    "restarts": (lambda o: ls.CosineAnnealingWarmRestarts(o, 4), "epoch"),
    "lambda": (lambda o: ls.LambdaLR(o, lambda e: 1 / (e + 1)), "epoch"),
    "multiplicative": (lambda o: ls.MultiplicativeLR(o, lambda e: 0.9), "epoch"),
    "polynomial": (lambda o: ls.PolynomialLR(o, 20), "epoch"),
    "sequential": (
        lambda o: ls.SequentialLR(
            o, [ls.LinearLR(o, 0.1, total_iters=3), ls.ExponentialLR(o, 0.9)], [3]
        ),
        "epoch",
    ),
    "chained": (
        lambda o: ls.ChainedScheduler([ls.LinearLR(o, 0.1, total_iters=3), ls.StepLR(o, 2)]),
        "epoch",
    ),
    "one-cycle": (lambda o: ls.OneCycleLR(o, 0.5, total_steps=20), "step"),
    "cyclic": (lambda o: ls.CyclicLR(o, 0.01, 0.5, step_size_up=4), "step"),
}


def advance(schedule: Schedule, every: str, number: int) -> None:
    if every == "step":
        schedule.after_step(number)
    else:
        schedule.after_epoch(None)


@pytest.mark.parametrize("how", ["instance", "function"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_users_own_scheduler_runs_as_in_pytorch(name: str, how: str) -> None:
    make, every = SCHEDULERS[name]
    plain = sgd(0.2, 0.02)
    plain_scheduler = make(plain)
    optimizer = sgd(0.2, 0.02)
    ours = Schedule(optimizer, make(optimizer) if how == "instance" else make, None)
    assert ours.every == every
    for number in range(1, 15):
        for mine, theirs in zip(optimizer.param_groups, plain.param_groups, strict=True):
            assert mine["lr"] == pytest.approx(theirs["lr"])
            assert mine["momentum"] == pytest.approx(theirs["momentum"])
        advance(ours, every, number)
        plain_scheduler.step()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_rate_set_by_hand_rescales_the_rest(name: str) -> None:
    make, every = SCHEDULERS[name]
    plain, optimizer = sgd(0.2, 0.02), sgd(0.2, 0.02)
    plain_scheduler = make(plain)
    ours = Schedule(optimizer, make(optimizer), None)
    for number in range(1, 4):
        advance(ours, every, number)
        plain_scheduler.step()
    factor = 0.05 / plain.param_groups[0]["lr"]
    note = ours.set(0.05, "rebase")
    assert note is not None
    assert "rescaled" in note
    assert ours.lr == pytest.approx(0.05)
    for number in range(4, 12):
        for mine, theirs in zip(optimizer.param_groups, plain.param_groups, strict=True):
            assert mine["lr"] == pytest.approx(factor * theirs["lr"])
        advance(ours, every, number)
        plain_scheduler.step()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_held_rate_is_never_overwritten(name: str) -> None:
    make, every = SCHEDULERS[name]
    optimizer = sgd(0.2, 0.02)
    ours = Schedule(optimizer, make, None)
    ratio = optimizer.param_groups[1]["lr"] / ours.lr
    assert ours.set(0.07, "hold") == "held"
    for number in range(1, 12):
        advance(ours, every, number)
        assert ours.lr == pytest.approx(0.07)
    assert ratio > 0


def test_one_cycle_stays_at_its_end() -> None:
    optimizer = sgd(0.2)
    schedule = Schedule(optimizer, ls.OneCycleLR(optimizer, 0.5, total_steps=10), None)
    rates = course(schedule, 25)
    assert rates[-1] == rates[10] == min(rates)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_follows_the_watched_metric(mode: str) -> None:
    schedule = Schedule(sgd(0.2, 0.02), "plateau", None, mode=mode)
    for _ in range(12):
        schedule.after_epoch(1.0)
    assert schedule.lr == pytest.approx(0.02)
    assert schedule.optimizer.param_groups[1]["lr"] == pytest.approx(0.002)
    schedule.set(0.1, "rebase")
    schedule.after_epoch(0.5 if mode == "min" else 2.0)
    assert schedule.lr == pytest.approx(0.1)
    schedule.after_epoch(None)


def test_a_rate_of_zero_holds_until_the_schedule_leaves_it() -> None:
    optimizer = sgd(0.5, 0.05)
    schedule = Schedule(optimizer, lambda o: ls.LambdaLR(o, lambda e: max(0, e - 2) / 10), None)
    assert schedule.lr == 0.0
    note = schedule.set(0.01, "rebase")
    assert note is not None
    assert "until the schedule leaves zero" in note
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.01, 0.001])
    rates = []
    for _ in range(5):
        schedule.after_epoch(None)
        rates.append(schedule.lr)
    assert rates == pytest.approx([0.01, 0.01, 0.05, 0.1, 0.15])


def test_a_constant_rate_keeps_the_ratio_of_groups() -> None:
    optimizer = sgd(0.4, 0.04)
    schedule = Schedule(optimizer, None, 100)
    assert schedule.set(0.1, "rebase") is None
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1, 0.01])
    schedule.after_step(1)
    assert schedule.lr == pytest.approx(0.1)


def test_a_rate_of_zero_can_be_left_again() -> None:
    schedule = Schedule(sgd(0.4), None, 100)
    schedule.set(0.0, "rebase")
    assert schedule.lr == 0.0
    schedule.set(0.3, "rebase")
    assert schedule.lr == pytest.approx(0.3)


def test_more_steps_stretch_the_rest() -> None:
    schedule = Schedule(sgd(1.0), "linear", 10)
    course(schedule, 5)
    assert schedule.lr == pytest.approx(0.5)
    schedule.span(5, 25)
    assert schedule.lr == pytest.approx(0.5), "no jump"
    course(schedule, 10, start=5)
    assert schedule.lr == pytest.approx(0.25)
    course(schedule, 10, start=15)
    assert schedule.lr == pytest.approx(0.0)


def test_a_schedule_that_has_ended_covers_all_steps_anew() -> None:
    schedule = Schedule(sgd(1.0), "cosine", 10)
    course(schedule, 10)
    assert schedule.lr == 0.0
    schedule.span(10, 20)
    assert schedule.lr == pytest.approx(0.5)
    course(schedule, 10, start=10)
    assert schedule.lr == pytest.approx(0.0)


def test_a_tensor_rate_is_written_in_place() -> None:
    optimizer = Adam([torch.zeros(1, requires_grad=True)], lr=torch.tensor(0.5))
    rate = optimizer.param_groups[0]["lr"]
    schedule = Schedule(optimizer, "linear", 10)
    schedule.after_step(5)
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(0.25)


def test_momentum_set_by_hand_is_not_overwritten_by_one_cycle() -> None:
    command = m.Set(knob="momentum", value=0.3)

    def optimizer(parameters: Any) -> SGD:
        return SGD(parameters, lr=0.1, momentum=0.9)

    run = run_loop(
        network(),
        classes(40),
        [(3, command)],
        epochs=2,
        batch_size=8,
        val_split=0.0,
        optimizer=optimizer,
        scheduler=lambda o: ls.OneCycleLR(o, 0.2, total_steps=10),
    )
    answer = run.answer(command)
    assert isinstance(answer, m.Applied)
    assert answer.note == "the schedule no longer moves it"
    assert run.training.optimizer.param_groups[0]["momentum"] == 0.3


def test_a_rate_by_hand_in_a_run_under_a_schedule() -> None:
    command = m.Set(knob="lr", value=0.5)
    run = run_loop(
        network(),
        classes(40),
        [(5, command)],
        epochs=2,
        batch_size=8,
        val_split=0.0,
        lr=0.1,
        scheduler="linear",
    )
    rates = run.history["lr"]
    assert rates[:5] == pytest.approx([0.1 * (1 - s / 10) for s in range(5)])
    assert rates[5:] == pytest.approx([0.5 * (1 - s / 5) for s in range(5)])


def test_other_epochs_span_the_schedule_again() -> None:
    run = run_loop(
        network(),
        classes(40),
        [(5, m.Set(knob="epochs", value=3))],
        epochs=2,
        batch_size=8,
        val_split=0.0,
        lr=1.0,
        scheduler="linear",
    )
    rates = run.history["lr"]
    assert rates[5:] == pytest.approx([0.5 * (1 - s / 10) for s in range(10)])


def test_the_typed_rate_counts_beside_a_scheduler_of_the_cell() -> None:
    model = network()
    optimizer = SGD(
        [{"params": model[0].parameters()}, {"params": model[3].parameters(), "lr": 0.01}], lr=0.1
    )
    run = run_loop(
        model,
        classes(40),
        epochs=3,
        batch_size="full",
        val_split=0.0,
        lr=0.5,
        optimizer=optimizer,
        scheduler=ls.LambdaLR(optimizer, lambda e: 1 / (e + 1)),
    )
    assert run.history["lr"] == pytest.approx([0.5, 0.25, 0.5 / 3])
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates[1] / rates[0] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (3, "is a int"),
        (lambda optimizer: 3, "is a int"),
        (ls.StepLR(sgd(0.1), 2), "another optimizer"),
    ],
)
def test_what_is_no_scheduler_is_refused(given: Any, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        run_loop(network(), classes(40), epochs=1, scheduler=given)


def test_a_shape_over_a_stream_needs_a_number_of_steps() -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return zip(*values(20), strict=True)

    model = torch.nn.Linear(4, 1)
    with pytest.raises(ModelError, match="--steps"):
        run_loop(model, None, train_data=Stream(), epochs=1, scheduler="cosine")
    run = run_loop(model, None, train_data=Stream(), steps=4, batch_size=8, scheduler="cosine")
    assert run.step == 4


def test_the_state_is_plain_json() -> None:
    import json

    for make, _ in SCHEDULERS.values():
        json.dumps(Schedule(sgd(0.1, 0.01), make, 10).state(), allow_nan=False)
