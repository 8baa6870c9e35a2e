"""Splits into training and validation data."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nbtrain.data.splits import split
from nbtrain.errors import DataError


@given(
    samples=st.integers(2, 200),
    share=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**40),
    classes=st.one_of(st.none(), st.integers(1, 8)),
)
def test_a_split_is_a_partition_that_the_seed_alone_decides(samples, share, seed, classes):
    targets = None if classes is None else torch.arange(samples) % classes
    train, val, _ = split(samples, share, seed, targets)
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(samples))
    assert len(train) >= 1
    assert len(val) >= 1
    assert train.tolist() == sorted(train.tolist())
    again = split(samples, share, seed, targets)
    assert torch.equal(train, again[0])
    assert torch.equal(val, again[1])


def test_each_class_keeps_its_share():
    targets = torch.tensor([0] * 90 + [1] * 10)
    _train, val, stratified = split(100, 0.2, 0, targets)
    assert stratified
    assert torch.bincount(targets[val]).tolist() == [18, 2]


@pytest.mark.parametrize(
    "targets",
    [
        torch.tensor([0] * 99 + [1]),
        torch.linspace(0, 1, 100),
        torch.arange(100),
        torch.zeros(100, 2, dtype=torch.int64),
        None,
    ],
)
def test_what_cannot_be_stratified_is_split_at_random(targets):
    _train, val, stratified = split(100, 0.2, 0, targets)
    assert not stratified
    assert len(val) == 20


def test_seeds_differ_and_global_generators_are_left_alone():
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    targets = torch.arange(100) % 3
    for classes in (None, targets):
        assert not torch.equal(split(100, 0.2, 0, classes)[1], split(100, 0.2, 1, classes)[1])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()


def test_one_sample_cannot_be_split():
    with pytest.raises(DataError, match="--val-split 0"):
        split(1, 0.2, 0, None)
