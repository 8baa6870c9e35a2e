"""Draws by ``random.…`` and ``numpy.random.…``, made by one thread from generators of its own.

Both modules offer the methods of one generator, shared by the whole process, as functions.
While samples are made those functions are exchanged, see `Exchange`; other threads' calls go
where they always went, some 0.2 µs later.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nbtrain.data.exchange import Exchange, Name, function


class Generators:
    """What `random` and `numpy.random` are made of, for one owner alone."""

    def __init__(self, seed: int) -> None:
        self._python = random.Random(0)
        self._numpy = np.random.RandomState(0)
        self._seed: int | None = seed

    def seed(self, seed: int) -> None:
        """Begin anew, as ``random.seed`` and ``numpy.random.seed`` would."""
        self._seed = seed  # 6 µs, which only those pay that draw

    @property
    def python(self) -> random.Random:
        """What `random` is."""
        self._begin()
        return self._python

    @property
    def numpy(self) -> np.random.RandomState:
        """What `numpy.random` is."""
        self._begin()
        return self._numpy

    def _begin(self) -> None:
        if self._seed is not None:
            self._python.seed(self._seed)
            self._numpy.seed(self._seed & 0xFFFFFFFF)
            self._seed = None

    def state(self) -> dict[str, Tensor]:
        """The state of both, as an int64 tensor each: what ``getstate`` and ``get_state`` give,
        in order. The normal number that is kept for the next call comes last, after whether
        there is one, by the bits of its float64."""
        _, python, gauss = self.python.getstate()
        _, keys, place, has_gauss, cached = self.numpy.get_state()
        rest = [int(place), int(has_gauss), _bits(float(cached))]
        return {
            "python": torch.tensor([*python, int(gauss is not None), _bits(gauss or 0.0)]),
            "numpy": torch.tensor([*map(int, keys), *rest]),
        }


def _bits(number: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def shared_states() -> dict[str, Any]:
    """The states of the two generators that all share, to compare."""
    name, keys, *rest = _numpy_state()
    return {"Python": _python_state(), "NumPy": (name, keys.tobytes(), *rest)}


# Taken before anybody can exchange them.
_python_state: Callable[[], Any] = random.getstate
_numpy_state: Callable[[], Any] = np.random.get_state


def _methods(module: ModuleType, kind: type) -> dict[str, str]:
    """The functions of ``module`` that are methods of an object of ``kind``: their names."""
    functions = vars(module).items()
    return {name: name for name, f in functions if isinstance(getattr(f, "__self__", None), kind)}


# Found once, since what somebody puts in the place of a function is no method any more.
_PYTHON = _methods(random, random.Random)
_NUMPY = _methods(np.random, np.random.RandomState) | {
    "seed": "seed",
    "ranf": "random_sample",
    "sample": "random_sample",
}

# Some are no methods and are pickled by the place that they call theirs. While ours are there,
# they are still found in the module where NumPy defines them.
for _name in _NUMPY:
    _function = getattr(np.random, _name)
    if getattr(np.random.mtrand, _name, None) is _function and not hasattr(_function, "__self__"):
        _function.__module__ = np.random.mtrand.__name__


def _names() -> Iterator[Name]:
    for name, method in _PYTHON.items():
        yield function(random, name, _call("python", method))
    for name, method in _NUMPY.items():
        yield function(np.random, name, _call("numpy", method))


def _call(kind: str, method: str) -> Callable[..., Any]:
    def within(generators: Generators, *args: Any, **kwargs: Any) -> Any:
        return getattr(getattr(generators, kind), method)(*args, **kwargs)

    return within


exchange = Exchange[Generators](_names)
listening = exchange.listening
use = exchange.use

if hasattr(os, "register_at_fork"):
    # Python seeds `random` anew in a fork. From a run's generators all forks would draw the same.
    os.register_at_fork(after_in_child=lambda: use(None))


@contextmanager
def drawing_from(generators: Generators) -> Iterator[None]:
    """Within, this thread draws from ``generators``."""
    with listening():
        before = use(generators)
        try:
            yield
        finally:
            use(before)
