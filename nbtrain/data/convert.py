"""From arrays, frames and lists to tensors that can be trained on, or a clear `DataError`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nbtrain.data.batches import Notes
from nbtrain.data.tree import tensors
from nbtrain.errors import DataError

_SLICE = 2**24
_WIDER = {"u2": np.int32, "u4": np.int64, "u8": np.int64}


def is_frame(value: Any) -> bool:
    """Whether ``value`` is a pandas DataFrame."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_series(value: Any) -> bool:
    """Whether ``value`` is a pandas Series or Index."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.Series, pandas.Index))


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array of numbers, in any of the forms users hold."""
    return isinstance(value, (Tensor, np.ndarray)) or is_frame(value) or is_series(value)


def tensor(value: Any, where: str) -> Tensor:
    """A tensor of the numbers of one array, in whatever form the user holds it.

    Raises:
        DataError: if it holds no numbers; ``where`` is what to call it.
    """
    return _tensor(value, where, _features_hint)


def features(value: Any, where: str, notes: Notes, dtype: torch.dtype) -> Any:
    """A tree of tensors from features: an array, or a dict or tuple of arrays.

    Args:
        value: what the user gave.
        where: what to call it in messages.
        notes: hears what was changed.
        dtype: the type that float64 becomes.

    Raises:
        DataError: if a part is no array of finite numbers.
    """
    if isinstance(value, Mapping):
        if not value:
            raise DataError(f"{where} is an empty dict. Put at least one array into it.")
        return {
            str(key): features(part, f"{where}[{key!r}]", notes, dtype)
            for key, part in value.items()
        }
    if isinstance(value, tuple):
        if not value:
            raise DataError(f"{where} is an empty tuple. Put at least one array into it.")
        return tuple(
            features(part, f"{where}[{place}]", notes, dtype) for place, part in enumerate(value)
        )
    result = _tensor(value, where, _features_hint)
    if result.ndim == 0:
        raise DataError(f"{where} is a single number. Give an array with one row per sample.")
    if result.dtype == torch.bool or (
        is_frame(value) and not result.is_floating_point() and not result.is_complex()
    ):
        notes.add(f"{_sentence(where)} became {_short(dtype)} from {_short(result.dtype)}.")
        result = result.to(dtype)
    elif result.dtype == torch.float64 and dtype != torch.float64:
        notes.add(f"{_sentence(where)} became {_short(dtype)} from float64.")
        result = result.to(dtype)
    check_finite(result, where, value)
    return result


def targets(value: Any, where: str, notes: Notes, dtype: torch.dtype) -> Tensor:
    """Targets as a tensor: classes as int64, numbers as floats.

    Raises:
        DataError: if they are words, objects or not finite.
    """
    if isinstance(value, (Mapping, tuple)) and not _numbers(value):
        raise DataError(
            f"{where} must be one array of targets, not a {type(value).__name__}. "
            "For two sets of data give train_data = X_train, y_train and "
            "val_data = X_val, y_val."
        )
    result = _tensor(value, where, _targets_hint)
    if result.ndim == 0:
        raise DataError(f"{where} is a single number. Give one target per sample.")
    if result.dtype == torch.bool:
        result = result.to(dtype)
        notes.add(f"{_sentence(where)}: true and false became 1.0 and 0.0.")
    elif result.is_floating_point():
        if result.dtype == torch.float64:
            result = result.to(dtype)
        check_finite(result, where, value)
    elif not result.is_complex():
        result = result.to(torch.int64)
    if result.ndim == 2 and result.shape[1] == 1:
        if result.is_floating_point():
            notes.add(
                f"{_sentence(where)} have shape ({len(result):,}, 1), so the model's output "
                "needs a last dimension of 1 too."
            )
        else:
            notes.add(
                f"{_sentence(where)} had shape ({len(result):,}, 1) and became ({len(result):,},)."
            )
            result = result[:, 0]
    return result


def frame_and_target(frame: Any, target: Any, where: str) -> tuple[Any, Any]:
    """A frame's features and its target column (or columns, for a list of names).

    Raises:
        DataError: if there is no such column, or no other.
    """
    columns = [target] if isinstance(target, str) else list(target)
    for column in columns:
        if column not in frame.columns:
            import difflib

            names = [str(name) for name in frame.columns]
            near = difflib.get_close_matches(str(column), names, n=1)
            raise DataError(
                f"{where} has no column {column!r} for the target. "
                + (f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(names[:20])}.")
            )
    rest = frame.drop(columns=columns)
    if rest.shape[1] == 0:
        raise DataError(
            f"{where} holds only the target {target!r}. Add the columns to predict it from."
        )
    return rest, frame[target if isinstance(target, str) else columns]


def check_lengths(parts: Mapping[str, Any]) -> int:
    """The length that all parts share. Raises `DataError` naming the first that differs."""
    first_name, length = "", -1
    for name, tree in parts.items():
        for tensor in tensors(tree):
            if length < 0:
                first_name, length = name, len(tensor)
            elif len(tensor) != length:
                raise DataError(
                    f"{_sentence(first_name)} and {name} differ in length: {length:,} and "
                    f"{len(tensor):,}. They need one row per sample each, in the same order."
                )
    if length == 0:
        raise DataError(
            f"There are 0 samples: {first_name} {_is(first_name)} empty. Check how it was loaded."
        )
    return length


def check_finite(tensor: Tensor, where: str, source: Any = None) -> None:
    """Raise `DataError` with counts and places if ``tensor`` holds NaN or infinity."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return
    rows = max(1, _SLICE // max(1, tensor[:1].numel()))
    if all(bool(torch.isfinite(piece).all()) for piece in torch.split(tensor, rows)):
        return
    nan, infinite = int(tensor.isnan().sum()), int(tensor.isinf().sum())
    flat = (~torch.isfinite(tensor)).reshape(len(tensor), -1)
    row = int(flat.any(1).nonzero()[0])
    counts = [f"{nan:,} NaN" if nan else "", f"{infinite:,} infinite" if infinite else ""]
    counted = " and ".join(filter(None, counts))
    place = f"the first in row {row:,}"
    if tensor.ndim == 2:
        wrong = flat.any(0).nonzero()[:, 0].tolist()
        names = [repr(source.columns[c]) for c in wrong] if is_frame(source) else map(str, wrong)
        shown = list(names)
        more = f" and {len(shown) - 8:,} more" if len(shown) > 8 else ""
        place += f", in {'column' if len(shown) == 1 else 'columns'} {', '.join(shown[:8])}{more}"
    what = "value" if nan + infinite == 1 else "values"
    advice = (
        "Drop or fill them first, for example with X = X.fillna(X.mean())."
        if is_frame(source) or is_series(source)
        else "Drop those rows or fill them first, for example with numpy.nan_to_num(X)."
    )
    raise DataError(
        f"{_sentence(where)} {_verb(where)} {counted} {what}, {place}. One is enough to turn "
        f"the weights into NaN. {advice}"
    )


# ── one array to one tensor ──────────────────────────────────────────────────────────────


def _tensor(value: Any, where: str, hint: Any) -> Tensor:
    """``value`` as a tensor on the CPU, in a type that torch computes with."""
    if isinstance(value, Tensor):
        if value.is_sparse or value.layout != torch.strided:
            raise DataError(f"{_sentence(where)} is sparse. Make it dense with .to_dense().")
        return value.detach().cpu()
    if is_frame(value):
        wrong = [
            name
            for name, kind in zip(value.columns, value.dtypes, strict=True)
            if not _numeric(kind)
        ]
        if wrong:
            raise DataError(hint(where, value, [str(name) for name in wrong]))
        return _from_numpy(_frame_array(value), where)
    if is_series(value):
        if not _numeric(value.dtype):
            raise DataError(hint(where, value, [str(value.name)] if value.name else []))
        return _from_numpy(_frame_array(value), where)
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise DataError(f"{_sentence(where)} is sparse. Make it dense with .toarray().")
    if isinstance(value, (list, tuple)):
        value = _list_array(value, where)
        if isinstance(value, Tensor):
            return value
    if not isinstance(value, np.ndarray):
        if not hasattr(value, "__array__"):
            raise DataError(
                f"{_sentence(where)} is a {type(value).__name__}, which holds no numbers to "
                "train on. Give a NumPy array, a tensor, a pandas frame, a Dataset or a "
                "DataLoader."
            )
        value = np.asarray(value)
    if value.dtype.kind not in "fiubc":
        raise DataError(hint(where, value, []))
    return _from_numpy(value, where)


def _from_numpy(array: Any, where: str) -> Tensor:
    if isinstance(array, np.ma.MaskedArray):
        if array.mask.any():
            raise DataError(
                f"{_sentence(where)} is a masked array with {int(array.mask.sum()):,} values "
                "masked. Fill them first, with .filled(value)."
            )
        array = array.data
    if array.dtype.byteorder not in "=|" and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    wider = _WIDER.get(array.dtype.str[1:])
    if wider is not None:
        array = array.astype(wider)
    elif array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(np.asarray(array))


def _frame_array(value: Any) -> Any:
    # Nullable integers and booleans hold their missing values as objects.
    dtypes = value.dtypes if is_frame(value) else [value.dtype]
    if any(getattr(kind, "na_value", None) is not None for kind in dtypes):
        if bool(value.isna().to_numpy().any()):
            return value.to_numpy(dtype="float64", na_value=np.nan)
        if not is_frame(value):
            return value.to_numpy(dtype=getattr(value.dtype, "numpy_dtype", "float64"))
    array = value.to_numpy()
    return array.astype("float64") if array.dtype == object else array


def _numeric(kind: Any) -> bool:
    from pandas.api import types

    return bool(
        (types.is_numeric_dtype(kind) or types.is_bool_dtype(kind))
        and not isinstance(kind, sys.modules["pandas"].CategoricalDtype)
    )


def _list_array(value: Sequence[Any], where: str) -> Any:
    if value and isinstance(value[0], Tensor):
        if not all(isinstance(part, Tensor) and part.shape == value[0].shape for part in value):
            raise DataError(
                f"{_sentence(where)} is a list of tensors that differ in shape. Pad or crop "
                "them to one shape, or give a DataLoader with a collate_fn that does."
            )
        return torch.stack([part.detach().cpu() for part in value])
    try:
        return np.asarray(value)
    except ValueError:
        raise DataError(
            f"{_sentence(where)} is a list whose rows differ in length. Pad or crop them to "
            "one length, or give a DataLoader with a collate_fn that does."
        ) from None


def _numbers(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(part, (int, float)) for part in value)


def _features_hint(where: str, value: Any, columns: list[str]) -> str:
    if columns:
        shown = ", ".join(repr(name) for name in columns[:8])
        more = f" and {len(columns) - 8} more" if len(columns) > 8 else ""
        noun, verb = ("Column", "holds") if len(columns) == 1 else ("Columns", "hold")
        return (
            f"{noun} {shown}{more} of {where} {verb} no numbers. Encode or drop them first, "
            "for example with pandas.get_dummies(X)."
        )
    return (
        f"{_sentence(where)} {_verb(where)} {_kind(value)} rather than numbers. "
        "Encode them first, for example with pandas.get_dummies(X)."
    )


def _targets_hint(where: str, value: Any, columns: list[str]) -> str:
    flat = np.asarray(value, dtype=object).ravel()
    shown = ", ".join(repr(item) for item in flat[:3])
    return (
        f"{_sentence(where)} {_verb(where)} {_kind(value)} rather than numbers ({shown}, …). "
        "Encode classes as integers first: y = sklearn.preprocessing.LabelEncoder()"
        ".fit_transform(y)."
    )


def _kind(value: Any) -> str:
    flat = np.asarray(value, dtype=object).ravel()
    if len(flat) and all(isinstance(item, str) for item in flat[:100]):
        return "words"
    kind = str(getattr(value, "dtype", ""))
    if "datetime" in kind or "timedelta" in kind:
        return "dates"
    return "objects"


def _verb(where: str) -> str:
    return "hold" if where.startswith("the ") and where.split()[1].endswith("s") else "holds"


def _is(where: str) -> str:
    return "are" if _verb(where) == "hold" else "is"


def _sentence(text: str) -> str:
    """``text`` as a sentence begins; names of variables stay as they are."""
    return text[0].upper() + text[1:] if text.startswith("the ") else text


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
