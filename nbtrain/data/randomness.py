"""Draws from `random` and `numpy.random` that belong to the run."""

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

# Two runs that swap at once would leave one run's state behind for everyone.
_swap = threading.RLock()


def seed_here(seed: int) -> None:
    """Seed `random` and `numpy.random` of this process."""
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])


class OwnRandomness(AbstractContextManager[None]):
    """`random` and `numpy.random` with a state of their own inside the block.

    Entered around each fetch of samples on the trainer thread. Going in puts our state in
    the place of the user's, coming out puts the user's back and keeps ours for the next
    time; about 50 µs together. Both generators belong to the whole process, so what
    another thread draws meanwhile comes from ours and is lost: a cell that draws while a
    fetch is under way gets numbers that are random but not those of its seed. Torch is left
    alone, for its draws are routed where they happen.
    """

    def __init__(self, seed: int) -> None:
        self._seed: int | None = seed
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
            self._seed = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ours = _states()
        _put(self._theirs)
        _swap.release()


@contextmanager
def looking(*place: int | str) -> Iterator[None]:
    """Randomness for a look at samples before training: torch's as well is put back after.

    For the main thread, where no one else draws meanwhile. The same place sees the same
    samples, also where these are augmented at random.
    """
    state = torch.default_generator.get_state()
    seed = mix(0, "look", *place)
    torch.default_generator.manual_seed(seed)
    try:
        with OwnRandomness(seed):
            yield
    finally:
        torch.default_generator.set_state(state)


def _states() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state(legacy=False)


def _put(states: tuple[Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
