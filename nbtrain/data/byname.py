"""Draws by ``random.…`` and ``numpy.random.…``, made by one thread from generators of its own.

Both modules offer the methods of one generator, shared by the whole process, as functions.
While samples are made those functions are exchanged, see `Exchange`; other threads' calls go
where they always went, some 0.1 µs later.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nbtrain.data.exchange import Exchange, Function


class Generators:
    """What `random` and `numpy.random` are made of, for one owner alone."""

    def __init__(self) -> None:
        self.python = random.Random()
        self.numpy = np.random.RandomState()

    def seed(self, seed: int) -> None:
        """Begin anew, as ``random.seed`` and ``numpy.random.seed`` would."""
        self.python.seed(seed)
        self.numpy.seed(seed & 0xFFFFFFFF)


_OTHERS = {"seed": "seed", "ranf": "random_sample", "sample": "random_sample"}
"""Functions of NumPy's that are no methods themselves, and the methods that they call."""


def _functions() -> Iterator[Function]:
    shared = getattr(random.random, "__self__", None)
    for name, function in list(vars(random).items()):
        if shared is not None and getattr(function, "__self__", None) is shared:
            yield random, name, _call("python", name)
    shared = getattr(np.random.rand, "__self__", None)
    for name, function in list(vars(np.random).items()):
        if shared is not None and getattr(function, "__self__", None) is shared:
            yield np.random, name, _call("numpy", name)
    for name, method in _OTHERS.items():
        yield np.random, name, _call("numpy", method)


def _call(kind: str, method: str) -> Callable[..., Any]:
    def within(generators: Generators, *args: Any, **kwargs: Any) -> Any:
        return getattr(getattr(generators, kind), method)(*args, **kwargs)

    return within


_exchange = Exchange[Generators](_functions)
listening = _exchange.listening
use = _exchange.use
