"""The class that stands in for a module's own while a run trains it.

On the training thread it behaves as ever. From any other thread a call, a method of the
user's, ``state_dict``, a copy and a pickle work on a copy of the module as of a step boundary,
so that they neither see half a step nor disturb training; ``train`` and ``eval`` are left
to the run; and moving, converting, loading or freezing its weights is refused.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import nn

from nbtrain.engine.draws import as_plain
from nbtrain.engine.frames import TORCH
from nbtrain.errors import ModelError


class Guard(Protocol):
    """Who trains a module: its name, how others get a copy and are told so, and whether a
    module's parameters are the ones that it trains."""

    owner: str
    snapshot: Callable[[nn.Module], nn.Module]
    notify: Callable[[str], None]

    def trains(self, module: nn.Module) -> bool: ...


class _Local(threading.local):
    guard: Guard | None = None


_here = _Local()
guards: dict[int, Guard] = {}
"""Who trains a module, by its id."""

if hasattr(os, "register_at_fork"):
    # The trainer does not live on in a fork, and nobody would ever answer there.
    os.register_at_fork(after_in_child=guards.clear)


@contextmanager
def acting_as(guard: Guard | None) -> Iterator[None]:
    """Within, this thread is the one that trains what ``guard`` guards."""
    before, _here.guard = _here.guard, guard
    try:
        yield
    finally:
        _here.guard = before


def current() -> Guard | None:
    """Who trains on this thread, if it trains."""
    return _here.guard


def _other(module: nn.Module) -> Guard | None:
    """Who trains ``module`` on another thread, if anybody does."""
    guard = guards.get(id(module))
    return None if guard is _here.guard else guard


# Each lives as long as a module of it does: a cell that runs again makes its classes anew.
_classes: WeakValueDictionary[type, type[nn.Module]] = WeakValueDictionary()
_originals: WeakKeyDictionary[type, type[nn.Module]] = WeakKeyDictionary()


def guarded(cls: type[nn.Module]) -> type[nn.Module]:
    """The subclass that stands in for ``cls``. Raises what making a subclass raises."""
    made = _classes.get(cls)
    if made is None:
        made = _make(cls)
        _classes[cls], _originals[made] = made, cls
    return made


def original(cls: type[nn.Module]) -> type[nn.Module]:
    """The class that ``cls`` stands in for, or ``cls`` itself."""
    return _originals.get(cls, cls)


def _make(cls: Any) -> type[nn.Module]:
    class Guarded(cls):  # type: ignore[misc]  # a base that is known only when it runs
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # Made by a method, as a slice of a Sequential is: it is the user's, and ordinary.
            object.__setattr__(self, "__class__", cls)
            cls.__init__(self, *args, **kwargs)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            guard = guards.get(id(self))
            if guard is None or guard is _here.guard:
                return super().__call__(*args, **kwargs)
            _check_whole(guard, self)
            guard.notify(
                f"{guard.owner} is training this model, so the call went to a copy as of the "
                f"last step: {guard.owner}.model."
            )
            return guard.snapshot(self).eval()(*args, **kwargs)

        def train(self, mode: bool = True) -> Any:
            guard = _other(self)
            if guard is None:
                return super().train(mode)
            guard.notify(
                f"{guard.owner} is training this model, so .{'train' if mode else 'eval'}() was "
                f"left to it. Use {guard.owner}.model for a copy of your own."
            )
            return self

        def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
            # Under .to, .double, .half, .cuda and their kin.
            guard = _other(self)
            if guard is None:
                return super()._apply(fn, *args, **kwargs)
            with torch.no_grad():
                if all(fn(tensor) is tensor for tensor in (*self.parameters(), *self.buffers())):
                    return self  # they are there already
            raise _refusal(guard, "its weights can neither move to another device nor change type")

        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            guard = _other(self)
            if guard is None:
                return super().state_dict(*args, **kwargs)
            return guard.snapshot(self).state_dict(*args, **kwargs)

        def __reduce_ex__(self, protocol: Any) -> Any:
            guard = _other(self)
            reduce = super().__reduce_ex__
            if guard is not None:
                reduce = guard.snapshot(self).__reduce_ex__
            if cls.__reduce_ex__ is object.__reduce_ex__ and cls.__reduce__ is object.__reduce__:
                return as_plain(cls, reduce(2)[2])
            return _without(Guarded, cls, reduce(protocol))

    if hasattr(cls, "__deepcopy__"):
        Guarded.__deepcopy__ = _copying(cls.__deepcopy__)
    for name in _methods(cls):
        setattr(Guarded, name, _elsewhere_on_a_copy(name, getattr(cls, name)))
    for name, reason in _REFUSED.items():
        setattr(Guarded, name, _elsewhere_refused(getattr(cls, name), reason))
    Guarded.__name__, Guarded.__qualname__ = cls.__name__, cls.__qualname__
    Guarded.__module__, Guarded.__doc__ = cls.__module__, cls.__doc__
    return Guarded


def _methods(cls: type) -> set[str]:
    """The names of the methods that the user's own classes bring."""
    users = [base for base in cls.__mro__ if base.__module__.partition(".")[0] != "torch"]
    names = {
        name
        for base in users
        for name, value in vars(base).items()
        if isinstance(value, FunctionType) and not name.startswith("_")
    }
    names = {n for n in names if n == "forward" or not hasattr(nn.Module, n)}
    return {n for n in names if isinstance(getattr(cls, n), FunctionType)}


def _elsewhere_on_a_copy(name: str, method: Any) -> Any:
    @functools.wraps(method)
    def function(self: Any, *args: Any, **kwargs: Any) -> Any:
        guard = guards.get(id(self))
        if guard is None or guard is _here.guard:
            return method(self, *args, **kwargs)
        _check_whole(guard, self)
        guard.notify(
            f"{guard.owner} is training this model, so .{name}() went to a copy as of the last "
            f"step, and what it changes there does not reach the run: {guard.owner}.model."
        )
        return getattr(guard.snapshot(self).eval(), name)(*args, **kwargs)

    return function


def _elsewhere_refused(method: Any, reason: str) -> Any:
    @functools.wraps(method)
    def function(self: Any, *args: Any, **kwargs: Any) -> Any:
        guard = _other(self)
        if guard is None:
            return method(self, *args, **kwargs)
        raise _refusal(guard, reason)

    return function


_REFUSED = {
    "load_state_dict": "it cannot load weights",
    # Of each layer: a model that has this one as a part loads it by that name.
    "_load_from_state_dict": "it cannot load weights",
    "zero_grad": "its gradients cannot be cleared",
    "requires_grad_": "its weights can neither be frozen nor thawed",
    "share_memory": "its weights cannot move to shared memory",
}
"""What would change a step that is under way, and why it is refused."""


def _check_whole(guard: Guard, module: nn.Module) -> None:
    """Raise `ModelError` where a tool of PyTorch's, such as ``torch.func.functional_call``,
    calls ``module`` with other tensors in the place of its parameters: a step under way would
    compute with them. A training step may do so itself meanwhile, and is not meant."""
    if guard.trains(module):
        return
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((__file__, _LAYERS)):
        frame = frame.f_back
    if frame.f_code.co_filename.startswith(TORCH):
        raise _refusal(
            guard,
            "torch.func.functional_call, torch.export and their kin cannot put other tensors in "
            "the place of its weights",
        )


_LAYERS = os.path.join(TORCH, "nn", "modules")


def _refusal(guard: Guard, reason: str) -> ModelError:
    return ModelError(
        f"{guard.owner} is training this model, so {reason} now. Take a copy, "
        f"{guard.owner}.model, for that; or end the run first with {guard.owner}.stop()."
    )


def _without(ours: type, cls: type, reduced: Any) -> Any:
    """What the user's own ``__reduce__`` gave, with their class where it has taken ours."""
    if not isinstance(reduced, tuple):
        return reduced
    function, arguments, *rest = reduced
    plain = tuple(cls if a is ours else a for a in arguments)
    return (cls if function is ours else function, plain, *rest)


def _copying(method: Any) -> Any:
    @functools.wraps(method)
    def function(self: Any, memo: dict[int, Any]) -> Any:
        guard = _other(self)
        return method(self if guard is None else guard.snapshot(self), memo)

    return function
