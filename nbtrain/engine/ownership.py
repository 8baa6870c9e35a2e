"""Whose model is it? While a run trains it, the run's; at the end, the user's again.

The run trains the user's own object in place. So that another cell neither sees half a step
nor disturbs training, the class of the model and of every layer with a state is exchanged
for one that stands in for it while the run lives (see `guard`). `nn.Dropout` layers become
`RunDropout` likewise. Copying and pickling give the original classes.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nbtrain.engine.draws import RunDropout
from nbtrain.engine.guard import acting_as, current, guarded, guards, original
from nbtrain.errors import ModelError

_lock = threading.Lock()
_owners: dict[int, Ownership] = {}  # id of a parameter or buffer → who trains it
_exchanged: dict[int, _Exchanged] = {}  # id of a module → what became of its class


class Ownership:
    """One run's hold on one model, from `take` to `release`.

    Args:
        model: the user's module.
        owner: the run's name, for messages.
        snapshot: gives a copy of the model, or of a layer of it, as of a step boundary;
            called on threads other than the training one.
    """

    def __init__(
        self, model: nn.Module, owner: str, snapshot: Callable[[nn.Module], nn.Module]
    ) -> None:
        self.model = model
        self.owner = owner
        self.snapshot = snapshot
        self.notify: Callable[[str], None] = lambda text: None
        self._owned: list[Tensor] = []
        self._modules: list[nn.Module] = []

    def take(self) -> None:
        """Begin. Raises `ModelError` if a living run trains one of the parameters, and what
        the model's own class raises; then nothing is taken."""
        try:
            self.extend()
        except BaseException:
            self.release()
            raise

    def extend(self) -> None:
        """Take what joined the model since too. Raises as `take` does."""
        with _lock:
            joined = [w for w in _states(self.model) if _owners.get(id(w)) is not self]
            _check_free(joined)
            self._owned.extend(joined)
            _owners.update((id(tensor), self) for tensor in joined)
        self._guard()

    def _guard(self) -> None:
        held = {id(module) for module in self._modules}
        for module in within_reach(self.model):
            if id(module) in held:
                continue
            before = original(type(module))
            if before is nn.Dropout or before is RunDropout:
                self._exchange(module, RunDropout)
            elif _has_state(module) and not _minds(before):
                self._exchange(module, guarded(before))
                guards[id(module)] = self

    def _exchange(self, module: nn.Module, cls: type[nn.Module]) -> None:
        with _lock:
            # A layer without a state may be in the models of several live runs.
            entry = _exchanged.setdefault(id(module), _Exchanged(original(type(module)), cls))
            entry.count += 1
            _put(module, cls)
        self._modules.append(module)

    def release(self) -> None:
        """End: the model is an ordinary module again. Twice does nothing more."""
        with _lock:
            for tensor in self._owned:
                if _owners.get(id(tensor)) is self:
                    del _owners[id(tensor)]
            for module in self._modules:
                if guards.get(id(module)) is self:
                    del guards[id(module)]
                entry = _exchanged[id(module)]
                entry.count -= 1
                if entry.count == 0:
                    del _exchanged[id(module)]
                    # Somebody may have put a class of theirs over ours, as parametrizations do.
                    if type(module) is entry.after:
                        _put(module, entry.before)
        self._owned.clear()
        self._modules.clear()

    def trains(self, module: nn.Module) -> bool:
        """Whether every parameter of what this guards in ``module`` is one that was taken."""
        mine = [part for part in module.modules() if guards.get(id(part)) is self]
        held = (w for part in mine for w in part.parameters(recurse=False))
        return all(_owners.get(id(w)) is self for w in held)

    def here(self) -> AbstractContextManager[None]:
        """Within, this thread is the one that trains the model."""
        return acting_as(self)


def _forked() -> None:
    global _lock
    _lock = threading.Lock()  # who held it does not live on here
    # Nor do the trainers, so the models are ordinary modules again.
    for ownership in set(_owners.values()):
        ownership.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@dataclass(slots=True)
class _Exchanged:
    """The class that a module had before and has now, and for how many runs."""

    before: type[nn.Module]
    after: type[nn.Module]
    count: int = 0


def _put(module: nn.Module, cls: type[nn.Module]) -> None:
    object.__setattr__(module, "__class__", cls)  # a module may have a __setattr__ of its own


def within_reach(module: nn.Module) -> Iterator[nn.Module]:
    """``module`` and the modules in it, but for what was compiled: that knows their classes."""
    seen: set[int] = set()
    pending = [module]
    while pending:
        module = pending.pop()
        if id(module) in seen or _is_compiled(module):
            continue
        seen.add(id(module))
        yield module
        pending.extend(module.children())


def _states(module: nn.Module) -> list[Tensor]:
    """What a step may change in ``module``: its parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


def _has_state(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())


def adopt() -> None:
    """Parameters have joined the model that this thread trains: they are its run's too."""
    guard = current()
    if isinstance(guard, Ownership):
        guard.extend()


def check_free(model: nn.Module) -> None:
    """Raise `ModelError` if a living run trains one of the parameters of ``model``."""
    with _lock:
        _check_free(_states(model))


def _check_free(states: list[Tensor]) -> None:
    for tensor in states:
        other = _owners.get(id(tensor))
        if other is not None:
            raise ModelError(
                f"The run {other.owner!r} is training this model now, and two live runs never "
                f"share parameters. Stop it with {other.owner}.stop(), or train a copy: "
                "model = copy.deepcopy(model)."
            )


def plain_copy(model: nn.Module) -> nn.Module:
    """A deep copy of ``model`` with its original classes, gradients left out.

    Only called where the model stands still: between two steps, or after the end.
    """
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        if type(parameter) is nn.Parameter:
            # deepcopy would copy the gradient too, and give the copy twice the memory.
            copied = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
            memo[id(parameter)] = copied
    for tensor in _tensors_with_graph(model):
        memo.setdefault(id(tensor), tensor.detach().clone())
    with acting_as(guards.get(id(model))):
        other = copy.deepcopy(model, memo)
    for module in other.modules():
        if original(type(module)) is not type(module):  # copied in a way of the user's own
            _put(module, original(type(module)))
    return other


def _tensors_with_graph(model: nn.Module) -> Iterator[Tensor]:
    """Tensors kept as attributes, such as the last attention map, that deepcopy refuses."""
    pending: list[Any] = [list(vars(module).values()) for module in model.modules()]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            if not value.is_leaf:
                yield value
        elif type(value) is dict:
            pending.extend(value.values())
        elif type(value) in (list, tuple):
            pending.extend(value)


def _is_compiled(module: nn.Module) -> bool:
    compiled = type(module).__name__ == "OptimizedModule" or isinstance(
        module, torch.jit.ScriptModule
    )
    return compiled or getattr(module, "_compiled_call_impl", None) is not None


def _minds(cls: type) -> bool:
    """Whether the user's class looks after its subclasses: it may ask for keywords, or list
    them all, so it gets none of ours and goes unguarded."""
    return hasattr(cls.__init_subclass__, "__func__")
