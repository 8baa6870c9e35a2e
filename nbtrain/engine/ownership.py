"""Whose model is it? While a run trains it, the run's; at the end, the user's again.

The run trains the user's own object in place. So that a call from another cell neither sees
half a step nor disturbs training, the object's class is exchanged for a subclass of its own
while the run lives: on the training thread it behaves as ever; a call from any other thread
works on a copy as of a step boundary. `nn.Dropout` layers become `RunDropout` likewise.
Copying and pickling give the original classes.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nbtrain.engine.draws import RunDropout, as_plain
from nbtrain.errors import ModelError

_training = threading.local()
_lock = threading.Lock()
_owners: dict[int, Ownership] = {}  # id of a parameter → who trains it


class Ownership:
    """One run's hold on one model, from `take` to `release`.

    Args:
        model: the user's module.
        owner: the run's name, for messages.
        snapshot: gives a copy of the model as of a step boundary; called on threads other
            than the training one.
    """

    def __init__(self, model: nn.Module, owner: str, snapshot: Callable[[], nn.Module]) -> None:
        self.model = model
        self.owner = owner
        self.snapshot = snapshot
        self.notify: Callable[[str], None] = lambda text: None
        self._parameters = [id(p) for p in model.parameters()]
        self._classes: list[tuple[nn.Module, type]] = []

    def take(self) -> None:
        """Begin. Raises `ModelError` if a living run trains one of the parameters, and what
        the model's own class raises; then nothing is taken."""
        with _lock:
            _check_free(self._parameters)
            _owners.update(dict.fromkeys(self._parameters, self))
        try:
            self._guard()
        except BaseException:
            self.release()
            raise

    def _guard(self) -> None:
        if _is_compiled(self.model):
            return
        for module in self.model.modules():
            if type(module) is nn.Dropout:
                self._swap(module, RunDropout)
        if not isinstance(self.model, torch.jit.ScriptModule) and not _minds(type(self.model)):
            self._swap(self.model, _guarded(type(self.model)))
            _guards[id(self.model)] = self

    def _swap(self, module: nn.Module, cls: type[nn.Module]) -> None:
        self._classes.append((module, type(module)))
        module.__class__ = cls

    def release(self) -> None:
        """End: the model is an ordinary module again. Twice does nothing more."""
        with _lock:
            for key in self._parameters:
                if _owners.get(key) is self:
                    del _owners[key]
        _guards.pop(id(self.model), None)
        for module, original in reversed(self._classes):
            module.__class__ = original
        self._classes.clear()

    def here(self) -> _Here:
        """Within, this thread is the one that trains the model."""
        return _Here(self)


def check_free(model: nn.Module) -> None:
    """Raise `ModelError` if a living run trains one of the parameters of ``model``."""
    with _lock:
        _check_free([id(p) for p in model.parameters()])


def _check_free(parameters: list[int]) -> None:
    for key in parameters:
        other = _owners.get(key)
        if other is not None:
            raise ModelError(
                f"The run {other.owner!r} is training this model now, and two live runs never "
                f"share parameters. Stop it with {other.owner}.stop(), or train a copy: "
                "model = copy.deepcopy(model)."
            )


class _Here:
    def __init__(self, ownership: Ownership) -> None:
        self.ownership = ownership

    def __enter__(self) -> None:
        self.before = getattr(_training, "ownership", None)
        _training.ownership = self.ownership

    def __exit__(self, *exception: object) -> None:
        _training.ownership = self.before


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
    return copy.deepcopy(model, memo)


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


_guards: dict[int, Ownership] = {}
_guarded_classes: dict[type, type[nn.Module]] = {}


def _guarded(cls: type[nn.Module]) -> type[nn.Module]:
    """The subclass that stands in for ``cls`` while a run trains."""
    if cls in _guarded_classes:
        return _guarded_classes[cls]

    class Guarded(cls):  # type: ignore[misc, valid-type]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            guard = _guards.get(id(self))
            if guard is None or getattr(_training, "ownership", None) is guard:
                return super().__call__(*args, **kwargs)
            guard.notify(
                f"{guard.owner} is training this model, so the call went to a copy as of the "
                f"last step: {guard.owner}.model."
            )
            return guard.snapshot()(*args, **kwargs)

        def train(self, mode: bool = True) -> Any:
            guard = _guards.get(id(self))
            if guard is None or getattr(_training, "ownership", None) is guard:
                return super().train(mode)
            guard.notify(
                f"{guard.owner} is training this model, so .{'train' if mode else 'eval'}() was "
                f"left to it. Use {guard.owner}.model for a copy of your own."
            )
            return self

        def __reduce_ex__(self, protocol: Any) -> Any:
            reduced = super().__reduce_ex__(protocol)
            if not isinstance(reduced, tuple) or reduced[1][:1] != (Guarded,):
                return reduced  # the user's own way
            state = reduced[2] if len(reduced) > 2 else None
            return as_plain(cls, state)

    Guarded.__name__, Guarded.__qualname__ = cls.__name__, cls.__qualname__
    Guarded.__module__, Guarded.__doc__ = cls.__module__, cls.__doc__
    _guarded_classes[cls] = Guarded
    return Guarded


def _is_compiled(model: nn.Module) -> bool:
    return type(model).__name__ == "OptimizedModule"


def _minds(cls: type) -> bool:
    """Whether the user's class looks after its subclasses: it may ask for keywords, or list
    them all, so it gets none of ours and goes unguarded."""
    return hasattr(cls.__init_subclass__, "__func__")
