"""Draws from torch's global generators, made from others."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_CPU = torch.device("cpu")


class TorchDraws(TorchDispatchMode):
    """Within, what this thread draws without naming a generator comes from ours, one a device.

    Other threads are not touched. Every torch operator within costs some 10 µs more, so
    this is for datasets that do draw from torch.
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self._seed = 0
        self._generators: dict[torch.device, torch.Generator] = {}

    def reseed(self, seed: int) -> torch.Generator:
        """What ``torch.manual_seed`` does within. Returns the CPU's generator."""
        self._seed = seed
        for generator in self._generators.values():
            generator.manual_seed(seed)
        return self._generator(_CPU)

    def initial_seed(self) -> int:
        """What ``torch.initial_seed`` gives within."""
        return self._generator(_CPU).initial_seed()

    def remember(self) -> Tensor:
        """What ``torch.get_rng_state`` gives within."""
        return self._generator(_CPU).get_state()

    def recall(self, state: Tensor) -> None:
        """What ``torch.set_rng_state`` does within."""
        self._generator(_CPU).set_state(state)

    def _generator(self, device: torch.device) -> torch.Generator:
        found = self._generators.get(device)
        if found is None:
            found = torch.Generator(device).manual_seed(self._seed)
            self._generators[device] = found
        return found

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        target = taking_generator(func) if may_draw(func) else None
        if target is None or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        generator = self._generator(device_of(args, kwargs))
        return target(*args, **{**kwargs, "generator": generator})


@functools.cache
def may_draw(func: Any) -> bool:
    """Whether an operator may draw."""
    return torch.Tag.nondeterministic_seeded in func.tags


@functools.cache
def taking_generator(func: Any) -> Any:
    """The form of an operator that takes a generator: itself, or one for the same arguments
    and a generator; None if there is no such form."""
    if any(argument.name == "generator" for argument in func._schema.arguments):
        return func
    packet, name = func.overloadpacket, func._overloadname
    others = {"default": "generator", "names": "generator_with_names"}
    wanted = others.get(name, f"{name}_generator")
    return getattr(packet, wanted) if wanted in packet.overloads() else None


def device_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    """Where an operator works: the device it names, else that of its first tensor."""
    device = kwargs.get("device")
    if device is None:
        device = next((a.device for a in args if isinstance(a, Tensor)), None)
    if device is None:
        device = next((v.device for v in kwargs.values() if isinstance(v, Tensor)), None)
    return torch.device("cpu") if device is None else torch.device(device)
