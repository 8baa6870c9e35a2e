"""Sources of Hugging Face datasets."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nbtrain.data import mapstyle, sources, streams
from nbtrain.data.sources import Context, Source
from nbtrain.data.tree import find_label
from nbtrain.errors import DataError

IN_MEMORY = 256 * 2**20
"""Bytes up to which a dataset of plain numbers is read into memory."""

_TRAINING = ("train", "training")
_VALIDATION = ("validation", "valid", "val", "dev")


def _is(value: Any, *names: str) -> bool:
    module = sys.modules.get("datasets")
    return module is not None and isinstance(value, tuple(getattr(module, n) for n in names))


def is_dataset(value: Any) -> bool:
    """Whether ``value`` is a map-style dataset of Hugging Face."""
    return _is(value, "Dataset")


def is_stream(value: Any) -> bool:
    """Whether ``value`` is a streamed dataset of Hugging Face."""
    return _is(value, "IterableDataset")


def parts(value: Any, context: Context) -> tuple[Any, Any] | None:
    """(training data, validation data or None) of a dict of splits, such as a
    `DatasetDict`; None if ``value`` is no such dict.

    Raises:
        DataError: if it has no split to train on.
    """
    known = {*_TRAINING, *_VALIDATION, "test"}
    ours = _is(value, "DatasetDict", "IterableDatasetDict")
    if not ours and not (isinstance(value, dict) and value and set(value) <= known):
        return None
    train = next((value[key] for key in _TRAINING if key in value), None)
    if train is None:
        raise DataError(
            f"data has no split to train on, only {', '.join(map(repr, value))}. "
            "Choose one, as in data = data['...']."
        )
    val = next((value[key] for key in _VALIDATION if key in value), None)
    if val is None and "test" in value:
        context.notes.add("The split 'test' is left alone; to validate on it give it as val_data.")
    return train, val


def dataset(value: Any, name: str, context: Context) -> Source:
    """A source of a `datasets.Dataset`; plain numbers are read into memory."""
    if len(value) == 0:
        raise DataError(f"The dataset in {name} is empty: 0 samples. Check how it was loaded.")
    label = find_label(value.column_names)
    targets = classes = None
    if label is not None:
        feature = value.features[label]
        classes = getattr(feature, "num_classes", None)
        if getattr(feature, "dtype", None) in ("string", "large_string") and not context.step:
            raise DataError(
                f"The column {label!r} of {name} holds words. Encode them first: "
                f"data = data.class_encode_column({label!r})."
            )
        targets = _column(value, label)
    arrays = _numbers(value)
    if arrays is not None:
        source = sources.columns(arrays, "" if name == "data" else f" of {name}", context)
        return replace(source, classes=classes)
    formatted = value.with_format("torch") if value.format["type"] is None else value
    return mapstyle.mapped(
        formatted,
        range(len(value)),
        len(value),
        name,
        context,
        label=label,
        targets=targets,
        classes=classes,
    )


def stream(value: Any, name: str, context: Context) -> Source:
    """A source of a `datasets.IterableDataset`."""
    formatted = value if getattr(value, "_formatting", None) else value.with_format("torch")
    return streams.stream(formatted, name, context)


def _numbers(value: Any) -> dict[str, Any] | None:
    """The columns as arrays, if the dataset is small, without transforms and all numbers."""
    plain = value.format["type"] in (None, "torch", "numpy")
    if not plain or value.data.nbytes > IN_MEMORY:
        return None
    if not all(map(_is_numeric, value.features.values())):
        return None
    arrays = {key: _array(value, key) for key in value.column_names}
    return arrays if all(array.dtype.kind in "fiub" for array in arrays.values()) else None


def _is_numeric(feature: Any) -> bool:
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return _is_numeric(inner)
    if hasattr(feature, "num_classes"):
        return True
    return hasattr(feature, "dtype") and str(feature.dtype).startswith(
        ("int", "uint", "float", "bool")
    )


def _array(value: Any, key: str) -> Any:
    return np.asarray(value.select_columns([key]).with_format("numpy")[:][key])


def _column(value: Any, key: str) -> Tensor | None:
    array = _array(value, key)
    return torch.from_numpy(array.astype(np.int64)) if array.dtype.kind in "iu" else None
