"""Draws in a dataset, a sampler or a stream that belong to the run."""

from __future__ import annotations

import pickle
import random
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Final

import numpy as np
import torch

from nbtrain.data.order import mix
from nbtrain.data.routing import TorchDraws

# Two runs that swap at once would leave one run's state behind for everyone.
_swap = threading.RLock()

PATIENCE: Final = 5.0
"""Seconds that a fetch waits for the end of `undisturbed` on another thread. After them it
goes on, for what is done there may itself wait for the run."""

_aside: tuple[threading.Event, int] | None = None
"""The end of the `undisturbed` under way, and its thread."""


@contextmanager
def undisturbed() -> Iterator[AbstractContextManager[bool]]:
    """Within, `random` and `numpy.random` are this thread's: runs wait before they swap.

    Gives the lock that each swap holds, for changing the generators after `PATIENCE`.
    """
    global _aside
    ended = threading.Event()
    with _swap:
        before, _aside = _aside, (ended, threading.get_ident())
    try:
        yield _swap
    finally:
        with _swap:
            _aside = before
        ended.set()


def seed_here(seed: int) -> None:
    """Seed `random` and `numpy.random` of this process."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)


def _acquire() -> None:
    while True:
        _swap.acquire()
        if _aside is None or _aside[1] == threading.get_ident() or _aside[0].is_set():
            return
        ended = _aside[0]
        _swap.release()
        if not ended.wait(PATIENCE):
            ended.set()


class OwnRandomness(AbstractContextManager[None]):
    """`random` and `numpy.random` with a state of their own inside the block.

    Entered around each fetch of samples on the trainer thread. Going in puts our state in
    the place of the user's, coming out puts the user's back; about 80 µs together, nearly
    all of it NumPy's. With ``keep`` the next time goes on where this one ended, else it is
    seeded first by `seed`. Both generators belong to the whole process, so what
    another thread draws meanwhile comes from ours and is lost: a cell that draws while a
    fetch is under way gets numbers that are random but not those of its seed. Torch's
    generator stays in its place; with ``torch_too`` what this thread draws from it comes
    from one of ours, which disturbs no other thread. Without ``shared``, for samples that
    draw from neither `random` nor NumPy, both stay the user's.
    """

    def __init__(
        self, seed: int, *, keep: bool = True, torch_too: bool = False, shared: bool = True
    ) -> None:
        self._seed: int | None = seed
        self._shared = shared
        self._keep = keep
        self._routing = TorchDraws(torch.Generator()) if torch_too else None
        self._ours: tuple[Any, Any] = (None, None)
        self._theirs: tuple[Any, Any] = (None, None)

    def seed(self, seed: int) -> None:
        """Begin anew from ``seed`` when next entered."""
        self._seed = seed

    def __enter__(self) -> None:
        if not self._shared:
            if self._routing is not None:
                if self._seed is not None:
                    self._routing.generator.manual_seed(self._seed)
                self._routing.__enter__()  # type: ignore[no-untyped-call]
            self._seed = None
            return
        _acquire()
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
        if not self._shared:
            return
        if self._keep:
            self._ours = _states()
        _put(self._theirs)
        _swap.release()

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Within our own block, give the user's state back for a while."""
        keep, self._keep = self._keep, True
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()
            self._keep = keep


class Look:
    """What a look at samples found: whether making them ``draws`` from torch, and whether
    from the generators ``shared`` by the whole process, `random` and NumPy."""

    draws = False
    shared = True


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
            first = _states()
            yield look
            look.shared = not _equal(_states(), first)
    finally:
        look.draws = not torch.equal(torch.default_generator.get_state(), begin)
        torch.default_generator.set_state(state)


def _states() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state(legacy=False)


def _equal(these: tuple[Any, Any], those: tuple[Any, Any]) -> bool:
    # NumPy's is a dict with an array in it; its bytes tell all apart.
    return bool(these[0] == those[0]) and pickle.dumps(these[1]) == pickle.dumps(those[1])


def _put(states: tuple[Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
