"""Data that can only be read from its beginning."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice
from typing import Any

import torch
from torch.utils.data import DataLoader, default_collate

from nbtrain.data.batches import NOT_YET
from nbtrain.data.byname import listening
from nbtrain.data.fetch import Finish, WorkerStart
from nbtrain.data.loaders import with_generator
from nbtrain.data.order import generator, mix
from nbtrain.data.randomness import Look, OwnRandomness
from nbtrain.data.tree import size
from nbtrain.data.waiting import END, Ahead, gather, no_interrupts
from nbtrain.errors import DataError

_SKIPPED = 256
"""Samples that are held at once where a place is reached by reading up to it."""


class _Reading:
    """Where reading has got to, so that a new call there goes on instead of beginning anew.

    ``drawn`` holds the run's randomness around each read, where samples are made ``here``
    and not in workers; ``look`` is what was found out about their draws. ``ready`` are
    samples that were read and are in no batch yet.
    """

    def __init__(self, seed: int, look: Look, here: bool = True) -> None:
        self._seed = seed
        self._here = here
        self._look = look
        self.epoch = -1
        self.place = 0
        self.items: Iterator[Any] = iter(())
        self.ready: list[Any] = []
        self.passes = 0
        self.drawn = self._own(seed)

    def _own(self, seed: int) -> OwnRandomness:
        return OwnRandomness(seed, torch_too=self._look.draws, swap=self._look.past)

    def anew(self) -> _Reading:
        return _Reading(self._seed, self._look, self._here)

    def begin(self, epoch: int, open_items: Callable[[], Iterator[Any]]) -> None:
        self.drawn = self._own(mix(self._seed, "stream", epoch))
        self.epoch, self.place, self.ready = epoch, 0, []
        with self.within():
            self.items = open_items()

    def within(self) -> AbstractContextManager[None]:
        """The run's randomness. Waiting for workers must not keep the process's generators
        from everyone else, so it is not for them."""
        return self.drawn if self._here else nullcontext()

    def go_on(self, epoch: int, start: int) -> bool:
        """Begin a pass; whether reading is at its place already."""
        self.passes += 1
        return (self.epoch, self.place) == (epoch, start)

    def check(self, current: int) -> None:
        """Raise if a pass is not the latest, for both read the same items."""
        if self.passes != current:
            raise RuntimeError("Another pass over this data began before this one ended.")

    def read(self, count: int, patience: float | None) -> Iterator[tuple[Any, int]]:
        """Have ``count`` samples ready, or all that are left. See `gather`."""
        rest = islice(self.items, max(0, count - len(self.ready)))
        with self.drawn:
            yield from gather(self.ready, rest, self.drawn, patience)

    def take(self, count: int) -> list[Any]:
        """At most ``count`` of the samples that are ready."""
        taken, self.ready = self.ready[:count], self.ready[count:]
        self.place += len(taken)
        return taken


class Stream:
    """Batches of a stream of samples, read anew each epoch.

    A batch size can change at any sample, for reading goes on where it is. Any other place
    is reached by reading from the beginning, which is exact if the stream repeats.

    Args:
        dataset: gives an iterator over samples.
        seed: of the run.
        collate: makes a batch of a list of samples.
        first: samples already read from a stream that can be read only once.
        look: what was found out about the draws of making samples.
    """

    samples: int | None = None
    fixed: str | None = None
    no_single = False

    def __init__(
        self,
        dataset: Any,
        seed: int,
        *,
        collate: Callable[[Any], Any] = default_collate,
        batch_size: int | None = None,
        drop_last: bool = False,
        first: list[Any] | None = None,
        conform: Callable[[Any], Any] | None = None,
        look: Look,
    ) -> None:
        self._dataset = dataset
        self._collate = collate
        self._drop_last = drop_last
        self._first = first
        self._finish = Finish(conform)
        self._reading = _Reading(seed, look)
        self.batch_size = batch_size

    def to(self, device: torch.device) -> None:
        """Give batches on ``device``."""
        self._finish.device = torch.device(device)

    def epoch(
        self, epoch: int, *, batch_size: int, start: int = 0, patience: float | None = None
    ) -> Iterator[tuple[Any, int]]:
        """The batches of ``epoch`` from sample ``start`` on.

        Raises:
            DataError: if the stream is empty, as one is that can be read only once.
        """
        with listening():
            yield from self._batches(epoch, batch_size, start, patience)

    def _batches(
        self, epoch: int, batch_size: int, start: int, patience: float | None
    ) -> Iterator[tuple[Any, int]]:
        reading = self._reading
        going_on = reading.go_on(epoch, start)
        current = reading.passes
        if not going_on:
            reading.begin(epoch, lambda: self._open(epoch))
            while reading.place < start:
                yield from reading.read(min(_SKIPPED, start - reading.place), patience)
                if not reading.take(start - reading.place):
                    break
        while True:
            reading.check(current)
            yield from reading.read(batch_size, patience)
            samples = reading.ready[:batch_size]
            if not samples or (self._drop_last and len(samples) < batch_size):
                if reading.place == 0:
                    raise DataError(_short(len(samples)) if samples else _empty(epoch))
                return
            with reading.drawn:
                batch = self._collate(samples)
            reading.take(batch_size)
            yield self._finish(batch, pin=True), len(samples)

    def _open(self, epoch: int) -> Iterator[Any]:
        if callable(getattr(self._dataset, "set_epoch", None)):
            self._dataset.set_epoch(epoch)
        items: Iterator[Any] = iter(self._dataset)
        if self._first is not None:
            first, self._first = self._first, None
            return chain(first, items)
        return items

    def steps(self, batch_size: int, start: int = 0) -> int | None:
        """None: a stream has no known length."""
        return None

    def key(self, epoch: int, place: int) -> Any:
        """None: a stream has no index."""
        return None

    def close(self) -> None:
        """Let go of the stream."""
        self._reading = self._reading.anew()


class Iterated:
    """Batches of a loader that makes them by itself and is iterated as it is.

    Its random draws are the run's where they can be: its ``generator``, `random` and
    `numpy.random`. A place is reached by passing over batches.

    Args:
        loader: a `DataLoader`, or another object to iterate over batches again and again.
        seed: of the run.
        fixed: why the batch size cannot change.
        look: what was found out about the draws of making batches.
    """

    samples: int | None = None
    no_single = False

    def __init__(
        self,
        loader: Any,
        seed: int,
        *,
        fixed: str,
        conform: Callable[[Any], Any] | None = None,
        look: Look,
    ) -> None:
        self._loader = loader
        self._ahead: Ahead | None = None
        self._seed = seed
        self._finish = Finish(conform)
        self._reading = _Reading(seed, look, here=not getattr(loader, "num_workers", 0))
        self.fixed: str | None = fixed
        batch_size = getattr(loader, "batch_size", None)
        self.batch_size: int | None = batch_size if isinstance(batch_size, int) else None

    def to(self, device: torch.device) -> None:
        """Give batches on ``device``."""
        self._finish.device = torch.device(device)

    def epoch(
        self, epoch: int, *, batch_size: int, start: int = 0, patience: float | None = None
    ) -> Iterator[tuple[Any, int]]:
        """The batches of ``epoch`` from sample ``start`` on; ``batch_size`` changes nothing.

        Raises:
            DataError: if the loader gives nothing.
        """
        with listening():
            yield from self._batches(epoch, start, patience)

    def _batches(self, epoch: int, start: int, patience: float | None) -> Iterator[tuple[Any, int]]:
        reading = self._reading
        if not reading.go_on(epoch, start):
            reading.begin(epoch, lambda: self._open(epoch))
        current = reading.passes
        while True:
            reading.check(current)
            batch = self._next(patience)
            if batch is END:
                if reading.place == 0:
                    raise DataError(_empty(epoch))
                return
            if batch is NOT_YET:
                yield NOT_YET, 0
                continue
            count, before = size(batch), reading.place
            reading.place += count
            if before >= start:
                yield self._finish(batch, pin=True), count
            elif patience is not None:
                yield NOT_YET, 0

    def _next(self, patience: float | None) -> Any:
        if self._ahead is not None:
            return self._ahead.take(patience)
        with self._reading.within():
            return next(self._reading.items, END)

    def _open(self, epoch: int) -> Iterator[Any]:
        self._end()
        if not isinstance(self._loader, DataLoader):
            return iter(self._loader)
        own = copy.copy(self._loader)
        # A copy shares the running workers of a loader that keeps them.
        own._iterator = None
        own.pin_memory = self._finish.device.type == "cuda"
        own.generator = generator(self._seed, "order", epoch)
        for name in ("sampler", "batch_sampler"):
            # These two cannot be set as others can once a loader is made.
            own.__dict__[name] = with_generator(getattr(own, name), own.generator)
        if own.num_workers:
            own.worker_init_fn = WorkerStart(own.worker_init_fn)
            if iterates_as_pytorch(own):
                self._ahead = Ahead(own, self)
                self._ahead.begin()
                return iter(())
        # What a loader of the user's own class does in between is for the training thread.
        with no_interrupts():
            return iter(own)

    def _end(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def steps(self, batch_size: int, start: int = 0) -> int | None:
        """The loader's own length, where it has one and ``start`` is 0."""
        if start or not hasattr(self._loader, "__len__"):
            return None
        try:
            return len(self._loader)
        except (TypeError, NotImplementedError):
            # A DataLoader has a length only if what it loads from has one.
            return None

    def key(self, epoch: int, place: int) -> Any:
        """None: a stream has no index."""
        return None

    def close(self) -> None:
        """End the loader's workers."""
        self._end()
        self._reading = self._reading.anew()


def iterates_as_pytorch(loader: DataLoader[Any]) -> bool:
    """Whether ``loader`` is iterated by PyTorch's own code, whatever its class."""
    kind = type(loader)
    return (kind.__iter__, kind._get_iterator) == (DataLoader.__iter__, DataLoader._get_iterator)


def _short(samples: int) -> str:
    return (
        f"The stream gave {samples:,} samples, less than one batch, and the loader's drop_last "
        "leaves them out. Take a smaller batch size."
    )


def _empty(epoch: int) -> str:
    if epoch == 0:
        return "The stream gave no samples. Check what its __iter__ yields."
    return (
        f"The stream gave no samples in epoch {epoch + 1}. Its __iter__ must begin anew each "
        "time; train for one epoch if it cannot."
    )
