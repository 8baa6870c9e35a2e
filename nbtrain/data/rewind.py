"""The state of a run's generators, where PyTorch is asked for that of its own.

Within a step, and while samples are made, draws come from the run's generators. So what asks
PyTorch for the state of its generator and puts it back later means theirs:
``torch.utils.checkpoint``, which computes layers again in the backward pass with the draws of
the forward one, ``torch.random.fork_rng``, and a model or a dataset that calls
``torch.manual_seed`` itself. All of these speak to the one ``torch.random.default_generator``,
and that is exchanged meanwhile, see `Exchange`; the functions stay PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from nbtrain.data.exchange import Exchange, Name, function


class Draws(Protocol):
    """Whose state it is."""

    def remember(self) -> Tensor: ...
    def recall(self, state: Tensor) -> None: ...
    def reseed(self, seed: int) -> torch.Generator: ...
    def initial_seed(self) -> int: ...


# The name in ``torch`` is not exchanged.
global_state: Callable[[], Tensor] = torch.default_generator.get_state
"""The state of PyTorch's own generator."""
set_global_state: Callable[[Tensor], object] = torch.default_generator.set_state
"""Put a state into PyTorch's own generator."""


class _Generator:
    """PyTorch's generator of the CPU; on a thread with an owner the run's."""

    def __init__(self, real: torch.Generator, exchange: Exchange[Draws]) -> None:
        self._real = real
        self._exchange = exchange

    def get_state(self) -> Tensor:
        draws = self._exchange.owner
        return self._real.get_state() if draws is None else draws.remember()

    def set_state(self, new_state: Tensor) -> torch.Generator:
        draws = self._exchange.owner
        if draws is None:
            return self._real.set_state(new_state)
        draws.recall(new_state)
        return self._real

    def manual_seed(self, seed: int) -> torch.Generator:
        draws = self._exchange.owner
        return self._real.manual_seed(seed) if draws is None else draws.reseed(int(seed))

    def seed(self) -> int:
        draws = self._exchange.owner
        if draws is None:
            return self._real.seed()
        seed = torch.Generator().seed()
        draws.reseed(seed)
        return seed

    def initial_seed(self) -> int:
        draws = self._exchange.owner
        return self._real.initial_seed() if draws is None else draws.initial_seed()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __reduce__(self) -> Any:
        return self._real.__reduce__()


def _reseed(draws: Draws, seed: int) -> None:
    draws.reseed(int(seed))


def _names() -> Iterator[Name]:
    yield torch.random, "default_generator", _Generator
    # ``torch.manual_seed`` calls these as well, and other cells share what they seed.
    yield function(torch.cuda, "manual_seed_all", _reseed)
    yield function(torch.xpu, "manual_seed_all", _reseed)
    yield function(torch.mps, "manual_seed", _reseed)


exchange = Exchange[Draws](_names)
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
