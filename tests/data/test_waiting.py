"""Looking up from waiting for a batch, and letting go of a loader's workers."""

from __future__ import annotations

import gc
import multiprocessing
import random
import threading
import time
from multiprocessing import connection

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from nbtrain.data import prepare, waiting
from nbtrain.data.batches import NOT_YET
from nbtrain.data.randomness import OwnRandomness
from nbtrain.data.waiting import END, Ahead, gather

pytestmark = pytest.mark.filterwarnings(
    # Python 3.12 and later say so of every loader with workers in a notebook.
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)
needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
BOUND = 30.0


class Drawing(Dataset):
    """Sample i is (i, draws from NumPy, random and torch)."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return index, np.random.randint(10**9), random.randrange(10**9), torch.rand(()).item()


class Streamed(IterableDataset):
    def __iter__(self):
        return (Drawing()[index] for index in range(20))


def states():
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


def listed(batches):
    return [part.tolist() for batch, _ in batches for part in batch]


@pytest.mark.parametrize("data", [Drawing(), Subset(Drawing(), range(20)), Streamed()])
def test_between_samples_the_users_generators_are_back_and_the_batches_the_same(data):
    batches = prepare(train_data=data).train
    calm = listed(batches.epoch(0, batch_size=6))
    batches = prepare(train_data=data).train
    before, seen, looks = states(), [], 0
    for batch, n in batches.epoch(0, batch_size=6, patience=0.0):
        assert states() == before
        if batch is NOT_YET:
            assert n == 0
            looks += 1
        else:
            seen += [part.tolist() for part in batch]
    assert seen == calm
    assert looks >= 20


@pytest.mark.parametrize("data", [Drawing(), Streamed()])
def test_a_pass_left_between_samples_loses_none(data):
    batches = prepare(train_data=data).train
    calm = listed(batches.epoch(0, batch_size=6))
    batches = prepare(train_data=data).train
    before = states()
    left = batches.epoch(0, batch_size=6, patience=0.0)
    for _ in range(3):
        assert next(left)[0] is NOT_YET
    left.close()
    assert states() == before
    assert listed(batches.epoch(0, batch_size=6)) == calm


def test_samples_made_together_are_one_call():
    class Together(Drawing):
        def __getitems__(self, indices):
            return [self[index] for index in indices]

    batches = prepare(train_data=Together()).train
    assert all(batch is not NOT_YET for batch, _ in batches.epoch(0, batch_size=5, patience=0.0))


def test_without_patience_nothing_is_given_between_samples():
    made = []
    drawn = OwnRandomness(0)
    assert list(gather(made, iter("abc"), drawn, None)) == []
    assert made == ["a", "b", "c"]


class Stuck(Dataset):
    """Sample 3 never comes."""

    def __init__(self):
        context = multiprocessing.get_context("fork")
        self.reached, self.open = context.Event(), context.Event()

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 3:
            self.reached.set()
            self.open.wait(60)
        return index


def loader(data, **more):
    more = {"num_workers": 2, **more}
    return DataLoader(data, batch_size=2, multiprocessing_context="fork", **more)


class Owner:
    """Whose end closes what it owns."""


@needs_fork
def test_batches_come_in_order_and_then_the_end():
    ahead = Ahead(loader(range(8)), owner := Owner())
    for _ in range(2):
        ahead.begin()
        assert [ahead.take(BOUND).tolist() for _ in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
        assert ahead.take(BOUND) is END
    ahead.close()
    del owner


@needs_fork
def test_a_new_pass_throws_away_what_was_fetched_for_the_old():
    ahead = Ahead(loader(range(8), persistent_workers=True), owner := Owner())
    ahead.begin()
    assert ahead.take(BOUND).tolist() == [0, 1]
    ahead.begin()
    assert ahead.take(BOUND).tolist() == [0, 1]
    ahead.close()
    del owner


@needs_fork
@pytest.mark.parametrize("more", [{}, {"persistent_workers": True}, {"num_workers": 1}])
def test_a_stuck_worker_is_waited_for_in_spells_and_let_go_of_in_bounded_time(more, monkeypatch):
    monkeypatch.setattr(waiting, "GRACE", 0.05)
    data = Stuck()
    before = set(multiprocessing.active_children())
    ahead = Ahead(loader(data, **more), owner := Owner())
    ahead.begin()
    assert ahead.take(BOUND).tolist() == [0, 1]
    assert data.reached.wait(BOUND)
    assert ahead.take(0.0) is NOT_YET
    assert ahead.take(0.01) is NOT_YET
    begun = time.monotonic()
    ahead.close()
    assert time.monotonic() - begun < 1.0
    left = {worker.sentinel for worker in set(multiprocessing.active_children()) - before}
    while left:
        ended = connection.wait(left, BOUND)
        assert ended, "a worker goes on"
        left -= set(ended)
    del owner


@needs_fork
def test_a_batch_that_comes_late_is_the_next_one():
    data = Stuck()
    ahead = Ahead(loader(data), owner := Owner())
    ahead.begin()
    assert ahead.take(BOUND).tolist() == [0, 1]
    assert ahead.take(0.0) is NOT_YET
    data.open.set()
    assert ahead.take(BOUND).tolist() == [2, 3]
    ahead.close()
    del owner


@needs_fork
def test_workers_end_with_their_owner():
    before, threads = set(multiprocessing.active_children()), set(threading.enumerate())
    ahead = Ahead(loader(range(8), persistent_workers=True), owner := Owner())
    ahead.begin()
    ahead.take(BOUND)
    (thread,) = (t for t in set(threading.enumerate()) - threads if t.name == "nbtrain batches")
    del owner
    gc.collect()
    thread.join(BOUND)
    assert not thread.is_alive()
    assert set(multiprocessing.active_children()) <= before
