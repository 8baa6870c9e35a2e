"""The state of a run's generators, where PyTorch's own functions for it are called in a step.

Within a step every draw comes from the run's generators. So what asks PyTorch for the state
of its generator and puts it back later means theirs: ``torch.utils.checkpoint``, which
computes layers again in the backward pass with the draws of the forward one,
``torch.random.fork_rng``, and a model that calls ``torch.manual_seed`` itself. Those
functions are exchanged while a run trains; on every thread that is in no step they do what
they always did, at the cost of one look.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

_MODULES = (torch, torch.random)


class Draws(Protocol):
    """Whose state it is within a step."""

    def remember(self) -> Tensor: ...
    def recall(self, state: Tensor) -> None: ...
    def reseed(self, seed: int) -> torch.Generator: ...


class _Local(threading.local):
    step: Draws | None = None


_local = _Local()
_lock = threading.Lock()
_users = 0

global_state: Callable[[], Tensor] = torch.random.get_rng_state
"""PyTorch's own ``get_rng_state``."""
set_global_state: Callable[[Tensor], None] = torch.random.set_rng_state
"""PyTorch's own ``set_rng_state``."""


class Step:
    """Within, PyTorch's functions on this thread speak of the generators of ``draws``."""

    def __init__(self, draws: Draws) -> None:
        self.draws = draws
        self._before: list[Draws | None] = []

    def __enter__(self) -> None:
        self._before.append(_local.step)
        _local.step = self.draws

    def __exit__(self, *exception: object) -> None:
        _local.step = self._before.pop()


@contextmanager
def listening() -> Iterator[None]:
    """Within, a `Step` has effect. Threads may be within it at the same time."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _exchange(_OURS)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _exchange(_THEIRS)


def _exchange(functions: dict[str, Callable[..., Any]]) -> None:
    others = _THEIRS if functions is _OURS else _OURS
    for module in _MODULES:
        for name, function in functions.items():
            # Somebody else may have put theirs over it; that calls the one it found.
            if getattr(module, name) is others[name]:
                setattr(module, name, function)


@functools.wraps(torch.random.get_rng_state)
def _get_rng_state() -> Tensor:
    draws = _local.step
    return global_state() if draws is None else draws.remember()


@functools.wraps(torch.random.set_rng_state)
def _set_rng_state(new_state: Tensor) -> None:
    draws = _local.step
    if draws is None:
        set_global_state(new_state)
    else:
        draws.recall(new_state)


_manual_seed_of_all = torch.random.manual_seed


@functools.wraps(torch.random.manual_seed)
def _manual_seed(seed: int) -> torch.Generator:
    draws = _local.step
    return _manual_seed_of_all(seed) if draws is None else draws.reseed(int(seed))


_OURS: dict[str, Callable[..., Any]] = {
    "get_rng_state": _get_rng_state,
    "set_rng_state": _set_rng_state,
    "manual_seed": _manual_seed,
}
_THEIRS: dict[str, Callable[..., Any]] = {
    "get_rng_state": global_state,
    "set_rng_state": set_global_state,
    "manual_seed": _manual_seed_of_all,
}
