"""Which kind of data a user's value is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from nbtrain.data import convert, hugging, mapstyle, sources, streams
from nbtrain.data.sources import Context, Source
from nbtrain.errors import DataError

WAYS = (
    'Give (X, y), (frame, "column"), a dict of arrays, a Dataset, a DataLoader or a '
    "Hugging Face dataset."
)


def recognise(value: Any, name: str, context: Context) -> Source:
    """The source that ``value`` is.

    Args:
        value: what the user gave as ``data``, ``train_data`` or ``val_data``.
        name: which of them, for messages.
        context: seed, type of features, notes.

    Raises:
        DataError: if it is nothing that can be trained on; says what can.
    """
    of = "" if name == "data" else f" of {name}"
    if hugging.is_dataset(value):
        return hugging.dataset(value, name, context)
    if hugging.is_stream(value):
        return hugging.stream(value, name, context)
    if isinstance(value, DataLoader):
        return mapstyle.loader(value, name, context)
    if isinstance(value, IterableDataset):
        return streams.stream(value, name, context)
    if convert.is_frame(value):
        return sources.frame(value, of, context)
    if convert.is_array(value):
        return sources.alone(value, of, context)
    if isinstance(value, Mapping):
        return sources.columns(value, of, context)
    if isinstance(value, tuple):
        return _tuple(value, name, of, context)
    if isinstance(value, list):
        return _list(value, name, of, context)
    if isinstance(value, Dataset) or _is_indexed(value):
        return mapstyle.dataset(value, name, context)
    if not isinstance(value, (str, bytes, type, Iterator)) and hasattr(value, "__iter__"):
        reason = f"the {type(value).__name__} makes its batches by itself"
        return streams.iterated(value, reason, mapstyle.AS_IT_IS, name, context)
    raise DataError(f"{name} is {_described(value)}. {WAYS}")


def _tuple(value: tuple[Any, ...], name: str, of: str, context: Context) -> Source:
    if len(value) == 0:
        raise DataError(f"{name} is an empty tuple. {WAYS}")
    if len(value) == 1 or (len(value) == 2 and value[1] is None):
        return recognise(value[0], name, context)
    if len(value) == 4 and all(map(convert.is_array, value)):
        raise DataError(
            f"{name} has four parts, as train_test_split returns them. Give them as "
            "train_data = X_train, y_train and val_data = X_test, y_test."
        )
    if len(value) != 2:
        raise DataError(
            f"{name} has {len(value)} parts, where (X, y) has two. A model with several "
            "inputs takes ((X1, X2), y)."
        )
    inputs, targets = value
    if isinstance(inputs, Dataset | DataLoader) or isinstance(targets, Dataset | DataLoader):
        raise DataError(f"{name} is a pair of datasets. Give them as train_data and val_data.")
    if convert.is_frame(inputs) and (isinstance(targets, str) or _names(targets)):
        rest, column = convert.frame_and_target(inputs, targets, f"The frame{of}")
        return sources.pair(rest, column, of, context)
    if isinstance(targets, str):
        raise DataError(
            f"{name} names a target column {targets!r}, but its first part is "
            f"{_described(inputs)}. Only a pandas frame has named columns."
        )
    return sources.pair(inputs, targets, of, context)


def _list(value: list[Any], name: str, of: str, context: Context) -> Source:
    if not value:
        raise DataError(f"{name} is an empty list: 0 samples. Check how it was loaded.")
    if len(value) == 2 and all(map(convert.is_array, value)):
        return sources.pair(value[0], value[1], of, context)
    first = value[0]
    if isinstance(first, Mapping) or (
        isinstance(first, tuple) and not all(isinstance(part, (int, float)) for part in first)
    ):
        return mapstyle.dataset(value, name, context)
    return sources.alone(value, of, context)


def _is_indexed(value: Any) -> bool:
    """Whether ``value`` is a dataset by what it does, though by no class of PyTorch's."""
    if isinstance(value, (str, bytes, type, Mapping)) or hasattr(value, "__array__"):
        return False
    return hasattr(value, "__getitem__") and hasattr(value, "__len__")


def _names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _described(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, (str, bytes)):
        return "a string" if isinstance(value, str) else "bytes"
    if isinstance(value, (int, float, complex, np.number)):
        return "a single number"
    if isinstance(value, Iterator):
        return "an iterator, which can be read only once"
    if isinstance(value, type):
        return f"the class {value.__name__} itself, not an object of it"
    if isinstance(value, Tensor):
        return "a tensor"
    return f"a {type(value).__name__}"
