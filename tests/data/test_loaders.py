"""Batches of datasets and loaders, with and without workers."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
from functools import partial
from multiprocessing import connection
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    get_worker_info,
)

from nbtrain.data import byname, prepare, rewind
from nbtrain.data.elsewhere import of_a_cell
from nbtrain.data.loaders import Mapped, Replayed
from nbtrain.data.memory import InMemory

pytestmark = pytest.mark.filterwarnings(
    # Python 3.12 and later say so of every loader with workers in a notebook.
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)
FORKS = "fork" in multiprocessing.get_all_start_methods()
needs_fork = pytest.mark.skipif(not FORKS, reason="this system cannot fork")


class Numbers(Dataset):
    """Sample i is (i, draws from NumPy, random and torch)."""

    def __init__(self, samples=40):
        self.samples = samples

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        return (
            index,
            np.random.randint(10**9),
            random.randrange(10**9),
            torch.rand(()).item() + torch.randperm(50)[0],
        )


def forked(**more):
    return DataLoader(Numbers(), num_workers=2, multiprocessing_context="fork", **more)


def rows(batches):
    return [int(value) for batch, _ in batches for value in batch[0]]


def drawn(batches):
    return [part.tolist() for batch, _ in batches for part in batch]


def untouched():
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


@pytest.fixture
def closing():
    kept = []
    yield lambda prepared: kept.append(prepared) or prepared
    for prepared in kept:
        prepared.close()


def test_a_dataset_is_shuffled_and_split():
    prepared = prepare(data=Numbers())
    assert isinstance(prepared.train, Mapped)
    train = rows(prepared.train.epoch(0, batch_size=8))
    val = rows(prepared.val.epoch(0, batch_size=8))
    assert sorted(train + val) == list(range(40))
    assert val == sorted(val)
    assert train != sorted(train)
    assert train != rows(prepared.train.epoch(1, batch_size=8))
    assert train == rows(prepare(data=Numbers()).train.epoch(0, batch_size=5))


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5), epoch=st.integers(0, 3))
def test_a_change_of_batch_size_is_exact(sizes, epoch):
    data = prepare(train_data=Numbers()).train
    whole = rows(data.epoch(epoch, batch_size=1))
    seen = []
    for size in sizes:
        for batch, n in data.epoch(epoch, batch_size=size, start=len(seen)):
            assert n == min(size, 40 - len(seen))
            seen += batch[0].tolist()
            break
    seen += rows(data.epoch(epoch, batch_size=7, start=len(seen)))
    assert seen == whole


@needs_fork
def test_a_change_of_batch_size_is_exact_with_workers_that_live_on(closing):
    prepared = closing(prepare(data=forked(batch_size=4, shuffle=True)))
    data = prepared.train
    whole = rows(prepare(data=DataLoader(Numbers(), shuffle=True)).train.epoch(0, batch_size=1))
    seen, workers = [], set()
    for size in (4, 1, 16, 3):
        batch, n = next(data.epoch(0, batch_size=size, start=len(seen)))
        assert n == size
        seen += batch[0].tolist()
        workers.add(tuple(w.pid for w in multiprocessing.active_children()))
    seen += rows(data.epoch(0, batch_size=5, start=len(seen)))
    assert seen == whole
    assert len(workers) == 1
    assert sorted(rows(data.epoch(1, batch_size=5))) == list(range(40))


@needs_fork
def test_draws_in_a_dataset_are_the_runs_with_workers_and_without(closing):
    here = prepare(data=DataLoader(Numbers(), batch_size=8, shuffle=True)).train
    there = closing(prepare(data=forked(batch_size=8, shuffle=True))).train
    random.seed(1)
    np.random.seed(1)
    before = untouched()
    first = drawn(here.epoch(0, batch_size=8))
    assert drawn(there.epoch(0, batch_size=8)) == first
    np.random.rand()
    random.random()
    assert drawn(here.epoch(0, batch_size=8)) == first
    assert drawn(here.epoch(1, batch_size=8)) != first
    assert drawn(there.epoch(0, batch_size=8, start=16)) == first[2 * 4 :]
    random.seed(1)
    np.random.seed(1)
    list(here.epoch(0, batch_size=8))
    list(there.epoch(2, batch_size=8))
    assert untouched() == before


def test_a_users_error_puts_the_generators_back():
    class Broken(Numbers):
        def __getitem__(self, index):
            if index == 30:
                raise LookupError("sample 30")
            return super().__getitem__(index)

    data = prepare(train_data=Broken()).train
    before = untouched()
    with pytest.raises(LookupError, match="sample 30"):
        list(data.epoch(0, batch_size=8))
    assert untouched() == before


def square(samples):
    return torch.tensor([[s[0], s[0] ** 2] for s in samples]), torch.tensor([s[0] for s in samples])


def test_collate_drop_last_and_batch_size_of_a_loader_are_kept():
    loader = DataLoader(Numbers(), batch_size=6, collate_fn=square, drop_last=True)
    prepared = prepare(data=loader)
    assert prepared.train.batch_size == 6
    assert prepared.val is None
    assert "never split" in prepared.notes[0]
    batches = list(prepared.train.epoch(0, batch_size=6))
    assert [n for _, n in batches] == [6] * 6
    assert prepared.train.steps(6) == 6
    assert torch.equal(batches[0][0][0][:, 1], torch.arange(6) ** 2)
    assert torch.equal(prepared.example[1], torch.tensor([0, 1]))


@pytest.mark.parametrize(
    "sampler",
    [
        lambda: RandomSampler(Numbers()),
        lambda: RandomSampler(Numbers(), replacement=True, num_samples=15),
        lambda: SubsetRandomSampler(range(5, 25)),
        lambda: WeightedRandomSampler([1.0] * 20 + [0.0] * 20, 30),
        lambda: SequentialSampler(range(40)),
    ],
)
def test_samplers_of_pytorch_draw_from_the_run(sampler):
    prepared = prepare(data=DataLoader(Numbers(), batch_size=4, sampler=sampler()))
    assert isinstance(prepared.train, Mapped)
    assert prepared.train.fixed is None
    before = untouched()
    first = rows(prepared.train.epoch(0, batch_size=4))
    assert len(first) == prepared.train.samples == len(sampler())
    assert rows(prepared.train.epoch(0, batch_size=7)) == first
    assert rows(prepared.train.epoch(0, batch_size=3, start=5)) == first[5:]
    assert untouched() == before
    if not isinstance(sampler(), SequentialSampler):
        assert rows(prepared.train.epoch(1, batch_size=4)) != first


def test_validation_loaders_are_taken_in_order():
    prepared = prepare(
        train_data=DataLoader(Numbers(), shuffle=True),
        val_data=DataLoader(Numbers(12), batch_size=5, shuffle=True),
    )
    assert rows(prepared.val.epoch(0, batch_size=5)) == list(range(12))


def test_a_table_in_a_loader_takes_the_fast_path():
    table = TensorDataset(torch.randn(30, 2), torch.arange(30))
    prepared = prepare(data=DataLoader(table, batch_size=8, shuffle=True, drop_last=True))
    assert isinstance(prepared.train, InMemory)
    batches = list(prepared.train.epoch(0, batch_size=8))
    assert [n for _, n in batches] == [8, 8, 8]
    assert isinstance(batches[0][0], list)
    left, right = torch.utils.data.random_split(table, [20, 10])
    both = prepare(train_data=left, val_data=DataLoader(right, batch_size=4))
    seen = [
        int(v)
        for part in (both.train, both.val)
        for b, _ in part.epoch(0, batch_size=4)
        for v in b[1]
    ]
    assert sorted(seen) == list(range(30))


class EveryOther(Sampler):
    """The user's own: even indices, then odd ones, each shuffled."""

    def __iter__(self):
        even = [2 * i for i in torch.randperm(20).tolist()]
        odd = list(range(1, 40, 2))
        random.shuffle(odd)
        yield from even
        yield from odd

    def __len__(self):
        return 40


def test_a_sampler_of_the_users_own_is_run_again_for_every_epoch():
    prepared = prepare(data=DataLoader(Numbers(), batch_size=4, sampler=EveryOther()))
    before = untouched()
    first = rows(prepared.train.epoch(0, batch_size=4))
    assert sorted(first[:20]) == list(range(0, 40, 2))
    assert rows(prepared.train.epoch(0, batch_size=9)) == first
    assert rows(prepared.train.epoch(0, batch_size=9, start=11)) == first[11:]
    assert rows(prepared.train.epoch(1, batch_size=4)) != first
    assert untouched() == before


def test_a_batch_sampler_of_the_users_own_fixes_the_batches():
    class Pairs(BatchSampler):
        pass

    sampler = Pairs(RandomSampler(Numbers()), 6, False)
    prepared = prepare(data=DataLoader(Numbers(), batch_sampler=sampler))
    assert isinstance(prepared.train, Replayed)
    assert "Pairs" in prepared.train.fixed
    before = untouched()
    first = list(prepared.train.epoch(0, batch_size=1000))
    assert [n for _, n in first] == [6] * 6 + [4]
    assert prepared.train.steps(1000) == 7
    assert prepared.train.samples == 40
    assert rows(prepared.train.epoch(0, batch_size=6, start=12)) == rows(first[2:])
    assert drawn(prepared.train.epoch(0, batch_size=6, start=12)) == drawn(first[2:])
    assert rows(prepared.train.epoch(1, batch_size=6)) != rows(first)
    assert untouched() == before


def report(worker):
    get_worker_info().dataset.samples = 1000 + worker


class Told(Numbers):
    """Sample i is what its process knows."""

    def __getitem__(self, index):
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        return torch.tensor([self.samples, os.getpid(), ignored])


@needs_fork
def test_workers_ignore_interrupts_and_run_the_users_own_start(closing):
    loader = DataLoader(
        Told(),
        batch_size=1,
        num_workers=1,
        worker_init_fn=report,
        multiprocessing_context="fork",
    )
    data = closing(prepare(data=loader)).train
    epoch = data.epoch(0, batch_size=1)
    samples, worker, ignores = next(epoch)[0][0].tolist()
    assert samples == 1000
    assert worker != os.getpid()
    assert ignores
    os.kill(worker, signal.SIGINT)
    assert len(list(epoch)) == 39


@needs_fork
def test_workers_start_from_another_thread_than_the_main_one(closing):
    loader = DataLoader(Told(), batch_size=20, num_workers=2, multiprocessing_context="fork")
    data = closing(prepare(data=loader)).train
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(data.epoch(0, batch_size=20)))
    thread.start()
    thread.join(30)
    assert [n for _, n in seen] == [20, 20]
    assert all(batch[:, 2].all() for batch, _ in seen)


@needs_fork
def test_closing_ends_the_workers_and_a_new_epoch_starts_them_again(closing):
    data = closing(prepare(data=forked(batch_size=8))).train
    before = set(multiprocessing.active_children())
    next(data.epoch(0, batch_size=8))
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    data.close()
    assert all(connection.wait([worker.sentinel], 30) for worker in workers)
    assert rows(data.epoch(0, batch_size=8)) == list(range(40))


@needs_fork
def test_an_older_pass_says_that_it_is_over(closing):
    data = closing(prepare(data=forked(batch_size=8))).train
    old = data.epoch(0, batch_size=8)
    next(old)
    next(data.epoch(0, batch_size=8))
    with pytest.raises(RuntimeError, match="Another pass"):
        next(old)


@needs_fork
def test_an_error_in_a_worker_reaches_the_loop(closing):
    class Broken(Numbers):
        def __getitem__(self, index):
            if get_worker_info() is not None and index >= 8:
                raise LookupError("no such sample")
            return super().__getitem__(index)

    loader = DataLoader(Broken(), batch_size=8, num_workers=1, multiprocessing_context="fork")
    data = closing(prepare(data=loader)).train
    with pytest.raises(LookupError, match="no such sample"):
        list(data.epoch(0, batch_size=8))


@pytest.mark.filterwarnings("ignore:Got pickle error:UserWarning")
def test_workers_that_cannot_start_are_done_without(closing):
    class Local(Numbers):
        pass

    loader = DataLoader(Local(), batch_size=8, num_workers=1, multiprocessing_context="spawn")
    prepared = closing(prepare(data=loader))
    heard = []
    prepared.notes.listener = heard.append
    assert rows(prepared.train.epoch(0, batch_size=8)) == list(range(40))
    assert rows(prepared.train.epoch(1, batch_size=8)) == list(range(40))
    assert len(heard) == 1
    assert "workers could not start" in heard[0]
    assert "cannot go to a new process" in heard[0]
    assert "Local" in heard[0]


@pytest.fixture
def notebook(monkeypatch):
    """In a notebook __main__ has no file that a new process could run."""
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)


def spawned(dataset, **more):
    return DataLoader(dataset, batch_size=8, num_workers=1, multiprocessing_context="spawn", **more)


def test_workers_of_a_cells_dataset_are_not_started_in_vain(closing, notebook, capfd):
    class InACell(Numbers):
        pass

    InACell.__module__, InACell.__qualname__ = "__main__", "InACell"
    for dataset in (InACell(), Subset(InACell(), range(40))):
        prepared = closing(prepare(data=spawned(dataset)))
        assert rows(prepared.train.epoch(0, batch_size=8)) == list(range(40))
        assert "workers could not start" in prepared.notes[-1]
        assert "InACell is defined in a cell" in prepared.notes[-1]
    assert capfd.readouterr() == ("", "")


def test_what_a_new_process_can_import_is_no_cells(notebook):
    def collate(samples):
        return default_collate(samples)

    collate.__module__, collate.__qualname__ = "__main__", "collate"
    own = Numbers(), torch.zeros(10**6), {"x": [np.zeros(3), len, None]}
    assert of_a_cell(*own) is None
    assert of_a_cell(*own, collate) == "collate"
    assert of_a_cell({"deep": [partial(collate)]}) == "collate"


def test_a_look_for_a_cells_things_does_not_go_through_all_the_data(notebook):
    class Row:
        seen = 0

        def __reduce__(self):
            Row.seen += 1
            return bytes, (Row.seen.to_bytes(4, "big") * 250,)

    class Table(pd.DataFrame):
        def __reduce__(self):
            raise AssertionError("the frame was pickled")

    def collate(samples):
        return default_collate(samples)

    Table.__module__ = "pandas"
    collate.__module__, collate.__qualname__ = "__main__", "collate"
    large = [Table({"x": [1.0]}), *(Row() for _ in range(20_000))]
    assert of_a_cell(large, collate) == "collate"
    assert 0 < Row.seen < 10_000


def test_workers_that_end_before_their_first_batch_are_done_without(closing, monkeypatch, capfd):
    class Elsewhere(Numbers):
        pass

    Elsewhere.__module__, Elsewhere.__qualname__ = "nowhere_to_import", "Elsewhere"
    module = ModuleType("nowhere_to_import")
    module.Elsewhere = Elsewhere
    monkeypatch.setitem(sys.modules, "nowhere_to_import", module)
    prepared = closing(prepare(data=spawned(Elsewhere())))
    assert rows(prepared.train.epoch(0, batch_size=8)) == list(range(40))
    assert "workers could not start" in prepared.notes[-1]
    assert "ended before its first batch" in prepared.notes[-1]
    assert "nowhere_to_import" in capfd.readouterr().err


@pytest.mark.parametrize("start", [torch.random.manual_seed, np.random.seed])
def test_workers_that_begin_with_a_librarys_own_function_start(closing, start):
    prepared = closing(prepare(data=spawned(Numbers(), worker_init_fn=start)))
    with rewind.listening(), byname.listening():
        assert rows(prepared.train.epoch(0, batch_size=8)) == list(range(40))
    assert not any("could not start" in note for note in prepared.notes)
