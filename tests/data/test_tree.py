"""Trees of tensors."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch

from nbtrain.data.tree import move, size, split_batch, transform

Pair = namedtuple("Pair", "x y")
X = torch.ones(4, 3)


@pytest.mark.parametrize(
    ("batch", "samples"),
    [
        (X, 4),
        ((X, X[:2]), 4),
        ({"text": ["a"] * 4, "x": X}, 4),
        (["one", "two", "three"], 3),
        ([["one", "two"], ["a", "b"]], 2),
        ((["one", "two"], ["a", "b"]), 2),
        ({"text": ["one", "two"]}, 2),
        ([0, 0.5], 1),
        ("one", 1),
        (torch.tensor(3.0), 1),
        (SimpleNamespace(num_graphs=7), 7),
        (object(), 1),
    ],
)
def test_the_samples_in_a_batch(batch, samples):
    assert size(batch) == samples


def test_a_tree_keeps_its_form():
    tree = {"a": (X, [X, "word"]), "b": Pair(X, None)}
    doubled = transform(lambda t: t * 2, tree)
    assert torch.equal(doubled["a"][1][0], X * 2)
    assert doubled["a"][1][1] == "word"
    assert isinstance(doubled["b"], Pair)
    moved = move(tree, torch.device("meta"))
    assert moved["a"][0].device.type == moved["b"].x.device.type == "meta"
    assert moved["a"][1][1] == "word"


def test_an_object_is_moved_by_its_own_method():
    class Graph:
        def to(self, device):
            return ("moved", device)

    assert move([Graph()], torch.device("meta")) == [("moved", torch.device("meta"))]


def test_inputs_and_targets():
    assert split_batch((1, 2), None) == (1, 2)
    assert split_batch([1, 2, 3], None) == ((1, 2), 3)
    assert split_batch((1,), None) == (1, None)
    assert split_batch({"x": X, "y": 2}, "y") == (X, 2)
    assert split_batch({"x": X, "text": ["a"], "y": 2}, "y") == (X, 2)
    assert split_batch({"x": X, "z": X, "y": 2}, "y") == ({"x": X, "z": X}, 2)
    assert split_batch({"x": X}, None) == ({"x": X}, None)
    assert split_batch(Pair(1, 2), None) == (1, 2)
