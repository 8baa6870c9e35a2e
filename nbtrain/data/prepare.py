"""From what the user's cell leaves to batches for the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nbtrain.data.batches import Batches, Notes
from nbtrain.data.fingerprint import fingerprint
from nbtrain.data.hugging import parts
from nbtrain.data.recognise import recognise
from nbtrain.data.sources import Context, Source
from nbtrain.data.splits import split
from nbtrain.data.tree import split_batch, tensors
from nbtrain.errors import DataError

_SHOWN_TARGETS = 100_000
_IGNORED = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Data ready for the loop.

    ``example`` is a batch of up to two training samples. ``targets`` are those
    of all samples if ``complete``, else of some, for inferring a loss, and None where a batch
    is the input alone. ``classes`` is the number of classes where they are integers from 0 up.
    ``fingerprint`` is equal for equal data. ``notes`` may grow while training; its
    ``listener`` hears of it. ``label`` is the key of the targets in a batch that is a dict.
    """

    train: Batches
    val: Batches | None
    example: Any
    fingerprint: str
    notes: Notes
    targets: Tensor | None
    complete: bool
    classes: int | None
    label: str | None

    def split(self, batch: Any) -> tuple[Any, Any]:
        """(inputs, targets) of a batch; targets is None where it is the input alone."""
        return split_batch(batch, self.label)

    def to(self, device: torch.device) -> None:
        """Give training and validation batches on ``device`` from here on."""
        self.train.to(device)
        if self.val is not None:
            self.val.to(device)

    def close(self) -> None:
        """Stop the workers of training and validation data."""
        self.train.close()
        if self.val is not None:
            self.val.close()


def prepare(
    *,
    data: Any = None,
    train_data: Any = None,
    val_data: Any = None,
    val_split: float = 0.2,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    step: bool = False,
) -> Prepared:
    """Make batches of what the user gave.

    Args:
        data: samples to split into training and validation data, unless ``val_data`` is
            given. ``(X, y)`` of arrays, tensors, lists or pandas objects, where ``X`` may be
            a dict or tuple of them; ``(frame, "column")``; a single array; a dict of arrays;
            a `Dataset`, an `IterableDataset`, a `DataLoader`, a Hugging Face dataset.
        train_data: the same, for training alone; in place of ``data``.
        val_data: the same, for validation alone.
        val_split: the share of ``data`` that validates, from 0 up and below 1.
        seed: the run's; all order and every split follow from it.
        dtype: what float64 features become; by default torch's default type.
        step: the cell has a ``training_step``, which takes batches as they come, so targets
            may be of any kind.

    Raises:
        DataError: naming what cannot be trained on, and what to do.
    """
    if data is not None and train_data is not None:
        raise DataError("data and train_data are both given. Leave one of them out.")
    if data is None and train_data is None:
        raise DataError(
            "There is nothing to train on. Give data = X, y, or train_data and val_data."
        )
    name = "data" if data is not None else "train_data"
    given = data if data is not None else train_data
    notes = Notes()
    context = Context(seed=seed, dtype=dtype or torch.get_default_dtype(), notes=notes, step=step)
    splits = parts(given, context)
    if splits is not None:
        given = splits[0]
        val_data = splits[1] if val_data is None else val_data
    source = recognise(given, name, context)
    targets = source.targets
    if val_data is not None:
        other = recognise(val_data, "val_data", context)
        _check_alike(source, other)
        train, val = source.make(None, True), other.make(None, False)
        notes.insert(0, _counted(source.samples, other.samples, "as given"))
        prints = (*source.prints, "val", *other.prints)
    elif name == "data" and source.whole is None and val_split > 0 and source.samples is not None:
        rows, val_rows, stratified = split(
            source.samples, val_split, seed, targets if source.complete else None
        )
        train, val = source.make(rows, True), source.make(val_rows, False)
        how = "stratified by class" if stratified else "chosen at random"
        notes.insert(0, _counted(len(rows), len(val_rows), how))
        prints = source.prints
    else:
        train, val = source.make(None, True), None
        why = source.whole if name == "data" and val_split > 0 else None
        notes.insert(0, _counted(source.samples, 0, "") + (f" {why}" if why else ""))
        prints = source.prints
    return Prepared(
        train=train,
        val=val,
        example=source.example,
        fingerprint=fingerprint(*prints),
        notes=notes,
        targets=_some(targets),
        complete=source.complete and (targets is None or len(targets) <= _SHOWN_TARGETS),
        classes=source.classes or (_classes(source.targets) if source.complete else None),
        label=source.label,
    )


def _counted(train: int | None, val: int | None, how: str) -> str:
    if train is None:
        return "The samples of a stream are not counted before they are read."
    samples = f"{train:,} {'sample' if train == 1 else 'samples'} to train"
    if val == 0:
        return f"{samples}, none to validate."
    return f"{samples}, {'a stream' if val is None else f'{val:,}'} to validate, {how}."


def _some(targets: Tensor | None) -> Tensor | None:
    if targets is None or len(targets) <= _SHOWN_TARGETS:
        return targets
    return targets[:: len(targets) // _SHOWN_TARGETS + 1]


def _classes(targets: Tensor | None) -> int | None:
    if targets is None or targets.is_floating_point() or targets.is_complex():
        return None
    known = targets[targets != _IGNORED]
    if known.numel() == 0 or int(known.min()) < 0:
        return None
    return int(known.max()) + 1


def _check_alike(source: Source, other: Source) -> None:
    """Raise `DataError` if a model that takes the one cannot take the other."""
    inputs, targets = split_batch(source.example, source.label)
    others, wanted = split_batch(other.example, other.label)
    if (targets is None) != (wanted is None):
        has, lacks = (
            ("val_data", "training data")
            if targets is None
            else (
                "training data",
                "val_data",
            )
        )
        raise DataError(f"The {has} has targets and the {lacks} has none. Give both as (X, y).")
    for mine, theirs in zip(tensors(inputs), tensors(others), strict=False):
        # Pictures and sequences may differ in size; the features of a table may not.
        table = mine.ndim == 2 and theirs.ndim == 2
        if mine.ndim != theirs.ndim or (table and mine.shape[1] != theirs.shape[1]):
            raise DataError(
                f"One training sample has shape {tuple(mine.shape[1:])} and one of val_data "
                f"{tuple(theirs.shape[1:])}. Prepare both the same way."
            )
