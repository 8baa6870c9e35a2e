"""Data that lies in memory, in batches without a `DataLoader`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any

import torch
from torch import Tensor

from nbtrain.data.batches import left_out, steps_in
from nbtrain.data.order import InOrder, Order
from nbtrain.data.tree import split_rows, tensors, transform

CHUNK = 64 * 2**20
"""Bytes gathered at once: enough to make a batch cost a view, little enough to hold."""


class InMemory:
    """Batches of tensors that lie in memory.

    An epoch is gathered in its order a chunk of many batches at a time, and the batches are
    views of the chunk. What a step writes into its batch never reaches the data.

    Args:
        data: a tree of tensors of equal length; a batch has its form.
        order: the order of an epoch, over ``rows``.
        rows: the rows of ``data`` that this is about; None for all.
        batch_size: the user's own, if any.
        drop_last: leave out a last batch that is short.
    """

    fixed: str | None = None
    no_single = False

    def __init__(
        self,
        data: Any,
        order: Order,
        *,
        rows: Tensor | None = None,
        batch_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        self._data = data
        self._order = order
        self._rows = rows
        self._drop_last = drop_last
        self._device = torch.device("cpu")
        self.samples: int | None = order.length
        self.batch_size = batch_size

    @property
    def bytes_per_sample(self) -> int:
        """The size of one sample in memory."""
        return max(1, sum(t[:1].numel() * t.element_size() for t in tensors(self._data)))

    def to(self, device: torch.device) -> None:
        """Move the data to ``device`` where it takes less than a quarter of the free memory
        there; otherwise each chunk is pinned and copied when its turn comes."""
        self._device = torch.device(device)
        total = sum(t.numel() * t.element_size() for t in tensors(self._data))
        free = free_memory(self._device)
        if free is None or total < free // 4:
            self._data = transform(lambda t: t.to(self._device), self._data)
            if self._rows is not None:
                self._rows = self._rows.to(self._device)

    def epoch(
        self, epoch: int, *, batch_size: int, start: int = 0, patience: float | None = None
    ) -> Iterator[tuple[Any, int]]:
        """The batches of ``epoch`` from sample ``start`` on; the last may be short."""
        length = self._order.length
        batch_size = min(batch_size, length)
        stop = length - left_out(length - start, batch_size, self._drop_last, self.no_single)
        chunk = max(1, CHUNK // (self.bytes_per_sample * batch_size)) * batch_size
        order: Tensor | None = None
        if self._rows is not None or not isinstance(self._order, InOrder):
            order = self._order.indices(epoch)
            if self._rows is not None:
                order = self._rows.index_select(0, order.to(self._rows.device))
        for begin in range(start, stop, chunk):
            end = min(begin + chunk, stop)
            piece = self._gather(begin, end, None if order is None else order[begin:end])
            whole, rest = divmod(end - begin, batch_size)
            pieces = split_rows(piece, batch_size)
            yield from zip(islice(pieces, whole), repeat(batch_size))
            if rest:
                yield next(pieces), rest

    def _gather(self, begin: int, end: int, rows: Tensor | None) -> Any:
        away = next(tensors(self._data)).device != self._device

        def gather(values: Tensor) -> Tensor:
            if rows is None:
                taken = values[begin:end]
                # Pinning and copying to the device copy as well.
                taken = taken if away else taken.clone()
            else:
                taken = values.index_select(0, rows.to(values.device))
            if not away:
                return taken
            if self._device.type == "cuda":
                taken = taken.pin_memory()
            return taken.to(self._device, non_blocking=True)

        return transform(gather, self._data)

    def steps(self, batch_size: int, start: int = 0) -> int | None:
        size = min(batch_size, self._order.length)
        return steps_in(self._order.length - start, size, self._drop_last, self.no_single)

    def key(self, epoch: int, place: int) -> Any:
        """None: the rows may be a part, copied out of the user's data."""
        return None

    def close(self) -> None:
        """Nothing runs in the background."""


def free_memory(device: torch.device) -> int | None:
    """Free bytes on an accelerator; None where the memory is the machine's own or where
    the accelerator does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "xpu":
        return int(torch.xpu.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory())
    return None
