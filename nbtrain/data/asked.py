"""What a model is asked about, in batches of the form that it was trained on."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nbtrain.data import convert, hugging
from nbtrain.data.batches import Batches, Notes
from nbtrain.data.recognise import recognise
from nbtrain.data.sources import Context
from nbtrain.data.tree import LABELS, split_batch, split_rows, tensors, transform
from nbtrain.errors import DataError


def form_of(inputs: Any) -> Any:
    """The form of a batch of inputs: tensors without their numbers in the same tree, and None
    in place of anything that is no tensor."""
    if isinstance(inputs, Tensor):
        return inputs.to("meta")
    if isinstance(inputs, Mapping):
        return {str(key): form_of(value) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(form_of(value) for value in inputs)
    return None


def batches_of(value: Any, form: Any, dtype: torch.dtype, rows: int) -> Iterator[Any]:
    """Inputs for a model, in batches of up to ``rows`` samples.

    Args:
        value: arrays like the features of the training data, alone or with their targets; or a
            Dataset, a DataLoader or a Hugging Face dataset, whose targets are left out.
        form: of the inputs in training, see `form_of`; None where that is not known.
        dtype: the type that floating-point inputs get.

    Raises:
        DataError: where ``value`` has another form.
    """
    if _is_dataset(value):
        yield from _read(value, form, dtype, rows)
        return
    tree = _fitted(value, form, "the inputs")
    tree = transform(lambda t: t.to(dtype) if t.is_floating_point() else t, tree)
    found = list(tensors(tree))
    if any(tensor.ndim == 0 for tensor in found):
        raise DataError("predict needs a row a sample, and this is a single number.")
    if not found or not all(map(len, found)):
        return
    _check_lengths(tree)
    yield from split_rows(tree, rows)


def _is_dataset(value: Any) -> bool:
    if isinstance(value, (Dataset, DataLoader)):
        return True
    if isinstance(value, list) and value:
        # Samples one by one, as a list of them may be trained on.
        first = value[0]
        whole = isinstance(first, tuple) and not all(isinstance(p, (int, float)) for p in first)
        return whole or isinstance(first, Mapping)
    return hugging.is_dataset(value) or hugging.is_stream(value)


def _read(value: Any, form: Any, dtype: torch.dtype, rows: int) -> Iterator[Any]:
    source = recognise(value, "inputs", Context(seed=0, dtype=dtype, notes=Notes(), step=True))
    batches = source.make(None, False)
    size = batches.batch_size or rows
    with closing(batches), closing(_epoch(batches, size)) as epoch:
        for batch in epoch:
            inputs = split_batch(batch, source.label)[0]
            if isinstance(form, tuple) and isinstance(batch, (tuple, list)):
                # Samples to predict may come without targets.
                inputs = tuple(batch) if len(batch) == len(form) else inputs
            if isinstance(inputs, Mapping):
                kept = {k: v for k, v in inputs.items() if next(tensors(v), None) is not None}
                inputs = {k: v for k, v in kept.items() if _wanted(k, form)}
            if form is not None:
                inputs = _fitted(inputs, form, "the inputs")
            yield transform(lambda t: t.to(dtype) if t.is_floating_point() else t, inputs)


def _epoch(batches: Batches, size: int) -> Generator[Any]:
    for batch, _ in batches.epoch(0, batch_size=size):
        yield batch


def _wanted(key: Any, form: Any) -> bool:
    return str(key) in form if isinstance(form, Mapping) else True


def _fitted(value: Any, form: Any, where: str) -> Any:
    """``value`` as a tree of tensors of the form ``form``."""
    if form is None:
        return _plain(value, where)
    if isinstance(value, tuple) and len(value) == 2 and _with_targets(value[0], form):
        value = value[0]
    if isinstance(form, Tensor):
        if isinstance(value, Mapping):
            value = _only(value, where)
        result = _plain(value, where)
        if isinstance(result, tuple):
            raise DataError(
                f"The model takes one array, and {where} are {len(result)} of them. Give one."
            )
        return _checked(result, form, value)
    if isinstance(form, Mapping):
        return _named(value, form, where)
    if not isinstance(value, (tuple, list)) or len(value) != len(form):
        count = f"{len(value)} parts" if isinstance(value, (tuple, list)) else _described(value)
        raise DataError(
            f"The model takes {len(form)} arrays, in a tuple, and {where} are {count}. Give them "
            "in the order of the training data."
        )
    return tuple(
        _fitted(part, one, f"{where}[{place}]")
        for place, (part, one) in enumerate(zip(value, form, strict=True))
    )


def _with_targets(first: Any, form: Any) -> bool:
    """Whether ``first`` are the inputs of a pair of inputs and targets."""
    if isinstance(form, Tensor):
        return convert.is_array(first) or isinstance(first, list)
    if isinstance(form, Mapping):
        return isinstance(first, Mapping)
    return isinstance(first, tuple) and len(first) == len(form)


def _only(value: Mapping[Any, Any], where: str) -> Any:
    """The one array of a dict that is no target."""
    rest = [key for key in value if key not in LABELS]
    if len(rest) != 1:
        keys = ", ".join(map(repr, value)) or "nothing"
        raise DataError(
            f"The model takes one array, and {where} are a dict that holds {keys}. Give the "
            "array alone."
        )
    return value[rest[0]]


def _named(value: Any, form: Mapping[str, Any], where: str) -> dict[str, Any]:
    keys = ", ".join(map(repr, form))
    if not isinstance(value, Mapping):
        raise DataError(
            f"The model takes a dict with {keys}, and {where} are {_described(value)}. Give a "
            "dict of arrays, as the training data was."
        )
    given = {str(key): part for key, part in value.items()}
    if missing := [key for key in form if key not in given]:
        raise DataError(
            f"The model takes a dict with {keys}, and {where} lack "
            f"{', '.join(map(repr, missing))}. Add an array of that name."
        )
    if extra := [key for key in given if key not in form and key not in LABELS]:
        raise DataError(
            f"The model was not trained on {', '.join(map(repr, extra))}: it takes a dict with "
            f"{keys}. Leave the others out."
        )
    return {key: _fitted(given[key], one, f"{where}[{key!r}]") for key, one in form.items()}


def _plain(value: Any, where: str) -> Any:
    """``value`` as tensors, whatever its form."""
    if isinstance(value, Mapping):
        return {key: _plain(part, f"{where}[{key!r}]") for key, part in value.items()}
    if isinstance(value, tuple) and not all(isinstance(part, (int, float)) for part in value):
        return tuple(_plain(part, f"{where}[{place}]") for place, part in enumerate(value))
    if isinstance(value, Tensor):
        return value  # where it lies: a batch at a time is moved
    if isinstance(value, (int, float)):
        return torch.tensor(value)
    return convert.tensor(value, where)


def _checked(result: Tensor, form: Tensor, value: Any) -> Tensor:
    """``result``, if its rows are like those of the training data."""
    if 0 < result.ndim == form.ndim - 1:
        first = "inputs.to_frame().T" if convert.is_series(value) else "inputs[None]"
        if isinstance(value, (list, tuple)):
            first = "[inputs]"
        raise DataError(
            f"predict takes rows, and this is one sample alone, of shape {tuple(result.shape)}. "
            f"Make it one row: {first}."
        )
    # Pictures and sequences may differ in size; the features of a table may not.
    if result.ndim == form.ndim == 2 and result.shape[1] != form.shape[1]:
        more = ""
        if convert.is_frame(value) and result.shape[1] == form.shape[1] + 1:
            more = " Drop the column to predict first: inputs.drop(columns=…)."
        raise DataError(
            f"Each row of the inputs has {_numbers(result.shape[1])}, but the model was trained "
            f"on rows of {form.shape[1]:,}.{more or ' Prepare them like the training data.'}"
        )
    if form.is_floating_point() and not (result.is_floating_point() or result.is_complex()):
        return result.to(form.dtype)  # as whole numbers of a frame were for training
    return result


def _check_lengths(tree: Any) -> None:
    if isinstance(tree, Tensor):
        return
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    convert.check_lengths({f"the inputs[{key!r}]": part for key, part in pairs})


def _numbers(count: int) -> str:
    return "1 number" if count == 1 else f"{count:,} numbers"


def _described(value: Any) -> str:
    return f"a {type(value).__name__}"
