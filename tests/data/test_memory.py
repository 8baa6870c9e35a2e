"""Batches of data in memory."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nbtrain.data import memory
from nbtrain.data.memory import InMemory
from nbtrain.data.order import InOrder, Shuffled


def rows(batches):
    return [int(value) for batch, _ in batches for value in batch[1]]


def table(samples, order=None, **more):
    x = torch.arange(samples * 3, dtype=torch.float32).reshape(samples, 3)
    return InMemory((x, torch.arange(samples)), order or Shuffled(samples, 7), **more)


def test_an_epoch_takes_every_sample_once_and_keeps_the_short_batch():
    batches = list(table(10).epoch(0, batch_size=4))
    assert [n for _, n in batches] == [4, 4, 2]
    assert sorted(rows(batches)) == list(range(10))
    for (x, y), n in batches:
        assert x.shape == (n, 3)
        assert torch.equal(x[:, 0], y * 3.0)


def test_drop_last_leaves_the_short_batch_out():
    data = table(10, drop_last=True)
    assert [n for _, n in data.epoch(0, batch_size=4)] == [4, 4]
    assert data.steps(4) == 2
    assert [n for _, n in data.epoch(0, batch_size=4, start=3)] == [4]
    assert [n for _, n in data.epoch(0, batch_size=99)] == [10]
    assert data.steps(99) == 1


def test_orders_repeat_for_a_seed_and_differ_by_epoch_and_seed():
    first = rows(table(50).epoch(0, batch_size=8))
    assert first == rows(table(50).epoch(0, batch_size=16))
    assert first != rows(table(50).epoch(1, batch_size=8))
    assert first != rows(table(50, Shuffled(50, 8)).epoch(0, batch_size=8))
    assert rows(table(50, InOrder(50)).epoch(3, batch_size=8)) == list(range(50))


@settings(max_examples=200, deadline=None)
@given(
    samples=st.integers(1, 60),
    sizes=st.lists(st.integers(1, 70), min_size=1, max_size=6),
    epoch=st.integers(0, 5),
    chunk=st.integers(1, 2000),
)
def test_a_change_of_batch_size_goes_on_at_the_next_unseen_sample(samples, sizes, epoch, chunk):
    data = table(samples)
    whole = rows(data.epoch(epoch, batch_size=1))
    before, memory.CHUNK = memory.CHUNK, chunk
    try:
        seen, start = [], 0
        for size in sizes:
            batch, n = next(data.epoch(epoch, batch_size=size, start=start), (None, 0))
            if batch is None:
                break
            assert n == min(size, samples - start)
            seen += batch[1].tolist()
            start += n
        seen += rows(data.epoch(epoch, batch_size=sizes[0], start=start))
    finally:
        memory.CHUNK = before
    assert seen == whole


def test_steps_counts_the_batches_there_are():
    data = table(10)
    for start in range(11):
        assert data.steps(4, start) == len(list(data.epoch(0, batch_size=4, start=start)))


def test_a_batch_has_the_form_of_the_data():
    a, b, y = torch.randn(6, 2), torch.randn(6, 3), torch.arange(6)
    for data in (({"a": a, "b": b}, y), ((a, b), y), {"a": a, "y": y}, [a, y], a):
        (batch, n), *_ = InMemory(data, InOrder(6)).epoch(0, batch_size=4)
        assert n == 4
        assert type(batch) is type(data)
        if isinstance(data, tuple):
            assert type(batch[0]) is type(data[0])
            assert torch.equal(batch[1], y[:4])
        elif isinstance(data, dict):
            assert list(batch) == ["a", "y"]
            assert torch.equal(batch["a"], a[:4])


@pytest.mark.parametrize("order", [InOrder(8), Shuffled(8, 0)])
def test_what_a_step_writes_into_its_batch_does_not_reach_the_data(order):
    data = table(8, order)
    before = [batch[0].clone() for batch, _ in data.epoch(0, batch_size=4)]
    for batch, _ in data.epoch(0, batch_size=4):
        batch[0].zero_()
    assert all(
        torch.equal(batch[0], x)
        for (batch, _), x in zip(data.epoch(0, batch_size=4), before, strict=True)
    )


def test_rows_choose_the_samples_without_copying_the_data():
    chosen = torch.tensor([1, 4, 7])
    data = table(9, InOrder(3), rows=chosen)
    assert rows(data.epoch(0, batch_size=2)) == [1, 4, 7]
    assert sorted(rows(table(9, Shuffled(3, 0), rows=chosen).epoch(0, batch_size=2))) == [1, 4, 7]


def test_data_too_large_for_the_device_is_copied_batch_by_batch(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 10)
    data = table(9)
    data.to(torch.device("meta"))
    assert data._data[0].device.type == "cpu"
    for (x, y), n in data.epoch(0, batch_size=4):
        assert x.device.type == y.device.type == "meta"
        assert x.shape == (n, 3)
    monkeypatch.setattr(memory, "free_memory", lambda device: 10**6)
    data.to(torch.device("meta"))
    assert data._data[0].device.type == "meta"


def test_iterating_leaves_every_global_generator_alone():
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    list(table(100).epoch(0, batch_size=8))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()


def test_a_batch_costs_a_few_microseconds():
    data = InMemory((torch.randn(1437, 64), torch.arange(1437)), Shuffled(1437, 0))
    threads, best = torch.get_num_threads(), 1.0
    # Two threads of ours would wait for each other where other programs are busy.
    torch.set_num_threads(1)
    try:
        for _ in range(20):
            begin = time.perf_counter()
            count = sum(1 for epoch in range(5) for _ in data.epoch(epoch, batch_size=64))
            best = min(best, (time.perf_counter() - begin) / count)
    finally:
        torch.set_num_threads(threads)
    # About 3.5 µs where nothing else runs; a DataLoader takes about 200.
    assert best < 20e-6
