"""Which kind of data a user's value is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from nbtrain.data import convert, sources
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
    return sources.alone(value, of, context)


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
