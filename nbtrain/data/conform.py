"""Types of a batch made fit for losses and models, as they are for data in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nbtrain.data.batches import Notes
from nbtrain.data.tree import split_batch, tensors, transform


def conforming(
    example: Any, label: str | None, dtype: torch.dtype, notes: Notes
) -> Callable[[Any], Any] | None:
    """What to do to batches like ``example``: float64 becomes ``dtype``, integer targets
    become int64 and boolean ones ``dtype``. None where nothing needs to be done.
    """
    floats = dtype != torch.float64 and any(t.dtype == torch.float64 for t in tensors(example))
    targets = split_batch(example, label)[1]
    kinds = {t.dtype for t in tensors(targets)}
    narrow = {k for k in kinds if _is_integer(k) and k != torch.int64}
    if floats:
        notes.add(f"What is float64 in a batch becomes {_short(dtype)}.")
    if narrow:
        notes.add(f"Integer targets become int64 from {', '.join(sorted(map(_short, narrow)))}.")
    if torch.bool in kinds:
        notes.add(f"Targets that are true or false become {_short(dtype)}.")
    if not (floats or narrow or torch.bool in kinds):
        return None

    def conform(batch: Any) -> Any:
        if floats:
            batch = transform(lambda t: t.to(dtype) if t.dtype == torch.float64 else t, batch)
        return _with_targets(batch, label, target) if narrow or torch.bool in kinds else batch

    def target(values: Tensor) -> Tensor:
        if values.dtype == torch.bool:
            return values.to(dtype)
        return values.to(torch.int64) if _is_integer(values.dtype) else values

    return conform


def _with_targets(batch: Any, label: str | None, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(batch, Mapping):
        if label is None or label not in batch:
            return batch
        return {**batch, label: transform(function, batch[label])}
    parts = [*batch[:-1], transform(function, batch[-1])]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def _is_integer(dtype: torch.dtype) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
