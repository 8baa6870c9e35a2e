"""Which samples are trained on and which validate."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nbtrain.data.order import generator
from nbtrain.errors import DataError


def split(
    samples: int, share: float, seed: int, targets: Tensor | None
) -> tuple[Tensor, Tensor, bool]:
    """(training indices, validation indices, whether stratified), each in rising order.

    Args:
        samples: how many there are.
        share: the part that validates, above 0 and below 1.
        seed: of the run; the same seed gives the same split.
        targets: the class of each sample, shape (samples,). If they are integers with at
            least two samples to each class, every class is split alike.

    Raises:
        DataError: if there are too few samples to split.
    """
    if samples < 2:
        raise DataError(
            "1 sample cannot be split into training and validation data. "
            "Give more samples, or --val-split 0 to train without validation."
        )
    count = min(max(math.ceil(samples * share), 1), samples - 1)
    if targets is not None and _stratifies(targets, count):
        from sklearn.model_selection import StratifiedShuffleSplit

        splitter = StratifiedShuffleSplit(n_splits=1, test_size=count, random_state=seed % 2**32)
        train, val = next(splitter.split(np.zeros(samples), targets.numpy()))
        train_rows, val_rows = torch.from_numpy(train), torch.from_numpy(val)
        return train_rows.sort().values, val_rows.sort().values, True
    order = torch.randperm(samples, generator=generator(seed, "split"))
    return order[count:].sort().values, order[:count].sort().values, False


def _stratifies(targets: Tensor, count: int) -> bool:
    if targets.ndim != 1 or targets.is_floating_point() or targets.is_complex():
        return False
    _, sizes = torch.unique(targets, return_counts=True)
    return bool(sizes.min() >= 2) and len(sizes) <= min(count, len(targets) - count)
