"""What users hand over, recognised: each kind becomes a `Source`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nbtrain.data import convert
from nbtrain.data.batches import Batches, Notes
from nbtrain.data.memory import InMemory
from nbtrain.data.order import InOrder, Order, Shuffled
from nbtrain.data.tree import find_label, tensors, transform
from nbtrain.errors import DataError

COPIED = 2**30
"""Bytes up to which data in memory is copied, so that what a later cell writes into the
user's arrays does not change a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every source needs to know.

    ``seed`` is the run's, ``dtype`` the type of features, ``notes`` hears what was inferred,
    and ``step`` is true where the user's own step takes batches as they come.
    """

    seed: int
    dtype: torch.dtype
    notes: Notes
    step: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One set of samples and how to make batches of it.

    ``targets`` are those of all samples if ``complete``, else of a few, or None.
    ``classes`` is their number where the data itself says so. ``label`` is the key of the
    targets in a batch that is a dict. ``whole`` says why it cannot be split, or is None.
    ``make(rows, training)`` gives the batches of some rows, or of all for None.
    """

    samples: int | None
    example: Any
    targets: Tensor | None
    complete: bool
    prints: tuple[Any, ...]
    make: Callable[[Tensor | None, bool], Batches]
    classes: int | None = None
    label: str | None = None
    whole: str | None = None


def order_of(samples: int, training: bool, seed: int) -> Order:
    """Training data is shuffled every epoch, validation data never."""
    return Shuffled(samples, seed) if training else InOrder(samples)


# ── data in memory ───────────────────────────────────────────────────────────────────────


def pair(inputs: Any, wanted: Any, name: str, context: Context) -> Source:
    """A source of ``(X, y)``."""
    x = convert.features(inputs, f"the features{name}", context.notes, context.dtype)
    y = convert.targets(wanted, f"the targets{name}", context.notes, context.dtype)
    samples = convert.check_lengths({f"the features{name}": x, f"the targets{name}": y})
    if _misaligned(inputs, wanted):
        context.notes.add(
            f"The features and the targets{name} have different indexes; they are paired row "
            "by row, as they stand."
        )
    return in_memory((x, y), samples, y, None, context.seed)


def alone(inputs: Any, name: str, context: Context) -> Source:
    """A source of inputs without targets, such as an autoencoder trains on."""
    x = convert.features(inputs, f"the data{name}", context.notes, context.dtype)
    samples = convert.check_lengths({f"the data{name}": x})
    return in_memory(x, samples, None, None, context.seed)


def columns(data: Mapping[Any, Any], name: str, context: Context) -> Source:
    """A source of a dict of arrays."""
    label = find_label(data)
    parts: dict[str, Any] = {}
    for key, value in data.items():
        read = convert.targets if key == label else convert.features
        parts[str(key)] = read(value, f"the data{name}[{key!r}]", context.notes, context.dtype)
    named = {f"the data{name}[{key!r}]": value for key, value in parts.items()}
    if not named:
        raise DataError(f"The data{name} is an empty dict. Put at least one array into it.")
    samples = convert.check_lengths(named)
    return in_memory(parts, samples, parts[label] if label else None, label, context.seed)


def frame(data: Any, name: str, context: Context) -> Source:
    """A source of a frame that does not say which column is the target."""
    label = find_label(data.columns)
    if label is None or data.shape[1] == 1:
        context.notes.add(
            f'The frame{name} is taken as inputs alone. To predict a column give (frame, "column").'
        )
        return alone(data, name, context)
    context.notes.add(f"The column {label!r} is taken as the target.")
    return pair(*convert.frame_and_target(data, label, f"The frame{name}"), name, context)


def in_memory(
    data: Any,
    samples: int,
    targets: Tensor | None,
    label: str | None,
    seed: int,
    *,
    ordered: Callable[[bool], Any] | None = None,
    batch_size: int | None = None,
    drop_last: bool = False,
    whole: str | None = None,
) -> Source:
    """A source of a tree of tensors.

    ``ordered`` gives the order of a user's own sampler, for training or not.
    """
    size = sum(t.numel() * t.element_size() for t in tensors(data))

    def make(rows: Tensor | None, training: bool) -> Batches:
        kept, chosen = data, rows
        if size <= COPIED:
            kept = transform(lambda t: t.clone() if rows is None else t.index_select(0, rows), data)
            chosen = None
        count = samples if rows is None else len(rows)
        order = ordered(training) if ordered else order_of(count, training, seed)
        return InMemory(kept, order, rows=chosen, batch_size=batch_size, drop_last=drop_last)

    return Source(
        samples=samples,
        example=transform(lambda t: t[:2].clone(), data),
        targets=targets,
        complete=True,
        prints=(data,),
        make=make,
        label=label,
        whole=whole,
    )


def _misaligned(inputs: Any, wanted: Any) -> bool:
    pandas = all(convert.is_frame(part) or convert.is_series(part) for part in (inputs, wanted))
    if not pandas or len(inputs) != len(wanted):
        return False
    first, second = (getattr(part, "index", None) for part in (inputs, wanted))
    return first is not None and second is not None and not first.equals(second)
