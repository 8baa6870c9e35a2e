"""Draws in a dataset, a sampler or a stream that belong to the run."""

from __future__ import annotations

import os
import pickle
import random
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Final

import numpy as np
import torch

from nbtrain.data import byname, rewind
from nbtrain.data.batches import Notes
from nbtrain.data.order import mix
from nbtrain.data.routing import TorchDraws

# Two runs that swap at once would leave one run's state behind for everyone.
_swap = threading.RLock()

PATIENCE: Final = 5.0
"""Seconds that a fetch waits for the end of `undisturbed` on another thread. After them it
goes on, for what is done there may itself wait for the run."""

_asides: list[tuple[threading.Event, int]] = []
"""The end of each `undisturbed` under way, and its thread."""


def _forked() -> None:
    global _swap
    _swap = threading.RLock()  # who held it does not live on here
    _asides.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@contextmanager
def undisturbed() -> Iterator[AbstractContextManager[bool]]:
    """Within, `random` and `numpy.random` are this thread's: runs wait before they swap.

    Gives the lock that each swap holds, for changing the generators after `PATIENCE`.
    """
    aside = threading.Event(), threading.get_ident()
    with _swap:
        _asides.append(aside)
    try:
        yield _swap
    finally:
        with _swap:
            # A fork has none; another thread may have begun and ended one meanwhile.
            if aside in _asides:
                _asides.remove(aside)
        aside[0].set()


def seed_here(seed: int) -> None:
    """Seed `random` and `numpy.random` of this process."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)


def _acquire() -> None:
    here = threading.get_ident()
    while True:
        _swap.acquire()
        pending = (end for end, thread in _asides if thread != here and not end.is_set())
        ended = next(pending, None)
        if ended is None:
            return
        _swap.release()
        if not ended.wait(PATIENCE):
            ended.set()


class OwnRandomness(AbstractContextManager[None]):
    """`random` and `numpy.random` with a state of their own inside the block.

    Entered around each fetch of samples on the trainer thread; some 10 µs. What this thread
    draws by the functions of the two modules comes from generators of ours, which disturbs
    no other thread; with ``torch_too`` also what it draws from torch. It begins at ``seed``,
    and anew after each call of `seed`.

    With ``swap``, for samples drawn past those functions, our states take the place of the
    user's meanwhile; about 80 µs, nearly all of it NumPy's. Both generators belong to the
    whole process, so what another thread draws meanwhile comes from ours and is lost: a cell
    that draws while such a fetch is under way gets numbers that are random but not those of
    its seed. With ``keep`` the next time goes on where this one ended.
    """

    def __init__(
        self, seed: int, *, keep: bool = True, torch_too: bool = False, swap: bool = False
    ) -> None:
        self._seed: int | None = seed
        self._swap = swap
        self._keep = keep
        self._routing = TorchDraws() if torch_too else None
        self._step = None if self._routing is None else rewind.Step(self._routing)
        self._generators = byname.Generators(seed)
        self._before: byname.Generators | None = None
        self._ours: tuple[Any, Any] = (None, None)
        self._theirs: tuple[Any, Any] = (None, None)

    def seed(self, seed: int) -> None:
        """Begin anew from ``seed`` when next entered."""
        self._seed = seed

    def __enter__(self) -> None:
        seed, self._seed = self._seed, None
        byname.exchange.listen()
        # What is swapped is what everyone shares: the functions mean that as well, then.
        self._before = byname.use(None if self._swap else self._generators)
        if self._swap:
            _acquire()
            self._theirs = _states()
            if seed is None:
                _put(self._ours)
            else:
                seed_here(seed)
        elif seed is not None:
            self._generators.seed(seed)
        if self._routing is not None and self._step is not None:
            if seed is not None:
                self._routing.reseed(seed)
            rewind.exchange.listen()
            self._step.__enter__()
            self._routing.__enter__()  # type: ignore[no-untyped-call]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._routing is not None and self._step is not None:
            self._routing.__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
            self._step.__exit__()
            rewind.exchange.leave()
        if self._swap:
            if self._keep:
                self._ours = _states()
            _put(self._theirs)
            _swap.release()
        byname.use(self._before)
        byname.exchange.leave()

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
    """What a look at samples found: whether making them ``draws`` from torch, and whether it
    draws from the generators of `random` and NumPy ``past`` the functions of those modules."""

    draws = False
    past = False

    def tell(self, where: str, notes: Notes) -> None:
        """Say what follows from it for other cells."""
        if self.past:
            notes.add(
                f"Samples of {where} are drawn from Python's or NumPy's global generator by other "
                "functions than those of random and numpy.random themselves. What other cells "
                "draw from it while a batch is made is random, but not from their own seed."
            )


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
        with OwnRandomness(seed, swap=True):
            first = _states()
            with OwnRandomness(seed):
                yield look
            look.past = not _equal(_states(), first)
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
