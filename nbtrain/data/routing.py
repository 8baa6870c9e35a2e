"""Draws from torch's global generator, made from another one."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class TorchDraws(TorchDispatchMode):
    """Within, what this thread draws on the CPU without naming a generator comes from ours.

    Other threads are not touched. Every torch operator within costs some 10 µs more, so
    this is for datasets that do draw from torch.
    """

    def __init__(self, generator: torch.Generator) -> None:
        TorchDispatchMode.__init__(self)
        self.generator = generator

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        target = _with_generator(func)
        if target is not None and kwargs.get("generator") is None:
            return target(*args, **{**kwargs, "generator": self.generator})
        return func(*args, **kwargs)


@functools.cache
def _with_generator(func: Any) -> Any:
    """The form of an operator that takes a generator; None if it does not draw."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return None
    if any(argument.name == "generator" for argument in func._schema.arguments):
        return func
    packet, name = func.overloadpacket, func._overloadname
    wanted = "generator" if name == "default" else f"{name}_generator"
    return getattr(packet, wanted) if wanted in packet.overloads() else None
