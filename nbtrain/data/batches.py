"""The seam between data and the training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final, Protocol

import torch


class NotYet(Enum):
    """Stands for a batch that is not there yet."""

    NOT_YET = "not yet"


NOT_YET: Final = NotYet.NOT_YET


class Batches(Protocol):
    """Samples in batches, epoch after epoch, from any place on.

    ``samples`` counts the samples of an epoch and is None for a stream; ``batch_size`` is
    the loader's own, where the user gave one; ``fixed`` says why the batch size cannot
    change, or is None. With ``drop_last`` an epoch ends before its last samples, so the end
    of the iterator is what ends an epoch. ``no_single``, which the engine sets before the
    first epoch, asks for the same where one sample alone would be left; it is heard where
    we make the batches of a dataset whose length is known.
    """

    samples: int | None
    batch_size: int | None
    fixed: str | None
    no_single: bool

    def to(self, device: torch.device) -> None:
        """Give batches on ``device`` from here on.

        Called on the trainer thread, before the first epoch or between two batches.
        """
        ...

    def epoch(
        self, epoch: int, *, batch_size: int, start: int = 0, patience: float | None = None
    ) -> Iterator[tuple[Any, int]]:
        """The batches of ``epoch`` from its sample ``start`` on, each with its size.

        One epoch of one `Batches` is iterated at a time; a call ends the one before. A
        ``batch_size`` above the number of samples takes them all. With ``patience``,
        ``(NOT_YET, 0)`` comes after each so many seconds without a batch, as far as workers
        make them or we make them sample by sample; the batch itself comes later.
        """
        ...

    def steps(self, batch_size: int, start: int = 0) -> int | None:
        """How many batches `epoch` would give, or None where that cannot be known."""
        ...

    def key(self, epoch: int, place: int) -> Any:
        """The index in the user's own data of the sample at ``place`` of ``epoch``, or None
        where that is not known."""
        ...

    def close(self) -> None:
        """Stop what runs in the background. `epoch` starts it again."""
        ...


class Notes(list[str]):
    """Plain sentences for the user; ``listener`` hears those that come after `prepare`."""

    listener: Callable[[str], None] | None = None

    def add(self, text: str) -> None:
        """Keep ``text``, once, and tell the listener."""
        if text not in self:
            self.append(text)
            if self.listener is not None:
                self.listener(text)


def left_out(samples: int, batch_size: int, drop_last: bool, no_single: bool) -> int:
    """How many of ``samples``, in batches of ``batch_size``, come in no batch."""
    rest = max(samples, 0) % batch_size
    return rest if drop_last or (no_single and rest == 1) else 0


def steps_in(samples: int, batch_size: int, drop_last: bool, no_single: bool = False) -> int:
    """The number of batches of ``batch_size`` in ``samples``."""
    kept = max(samples, 0) - left_out(samples, batch_size, drop_last, no_single)
    return -(-kept // batch_size)
