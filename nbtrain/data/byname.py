"""Draws by ``random.…`` and ``numpy.random.…``, made by one thread from generators of its own.

Both modules offer the methods of one generator, shared by the whole process, as functions.
While somebody needs it, those functions ask which thread calls them; everyone else's calls
go where they went before, some 0.1 µs later.
"""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np


class Generators:
    """What `random` and `numpy.random` are made of, for one owner alone."""

    def __init__(self) -> None:
        self.python = random.Random()
        self.numpy = np.random.RandomState()

    def seed(self, seed: int) -> None:
        """Begin anew, as ``random.seed`` and ``numpy.random.seed`` would."""
        self.python.seed(seed)
        self.numpy.seed(seed & 0xFFFFFFFF)


class _Local(threading.local):
    generators: Generators | None = None


_local = _Local()
_lock = threading.Lock()
_users = 0
_exchanged: list[tuple[ModuleType, str, Any, Any]] = []  # what was there, and what is now

# Functions of NumPy's that are no methods themselves, and the methods that they call.
_OTHERS = {"seed": "seed", "ranf": "random_sample", "sample": "random_sample"}


@contextmanager
def listening() -> Iterator[None]:
    """Within, `use` has effect. Several threads may be within at the same time."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _exchange()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _put_back()


def use(generators: Generators | None) -> Generators | None:
    """Have this thread draw from ``generators``; None for those that all share. Returns what
    it drew from before."""
    before, _local.generators = _local.generators, generators
    return before


def _exchange() -> None:
    shared = getattr(random.random, "__self__", None)
    for name, function in list(vars(random).items()):
        if shared is not None and getattr(function, "__self__", None) is shared:
            _put(random, name, _either("python", name, function))
    shared = getattr(np.random.rand, "__self__", None)
    for name, function in list(vars(np.random).items()):
        if shared is not None and getattr(function, "__self__", None) is shared:
            _put(np.random, name, _either("numpy", name, function))
    for name, method in _OTHERS.items():
        _put(np.random, name, _either("numpy", method, getattr(np.random, name)))


def _put(module: ModuleType, name: str, ours: Callable[..., Any]) -> None:
    # A pickle finds it by its place, where the module's own function is at another time.
    ours.__module__, ours.__qualname__, ours.__name__ = module.__name__, name, name
    _exchanged.append((module, name, getattr(module, name), ours))
    setattr(module, name, ours)


def _put_back() -> None:
    for module, name, before, ours in _exchanged:
        # Somebody may have put theirs around ours meanwhile.
        if getattr(module, name) is ours:
            setattr(module, name, before)
    _exchanged.clear()


def _either(kind: str, method: str, without: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(without)
    def function(*args: Any, **kwargs: Any) -> Any:
        generators = _local.generators
        if generators is None:
            return without(*args, **kwargs)
        return getattr(getattr(generators, kind), method)(*args, **kwargs)

    return function
