"""Map-style datasets and the loaders over them, in batches from any place on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nbtrain.data.batches import left_out, steps_in
from nbtrain.data.byname import listening
from nbtrain.data.fetch import Fetch, Ticket
from nbtrain.data.order import Order, generator, mix
from nbtrain.data.randomness import OwnRandomness


class Mapped:
    """Batches of a map-style dataset in an order of our own.

    A batch is a function of the seed, the epoch and its first sample's place: its samples,
    and what the dataset draws from torch, `random` and `numpy.random` while it makes them.
    """

    fixed: str | None = None
    no_single = False

    def __init__(
        self,
        fetch: Fetch,
        order: Order | Custom,
        seed: int,
        *,
        rows: Tensor | None = None,
        batch_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        self._fetch = fetch
        self._order = order
        self._seed = seed
        self._rows = rows
        self._drop_last = drop_last
        self.samples: int | None = order.length
        self.batch_size = batch_size

    def to(self, device: torch.device) -> None:
        """Give batches on ``device``, by way of pinned memory where that helps."""
        self._fetch.to(torch.device(device))

    def epoch(
        self, epoch: int, *, batch_size: int, start: int = 0, patience: float | None = None
    ) -> Iterator[tuple[Any, int]]:
        """The batches of ``epoch`` from sample ``start`` on."""
        indices = self._order.indices(epoch)
        if self._rows is not None:
            indices = self._rows[indices]
        stop = len(indices)
        batch_size = min(batch_size, stop) or 1
        stop -= left_out(stop - start, batch_size, self._drop_last, self.no_single)

        def tickets() -> Iterator[Ticket]:
            for begin in range(start, stop, batch_size):
                part = indices[begin : min(begin + batch_size, stop)]
                listed = part.tolist() if isinstance(part, Tensor) else list(part)
                yield Ticket(listed, mix(self._seed, "fetch", epoch, begin))

        return self._fetch.batches(tickets, patience)

    def steps(self, batch_size: int, start: int = 0) -> int | None:
        size = min(batch_size, self._order.length)
        return steps_in(self._order.length - start, size, self._drop_last, self.no_single)

    def key(self, epoch: int, place: int) -> Any:
        """The index of the sample at ``place`` of ``epoch`` in the data or dataset."""
        index = self._order.indices(epoch)[place]
        if self._rows is not None:
            index = self._rows[index]
        return index.item() if isinstance(index, Tensor) else index

    def close(self) -> None:
        """End the workers."""
        self._fetch.close()


class Replayed:
    """Batches of a loader whose own sampler decides what makes a batch.

    Its sampler is run again for every epoch, drawing from the run's generators; a place
    within an epoch is reached by passing over indices, without loading their samples.

    Args:
        fetch: makes the batches.
        sampler: gives the indices of one batch after the other.
        seed: of the run.
        fixed: why the batch size cannot change.
        samples: in an epoch, where that is known.
        batch_size: the samples of a usual batch, where that is known.
        swap: the sampler draws past the functions of `random` and NumPy.
    """

    no_single = False

    def __init__(
        self,
        fetch: Fetch,
        sampler: Any,
        seed: int,
        *,
        fixed: str,
        samples: int | None = None,
        batch_size: int | None = None,
        swap: bool = False,
    ) -> None:
        self._fetch = fetch
        self._sampler = sampler
        self._seed = seed
        self._swap = swap
        self.fixed: str | None = fixed
        self.samples = samples
        self.batch_size = batch_size

    def to(self, device: torch.device) -> None:
        """Give batches on ``device``, by way of pinned memory where that helps."""
        self._fetch.to(torch.device(device))

    def epoch(
        self, epoch: int, *, batch_size: int, start: int = 0, patience: float | None = None
    ) -> Iterator[tuple[Any, int]]:
        """The batches of ``epoch`` from sample ``start`` on; ``batch_size`` changes nothing."""

        def tickets() -> Iterator[Ticket]:
            place = 0
            for indices in replay(self._sampler, self._seed, epoch, swap=self._swap):
                batch = list(indices) if isinstance(indices, (list, tuple, Tensor)) else [indices]
                begin, place = place, place + len(batch)
                if place > start:
                    seed = mix(self._seed, "fetch", epoch, begin)
                    yield Ticket(batch[max(start - begin, 0) :], seed)

        return self._fetch.batches(tickets, patience)

    def steps(self, batch_size: int, start: int = 0) -> int | None:
        if start == 0 and hasattr(self._sampler, "__len__"):
            return len(self._sampler)
        return None

    def key(self, epoch: int, place: int) -> Any:
        """None: its sampler would have to be run again."""
        return None

    def close(self) -> None:
        """End the workers."""
        self._fetch.close()


def replay(sampler: Any, seed: int, epoch: int, *, swap: bool = False) -> Iterator[Any]:
    """What a user's sampler gives in ``epoch``, as a function of ``seed`` and ``epoch``.

    A copy of the sampler is run, whole if it has a length. Every ``generator`` in it is the
    run's; what it draws from torch, `random` and `numpy.random` is the run's too. See
    `OwnRandomness` for ``swap``. ``set_epoch`` is called where it has one.
    """
    ours = generator(seed, "order", epoch)
    own = with_generator(sampler, ours)
    if callable(getattr(own, "set_epoch", None)):
        own.set_epoch(epoch)
    drawn = OwnRandomness(mix(seed, "order", epoch), torch_too=True, swap=swap)
    if hasattr(own, "__len__"):
        with drawn:
            every = list(own)
        yield from every
        return
    with listening():
        with drawn:
            iterator = iter(own)
        while True:
            with drawn:
                try:
                    value = next(iterator)
                except StopIteration:
                    return
            yield value


def with_generator(sampler: Any, ours: torch.Generator) -> Any:
    """A copy of a sampler, and of those inside it, that draws from ``ours`` where it can."""
    if isinstance(sampler, (list, tuple, range, Tensor)):
        return sampler
    own = copy.copy(sampler)
    if hasattr(own, "generator"):
        own.generator = ours
    for name in ("sampler", "batch_sampler"):
        inner = getattr(own, name, None)
        if inner is not None:
            setattr(own, name, with_generator(inner, ours))
    return own


class Custom:
    """The order of a user's own sampler of known length."""

    def __init__(self, sampler: Any, seed: int, *, swap: bool = False) -> None:
        self._sampler = sampler
        self._seed = seed
        self._swap = swap

    @property
    def length(self) -> int:
        return len(self._sampler)

    def indices(self, epoch: int) -> Any:
        """The sampler's indices, whatever the dataset takes for them."""
        return list(replay(self._sampler, self._seed, epoch, swap=self._swap))
