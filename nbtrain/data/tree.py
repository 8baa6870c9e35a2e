"""Batches are trees: tensors in tuples, lists and dicts. Functions over such trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors of ``tree``, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from tensors(value)
    elif isinstance(tree, (tuple, list)):
        for value in tree:
            yield from tensors(value)


def transform(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """``tree`` with ``function`` of each tensor in the tensor's place."""
    if isinstance(tree, Tensor):
        return function(tree)
    if type(tree) is dict:
        return {key: transform(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(transform(function, value) for value in tree))
    if type(tree) in (tuple, list):
        return type(tree)(transform(function, value) for value in tree)
    return tree


def move(tree: Any, device: torch.device) -> Any:
    """``tree`` on ``device``, by copies that do not wait where its memory is pinned.

    Other objects than tensors are moved by their own ``to``, where they have one.
    """
    if isinstance(tree, Tensor):
        return tree.to(device, non_blocking=True)
    if type(tree) is dict:
        return {key: move(value, device) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(move(value, device) for value in tree))
    if type(tree) in (tuple, list):
        return type(tree)(move(value, device) for value in tree)
    own = getattr(tree, "to", None)
    return own(device) if callable(own) else tree


def size(batch: Any) -> int:
    """The number of samples in ``batch``: the length of its first tensor.

    Without tensors it is the number of its graphs, or the length of its first list of
    objects, such as sentences, or else 1.
    """
    first = next(tensors(batch), None)
    if first is not None:
        return first.shape[0] if first.ndim else 1
    graphs = getattr(batch, "num_graphs", None)
    if isinstance(graphs, int):
        return graphs
    while isinstance(batch, (Mapping, tuple, list)) and batch:
        inner = next(iter(batch.values())) if isinstance(batch, Mapping) else batch[0]
        if isinstance(batch, list) and not isinstance(inner, (Mapping, tuple, list, int, float)):
            return len(batch)
        batch = inner
    return 1


def split_rows(tree: Any, rows: int) -> Iterator[Any]:
    """``tree`` in pieces of ``rows`` rows, each of the form of ``tree``.

    The pieces are views, joined by iterators that run in C: about 1 µs a piece.
    """
    if isinstance(tree, Tensor):
        return iter(tree.split(rows))
    if isinstance(tree, Mapping):
        keys = tuple(tree)
        pieces = zip(*(split_rows(value, rows) for value in tree.values()), strict=True)
        return (dict(zip(keys, piece, strict=True)) for piece in pieces)
    together = zip(*(split_rows(value, rows) for value in tree), strict=True)
    if isinstance(tree, list):
        return map(list, together)
    return together


LABELS = ("label", "labels", "target", "targets", "y")
"""Names by which a column of targets is found."""


def find_label(names: Any) -> str | None:
    """The first of ``names`` that is a usual name for targets, or None."""
    for label in LABELS:
        if label in names:
            return label
    return None


def split_batch(batch: Any, label: str | None) -> tuple[Any, Any]:
    """(inputs, targets) of ``batch``; targets is None where the batch is the input alone.

    A pair is split as it stands. Of more than two parts the last is the target. A dict
    with ``label`` gives the rest of its tensors, or its only other tensor, as inputs.
    """
    if isinstance(batch, Mapping):
        if label is None or label not in batch:
            return batch, None
        rest = {
            key: value
            for key, value in batch.items()
            if key != label and next(tensors(value), None) is not None
        }
        return (next(iter(rest.values())) if len(rest) == 1 else rest), batch[label]
    if isinstance(batch, (tuple, list)) and batch:
        if len(batch) == 1:
            return batch[0], None
        if len(batch) == 2:
            return batch[0], batch[1]
        return tuple(batch[:-1]), batch[-1]
    return batch, None
