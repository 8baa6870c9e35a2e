"""Streams, and loaders that are iterated as they are."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from nbtrain.data import prepare
from nbtrain.data.stream import Iterated, Stream
from nbtrain.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


class Counting(IterableDataset):
    """Samples (i, a random draw) for i up to 30, those of this worker."""

    def __iter__(self):
        worker = get_worker_info()
        first, by = (worker.id, worker.num_workers) if worker else (0, 1)
        for i in range(first, 30, by):
            yield i, random.random() + np.random.rand() + torch.rand(()).item()


def rows(batches):
    return [int(value) for batch, _ in batches for value in batch[0]]


def drawn(batches):
    return [value for batch, _ in batches for value in batch[1].tolist()]


def test_a_stream_is_put_into_batches():
    prepared = prepare(data=Counting())
    assert isinstance(prepared.train, Stream)
    assert prepared.train.samples is None
    assert prepared.train.steps(8) is None
    assert prepared.train.fixed is None
    assert prepared.val is None
    assert "never split" in prepared.notes[0]
    assert any("resumed within an epoch" in note for note in prepared.notes)
    assert prepared.example[0].tolist() == [0, 1]
    batches = list(prepared.train.epoch(0, batch_size=8))
    assert [n for _, n in batches] == [8, 8, 8, 6]
    assert rows(batches) == list(range(30))
    assert rows(prepared.train.epoch(1, batch_size=30)) == list(range(30))


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_the_batch_size_of_a_stream_changes_at_any_sample(sizes):
    data = prepare(data=Counting()).train
    whole = drawn(data.epoch(2, batch_size=30))
    seen = []
    for size in sizes:
        for batch, _ in data.epoch(2, batch_size=size, start=len(seen)):
            seen += batch[1].tolist()
            break
    if len(seen) < 30:
        seen += drawn(data.epoch(2, batch_size=4, start=len(seen)))
    assert seen == whole
    assert drawn(prepare(data=Counting()).train.epoch(2, batch_size=4, start=7)) == whole[7:]


def test_reading_a_stream_leaves_global_generators_alone():
    def states():
        numbers = np.random.get_state()[1].tolist()
        return torch.get_rng_state().tolist(), random.getstate(), numbers

    before = states()
    prepared = prepare(data=Counting())
    list(prepared.train.epoch(0, batch_size=8))
    loader = prepare(data=DataLoader(Counting(), batch_size=None))
    list(loader.train.epoch(0, batch_size=8))
    assert states() == before


def test_a_loader_over_a_stream_keeps_its_collate_and_batch_size():
    loader = DataLoader(
        Counting(), batch_size=8, drop_last=True, collate_fn=lambda b: torch.tensor(b)
    )
    data = prepare(data=loader).train
    assert data.batch_size == 8
    assert [tuple(b.shape) for b, _ in data.epoch(0, batch_size=8)] == [(8, 2)] * 3


def test_workers_of_a_stream_make_their_own_batches():
    loader = DataLoader(Counting(), batch_size=4, num_workers=2, multiprocessing_context="fork")
    prepared = prepare(data=loader)
    data = prepared.train
    assert isinstance(data, Iterated)
    assert "worker" in data.fixed
    assert prepared.example[0].tolist() == [0, 1]
    first = list(data.epoch(0, batch_size=1000))
    assert sorted(rows(first)) == list(range(30))
    assert max(n for _, n in first) == 4
    again = prepare(data=loader).train
    assert drawn(again.epoch(0, batch_size=1)) == drawn(first)
    resumed = prepare(data=loader).train
    assert drawn(resumed.epoch(0, batch_size=1, start=8)) == drawn(first[2:])
    assert drawn(again.epoch(1, batch_size=1)) != drawn(first)
    for one in (data, again, resumed):
        one.close()


def test_a_loop_goes_on_where_it_stopped_without_reading_again():
    class Watched(Counting):
        opened = 0

        def __iter__(self):
            type(self).opened += 1
            return super().__iter__()

    prepared = prepare(data=DataLoader(Watched(), batch_size=None))
    before = Watched.opened
    data = prepared.train
    for _ in zip(range(2), data.epoch(0, batch_size=1), strict=False):
        pass
    list(data.epoch(0, batch_size=1, start=2))
    assert Watched.opened == before + 1


@pytest.mark.parametrize("loader", [Counting(), DataLoader(Counting(), batch_size=None)])
def test_an_older_pass_says_that_it_is_over(loader):
    data = prepare(data=loader).train
    old = data.epoch(0, batch_size=4)
    next(old)
    next(data.epoch(0, batch_size=4))
    with pytest.raises(RuntimeError, match="Another pass"):
        next(old)


def test_a_stream_shorter_than_a_batch_that_is_dropped_is_explained():
    loader = DataLoader(Counting(), batch_size=40, drop_last=True)
    with pytest.raises(DataError, match="smaller batch size"):
        list(prepare(data=loader).train.epoch(0, batch_size=40))


class Once(IterableDataset):
    def __init__(self):
        self.items = iter([(torch.ones(2) * i, i % 2) for i in range(9)])

    def __iter__(self):
        return self.items


def test_a_stream_that_can_be_read_once_loses_nothing_and_says_so():
    prepared = prepare(data=Once())
    assert any("read only once" in note for note in prepared.notes)
    assert [float(b[0][0, 0]) for b, _ in prepared.train.epoch(0, batch_size=1)] == list(range(9))
    with pytest.raises(DataError, match="epoch 2"):
        list(prepared.train.epoch(1, batch_size=1))


def test_an_infinite_stream_is_read_as_far_as_asked():
    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield torch.ones(3)

    epoch = prepare(data=Endless()).train.epoch(0, batch_size=4)
    assert [next(epoch)[1] for _ in range(100)] == [4] * 100


def test_a_loader_that_is_not_pytorchs_is_iterated():
    class Own:
        def __iter__(self):
            for start in (0, 4, 8):
                yield torch.arange(start, start + 4.0), torch.arange(4)

        def __len__(self):
            return 3

    prepared = prepare(train_data=Own(), val_data=Own())
    assert isinstance(prepared.train, Iterated)
    assert "Own" in prepared.train.fixed
    assert prepared.train.steps(5) == 3
    assert rows(prepared.train.epoch(0, batch_size=5)) == list(range(12))
    assert rows(prepared.train.epoch(0, batch_size=5, start=4)) == list(range(4, 12))
    assert [part.shape[0] for part in prepared.example] == [2, 2]


def test_a_loader_class_that_iterates_by_itself_is_left_to_do_so():
    class Doubling(DataLoader):
        def __iter__(self):
            for batch in super().__iter__():
                yield batch * 2

    loader = Doubling(torch.arange(10.0), batch_size=5, shuffle=True)
    prepared = prepare(data=loader)
    assert isinstance(prepared.train, Iterated)
    state = torch.get_rng_state()
    first = [v for b, _ in prepared.train.epoch(0, batch_size=5) for v in b.tolist()]
    assert sorted(first) == list(range(0, 20, 2))
    assert prepared.train.batch_size == 5
    assert torch.equal(torch.get_rng_state(), state)
