"""A short name for data: equal data have equal fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

WHOLE = 256 * 2**20
"""Bytes up to which every byte counts; of more, rows at even distances do."""


def fingerprint(*parts: Any) -> str:
    """32 hexadecimal digits from tensors, trees of them, numbers and words.

    Shapes and types always count. Of data above `WHOLE` bytes only evenly spaced rows do,
    the first and the last among them, so that hashing takes about a second at most.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        _feed(digest, part)
    return digest.hexdigest()


def _feed(digest: Any, part: Any) -> None:
    if isinstance(part, Tensor):
        digest.update(repr((str(part.dtype), tuple(part.shape))).encode())
        tensor = part.detach()
        size = tensor.numel() * tensor.element_size()
        if size > WHOLE and tensor.ndim:
            rows = max(2, WHOLE * len(tensor) // size)
            places = torch.linspace(0, len(tensor) - 1, rows, dtype=torch.float64).long()
            tensor = tensor.index_select(0, places.to(tensor.device))
        data = tensor.cpu().contiguous()
        if data.numel():
            digest.update(data.reshape(-1).view(torch.uint8).numpy())
    elif isinstance(part, Mapping):
        digest.update(f"dict {len(part)}".encode())
        for key, value in part.items():
            digest.update(repr(key).encode())
            _feed(digest, value)
    elif isinstance(part, (tuple, list)):
        digest.update(f"list {len(part)}".encode())
        for value in part:
            _feed(digest, value)
    elif isinstance(part, (str, bytes, int, float, bool, type(None))):
        digest.update(repr(part).encode())
    else:
        # The representation of other objects may name their address in memory.
        digest.update(type(part).__qualname__.encode())
