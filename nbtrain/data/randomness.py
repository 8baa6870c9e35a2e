"""Draws in a dataset, a sampler or a stream that belong to the run."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any

import numpy as np
import torch

from nbtrain.data.order import mix
from nbtrain.data.routing import TorchDraws

# Two runs that swap at once would leave one run's state behind for everyone.
_swap = threading.RLock()


def seed_here(seed: int) -> None:
    """Seed `random` and `numpy.random` of this process."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)


class OwnRandomness(AbstractContextManager[None]):
    """`random` and `numpy.random` with a state of their own inside the block.

    Entered around each fetch of samples on the trainer thread. Going in puts our state in
    the place of the user's, coming out puts the user's back; about 80 µs together, nearly
    all of it NumPy's. With ``keep`` the next time goes on where this one ended, else it is
    seeded first by `seed`. Both generators belong to the whole process, so what
    another thread draws meanwhile comes from ours and is lost: a cell that draws while a
    fetch is under way gets numbers that are random but not those of its seed. Torch's
    generator stays in its place; with ``torch_too`` what this thread draws from it comes
    from one of ours, which disturbs no other thread.
    """

    def __init__(self, seed: int, *, keep: bool = True, torch_too: bool = False) -> None:
        self._seed: int | None = seed
        self._keep = keep
        self._routing = TorchDraws(torch.Generator()) if torch_too else None
        self._ours: tuple[Any, Any] = (None, None)
        self._theirs: tuple[Any, Any] = (None, None)

    def seed(self, seed: int) -> None:
        """Begin anew from ``seed`` when next entered."""
        self._seed = seed

    def __enter__(self) -> None:
        _swap.acquire()
        self._theirs = _states()
        if self._seed is None:
            _put(self._ours)
        else:
            seed_here(self._seed)
            if self._routing is not None:
                self._routing.generator.manual_seed(self._seed)
            self._seed = None
        if self._routing is not None:
            self._routing.__enter__()  # type: ignore[no-untyped-call]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._routing is not None:
            self._routing.__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
        if self._keep:
            self._ours = _states()
        _put(self._theirs)
        _swap.release()


class Look:
    """What a look at samples found: whether making them draws from torch."""

    draws = False


@contextmanager
def looking(*place: int | str) -> Iterator[Look]:
    """Randomness for a look at samples before training: torch's as well is put back after.

    For the main thread, where no one else draws meanwhile. The same place sees the same
    samples, also where these are augmented at random.
    """
    state = torch.default_generator.get_state()
    seed = mix(0, "look", *place)
    torch.default_generator.manual_seed(seed)
    begin = torch.default_generator.get_state()
    look = Look()
    try:
        with OwnRandomness(seed):
            yield look
    finally:
        look.draws = not torch.equal(torch.default_generator.get_state(), begin)
        torch.default_generator.set_state(state)


def _states() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state(legacy=False)


def _put(states: tuple[Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
