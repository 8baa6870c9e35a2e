"""The state of a run's generators, where PyTorch's own functions for it are called.

Within a step, and while samples are made, draws come from the run's generators. So what asks
PyTorch for the state of its generator and puts it back later means theirs:
``torch.utils.checkpoint``, which computes layers again in the backward pass with the draws of
the forward one, ``torch.random.fork_rng``, and a model or a dataset that calls
``torch.manual_seed`` itself. Those functions are exchanged meanwhile, see `Exchange`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from nbtrain.data.exchange import Exchange, Function


class Draws(Protocol):
    """Whose state it is."""

    def remember(self) -> Tensor: ...
    def recall(self, state: Tensor) -> None: ...
    def reseed(self, seed: int) -> torch.Generator: ...


global_state: Callable[[], Tensor] = torch.random.get_rng_state
"""PyTorch's own ``get_rng_state``."""
set_global_state: Callable[[Tensor], None] = torch.random.set_rng_state
"""PyTorch's own ``set_rng_state``."""


def _get_rng_state(draws: Draws) -> Tensor:
    return draws.remember()


def _set_rng_state(draws: Draws, new_state: Tensor) -> None:
    draws.recall(new_state)


def _manual_seed(draws: Draws, seed: int) -> torch.Generator:
    return draws.reseed(int(seed))


def _functions() -> Iterator[Function]:
    for module in (torch, torch.random):
        yield module, "get_rng_state", _get_rng_state
        yield module, "set_rng_state", _set_rng_state
        yield module, "manual_seed", _manual_seed


exchange = Exchange[Draws](_functions)
listening = exchange.listening


class Step:
    """Within, PyTorch's functions on this thread speak of the generators of ``draws``."""

    def __init__(self, draws: Draws) -> None:
        self.draws = draws
        self._before: list[Draws | None] = []

    def __enter__(self) -> None:
        self._before.append(exchange.use(self.draws))

    def __exit__(self, *exception: object) -> None:
        exchange.use(self._before.pop())
