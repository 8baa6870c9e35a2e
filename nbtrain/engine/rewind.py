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
_exchanged: list[tuple[Any, str, Any, Any]] = []  # module, name, what was there, what is now

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
    """Within, a `Step` has effect. Several threads may be within at the same time."""
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


def _exchange() -> None:
    for module in (torch, torch.random):
        for name, within in _WITHIN.items():
            before = getattr(module, name)
            ours = _either(within, before)
            setattr(module, name, ours)
            _exchanged.append((module, name, before, ours))


def _put_back() -> None:
    for module, name, before, ours in _exchanged:
        # Somebody may have put theirs around ours meanwhile, as torch.compile does.
        if getattr(module, name) is ours:
            setattr(module, name, before)
    _exchanged.clear()


def _either(within: Callable[..., Any], without: Callable[..., Any]) -> Callable[..., Any]:
    """Does what ``within`` does in a step, and what ``without`` does elsewhere."""

    @functools.wraps(without)
    def function(*args: Any, **kwargs: Any) -> Any:
        draws = _local.step
        return without(*args, **kwargs) if draws is None else within(draws, *args, **kwargs)

    return function


def _get_rng_state(draws: Draws) -> Tensor:
    return draws.remember()


def _set_rng_state(draws: Draws, new_state: Tensor) -> None:
    draws.recall(new_state)


def _manual_seed(draws: Draws, seed: int) -> torch.Generator:
    return draws.reseed(int(seed))


_WITHIN: dict[str, Callable[..., Any]] = {
    "get_rng_state": _get_rng_state,
    "set_rng_state": _set_rng_state,
    "manual_seed": _manual_seed,
}
