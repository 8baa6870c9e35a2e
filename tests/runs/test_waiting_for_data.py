"""A batch that is slow to come holds up neither pause nor stop, and changes nothing else."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection
from typing import Any

import numpy as np
import pytest
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    get_worker_info,
)

from nbtrain import messages as m
from nbtrain.data import waiting
from nbtrain.engine import loop, validate
from nbtrain.errors import CommandRejected, RunFailed
from nbtrain.runs.run import Run
from nbtrain.runs.train import train
from tests.engine.harness import classes, network, same, weights
from tests.runs.harness import PATIENCE, until

pytestmark = [
    pytest.mark.filterwarnings(
        # Python 3.12 and later say so of every loader with workers in a notebook.
        "ignore:.*multi-threaded, use of fork:DeprecationWarning"
    ),
    pytest.mark.skipif(
        "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
    ),
]
SAMPLES = 40
HELD = 21
"""The sample that is not there until its gate is opened."""


class Gate:
    """Opened from the test, awaited in a worker's process or on the trainer thread."""

    def __init__(self, kind: Any = None) -> None:
        kind = multiprocessing.get_context("fork") if kind is None else kind
        self.reached, self.open = kind.Event(), kind.Event()

    def arrive(self) -> None:
        assert self.reached.wait(PATIENCE), "nobody asked for the sample"

    def pass_through(self) -> None:
        self.reached.set()
        assert self.open.wait(PATIENCE), "nobody opened the gate"


class Held(Dataset[Any]):
    """Samples that draw from NumPy; one of them comes when its gate is opened.

    The gate is for workers and the trainer thread, not for the first look at samples.
    """

    def __init__(self, gate: Gate | None = None) -> None:
        self.X, self.y = classes(SAMPLES)
        self.gate = gate
        self.made = 0

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Any:
        self.made += 1
        on_its_way = threading.current_thread().name.startswith("nbtrain") or get_worker_info()
        if self.gate is not None and index == HELD and on_its_way:
            self.gate.pass_through()
        return self.X[index] + float(np.random.rand()), self.y[index]


class Streamed(IterableDataset[Any]):
    """The same samples one after the other."""

    def __init__(self, samples: Held) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[Any]:
        return (self.samples[index] for index in range(SAMPLES))


def plain(data: Held, **more: Any) -> DataLoader[Any]:
    return DataLoader(
        data, batch_size=8, num_workers=2, shuffle=True, multiprocessing_context="fork", **more
    )


def in_order(data: Held) -> DataLoader[Any]:
    return DataLoader(data, batch_size=8, num_workers=2, multiprocessing_context="fork")


def lasting(data: Held) -> DataLoader[Any]:
    return plain(data, persistent_workers=True)


def own_batches(data: Held) -> DataLoader[Any]:
    class Own(BatchSampler):
        pass

    sampler = Own(RandomSampler(data), 8, False)
    return DataLoader(data, batch_sampler=sampler, num_workers=2, multiprocessing_context="fork")


def stream(data: Held) -> DataLoader[Any]:
    return DataLoader(Streamed(data), batch_size=8, num_workers=1, multiprocessing_context="fork")


LOADERS = [plain, lasting, own_batches, stream]


def workers() -> set[Any]:
    return set(multiprocessing.active_children())


def all_ended(before: set[Any]) -> bool:
    """Whether no worker is left, after a wait at most as long as a stuck one's end may take."""
    left = {worker.sentinel for worker in workers() - before}
    while left and (ended := connection.wait(left, PATIENCE)):
        left -= set(ended)
    return not left


def begin(**data: Any) -> Run:
    """A run with each loader's own batch size."""
    return train(network(), epochs=2, panel=False, wait=False, **data)


def held_in_training(make: Callable[[Any], Any] = plain) -> tuple[Run, Gate]:
    gate = Gate()
    run = begin(train_data=make(Held(gate)))
    gate.arrive()
    return run, gate


def waiting_in_step_3() -> tuple[Run, Gate]:
    """A run that has done all the steps it can before the gate is opened."""
    run, gate = held_in_training(in_order)
    until(run, lambda: run.history.step == HELD // 8)
    return run, gate


def undisturbed(**data: Any) -> Run:
    return begin(**data).wait(PATIENCE)


@pytest.mark.parametrize("make", LOADERS)
def test_a_pause_while_a_worker_is_slow_acts_at_once_and_changes_nothing(
    make: Callable[[Any], Any],
) -> None:
    run, gate = held_in_training(make)
    step = run.history.step
    answer = run.pause()
    assert answer.event is not None
    assert run.state == "paused"
    assert run.history.step == answer.step >= step
    gate.open.set()
    run.resume()
    run.wait(PATIENCE)
    other = undisturbed(train_data=make(Held()))
    assert run.state == other.state == "completed"
    assert same(weights(run.model), weights(other.model))
    assert np.array_equal(run.history["loss"], other.history["loss"])


@pytest.mark.parametrize("make", [lasting, stream])
def test_a_batch_that_comes_in_a_pause_is_kept(make: Callable[[Any], Any]) -> None:
    run, gate = held_in_training(make)
    at = run.pause().step
    gate.open.set()
    assert run.step().event is not None
    assert (run.state, run.history.step) == ("paused", (at or 0) + 1)
    run.resume()
    run.wait(PATIENCE)
    assert same(weights(run.model), weights(undisturbed(train_data=make(Held())).model))


@pytest.mark.parametrize("make", LOADERS)
def test_a_stop_does_not_wait_for_a_stuck_worker(
    make: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "GRACE", 0.1)
    before = workers()
    run, _ = held_in_training(make)
    begun = time.monotonic()
    run.stop("last")
    assert run.state == "early-stopped"
    # Twice the 0.25 s that closing waits at most, and the rest for a busy machine.
    assert time.monotonic() - begun < 2.0
    assert all_ended(before)


def test_a_stopped_run_goes_on_with_the_batch_that_it_waited_for() -> None:
    run, gate = held_in_training()
    run.stop("last")
    gate.open.set()
    run.resume()
    run.wait(PATIENCE)
    assert run.state == "completed"
    assert same(weights(run.model), weights(undisturbed(train_data=plain(Held())).model))


def test_other_commands_wait_for_the_next_step() -> None:
    run, gate = waiting_in_step_3()
    command = m.Set(knob="lr", value=0.5)
    run.send(command)
    assert run.pause().step == HELD // 8
    assert run.history.answers.get(command.id) is None
    gate.open.set()
    run.resume()
    until(run, lambda: command.id in run.history.answers)
    applied = run.history.answers[command.id]
    assert isinstance(applied, m.Applied)
    assert applied.step == HELD // 8 + 1
    run.wait(PATIENCE)


def test_what_waits_for_a_step_that_never_comes_is_refused() -> None:
    run, _ = waiting_in_step_3()
    command = m.Save()
    run.send(command)
    run.pause()
    run.stop()
    answer = run.history.answers[command.id]
    assert isinstance(answer, m.Rejected)
    assert "ended before its next step" in answer.reason


@pytest.mark.parametrize("make", [plain, stream])
def test_a_validation_that_waits_for_a_worker_can_be_paused(make: Callable[[Any], Any]) -> None:
    gate = Gate()
    run = begin(train_data=classes(SAMPLES), val_data=make(Held(gate)))
    gate.arrive()
    assert run.pause().event is not None
    assert run.state == "paused"
    gate.open.set()
    run.resume()
    run.wait(PATIENCE)
    other = undisturbed(train_data=classes(SAMPLES), val_data=make(Held()))
    assert np.array_equal(run.history["val_loss"], other.history["val_loss"])
    assert same(weights(run.model), weights(other.model))


def test_a_validation_that_waits_for_a_worker_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "GRACE", 0.1)
    before = workers()
    gate = Gate()
    run = begin(train_data=classes(SAMPLES), val_data=plain(Held(gate)))
    gate.arrive()
    run.stop()
    assert run.state == "early-stopped"
    assert "val_loss" not in run.history
    assert all_ended(before)
    for thread in threading.enumerate():
        if thread.name == "nbtrain batches":
            # PyTorch looks every 5 s whether the workers it waits for are still there.
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_a_worker_that_ends_while_it_is_waited_for_fails_the_run() -> None:
    before = workers()
    run, _ = held_in_training()
    for worker in workers() - before:
        worker.kill()
    with pytest.raises(RunFailed):  # in PyTorch's words, which depend on what was on its way
        run.wait(PATIENCE)
    assert all_ended(before)


# ── without workers: between two samples ─────────────────────────────────────────────────


@pytest.fixture
def at_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (loop, validate):
        monkeypatch.setattr(module, "PATIENCE", 0.0)


def in_part(data: Held) -> Any:
    return Subset(data, range(SAMPLES))


def one_by_one(data: Held) -> Any:
    return data


@pytest.mark.usefixtures("at_every_sample")
@pytest.mark.parametrize("make", [one_by_one, in_part, Streamed])
@pytest.mark.parametrize("part", ["train_data", "val_data"])
def test_a_pause_acts_between_two_samples(make: Callable[[Held], Any], part: str) -> None:
    gate = Gate(threading)
    data = Held(gate)
    other = {"train_data": classes(SAMPLES)} if part == "val_data" else {}
    np.random.seed(5)
    users = np.random.get_state()[1].tolist()
    run = begin(**other, **{part: make(data)})
    gate.arrive()
    made = data.made
    command = m.Pause()
    run.send(command)
    gate.open.set()
    until(run, lambda: command.id in run.history.answers)
    assert run.state == "paused"
    assert data.made == made
    assert np.random.get_state()[1].tolist() == users
    run.resume()
    run.wait(PATIENCE)
    calm = undisturbed(**other, **{part: make(Held())})
    assert same(weights(run.model), weights(calm.model))


@pytest.mark.usefixtures("at_every_sample")
@pytest.mark.parametrize("make", [one_by_one, Streamed])
def test_a_stop_acts_between_two_samples(make: Callable[[Held], Any]) -> None:
    gate = Gate(threading)
    data = Held(gate)
    run = begin(train_data=make(data))
    gate.arrive()
    made, step = data.made, run.history.step
    run.send(m.Stop(restore="last"))
    gate.open.set()
    run.wait(PATIENCE)
    assert (run.state, run.history.step, data.made) == ("early-stopped", step, made)


def test_what_a_cell_draws_while_a_sample_is_made_is_its_own() -> None:
    gate = Gate(threading)
    run = begin(train_data=Held(gate))
    gate.arrive()
    np.random.seed(5)
    random.seed(5)
    drawn = np.random.rand(3).tolist(), random.random()
    gate.open.set()
    run.wait(PATIENCE)
    assert drawn == (np.random.RandomState(5).rand(3).tolist(), random.Random(5).random())
    assert same(weights(run.model), weights(undisturbed(train_data=Held()).model))


def test_a_second_pause_is_refused_while_a_worker_is_waited_for() -> None:
    run, gate = held_in_training()
    run.pause()
    with pytest.raises(CommandRejected, match="paused already"):
        run.pause()
    gate.open.set()
    run.stop()
