"""The optimizer's update, at the price of its arithmetic.

On a small network half of the time in ``torch.optim.Adam.step`` goes to what it does again
every step: gathering lists that do not change, looking for hooks, recording for a profiler.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim import optimizer as torch_optimizer

from nbtrain.engine.ownership import adopt
from nbtrain.errors import ModelError


def update_of(optimizer: Optimizer) -> Callable[[], object]:
    """What to call in the place of ``optimizer.step``: the same arithmetic, the same state
    and the same bits, in less time where that is possible.

    Good until a parameter joins or leaves the optimizer, as `Trained.look` notices.
    """
    parts = _parts()
    if (
        parts is not None
        and type(optimizer) in (Adam, AdamW)
        and all(_is_plain(g) for g in optimizer.param_groups)
    ):
        return _FusedAdam(optimizer, parts)
    return optimizer.step


class _Parts(NamedTuple):
    """What is PyTorch's own and private: the kernels, and the hooks of all optimizers."""

    adam: Callable[..., object]
    adamw: Callable[..., object]
    pre_hooks: dict[Any, Any]
    post_hooks: dict[Any, Any]


def _parts() -> _Parts | None:
    """The private parts of this PyTorch, or None where it has no such."""
    try:
        return _Parts(
            torch._fused_adam_,
            torch._fused_adamw_,
            torch_optimizer._global_optimizer_pre_hooks,
            torch_optimizer._global_optimizer_post_hooks,
        )
    except AttributeError:
        return None


def _is_torchs(step: Any) -> bool:
    """Whether ``step`` is PyTorch's own, to its innermost function: somebody may patch it."""
    while step is not None:
        code = getattr(step, "__code__", None)
        if code is None or code.co_filename not in _FILES:
            return False
        step = getattr(step, "__wrapped__", None)
    return True


_FILES = {inspect.getfile(torch_optimizer), inspect.getfile(Adam), inspect.getfile(AdamW)}


class Trained:
    """The parameters that an optimizer trains, in one list that follows its groups.

    A step may add groups to it, as who unfreezes a network layer by layer does.
    """

    def __init__(self, optimizer: Optimizer, model: nn.Module) -> None:
        self.parameters: list[nn.Parameter] = []
        self._optimizer, self._model = optimizer, model
        self._known: list[list[Tensor]] = []
        self.gather()

    def look(self) -> bool:
        """Whether parameters joined or left in this step. Called on the training thread, after
        each backward pass. Raises `ModelError` if another living run trains what joined."""
        groups = self._optimizer.param_groups
        if len(groups) == len(self._known):
            for group, known in zip(groups, self._known, strict=True):
                weights = group["params"]
                if len(weights) != len(known) or not all(map(is_, weights, known)):
                    break
            else:
                return False
        self.gather()
        adopt()
        return True

    def explained(self, error: Exception) -> Exception:
        """What to raise for ``error``, which ended a step: where other tensors stand in the
        place of the model's weights, it is most likely their doing."""
        now = self._model.named_parameters()
        if all(weight is self._named.get(name, weight) for name, weight in now):
            return error
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        return ModelError(
            "Other tensors have taken the place of the model's weights during this step, as "
            "torch.func.functional_call, torch.export and their kin put them there. In another "
            "cell, call these with a copy: the run's .model. What the step met: "
            f"{reason.rstrip('.')}."
        )

    def clear(self) -> None:
        """Let go of every gradient: the optimizer's, and those of the model's other weights."""
        for weight in self._every:
            weight.grad = None

    def gather(self) -> None:
        """List them anew, with what the model has besides."""
        groups = self._optimizer.param_groups
        self._known = [list(group["params"]) for group in groups]
        self.parameters[:] = [weight for group in groups for weight in group["params"]]
        self._named = dict(self._model.named_parameters())
        every = {id(weight): weight for weight in (*self._named.values(), *self.parameters)}
        self._every = tuple(every.values())


def _is_plain(group: dict[str, Any]) -> bool:
    """Whether the fused kernel takes ``group`` as one list of tensors on the CPU."""
    kinds = {(w.device.type, w.dtype) for w in group["params"]}
    unusual = group["amsgrad"] or group["differentiable"] or group["capturable"]
    alike = len(kinds) == 1 and next(iter(kinds))[0] == "cpu"
    return bool(group["fused"]) and alike and not unusual


@dataclass(slots=True)
class _Lists:
    """A group's parameters and their state, in one order."""

    parameters: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]


class _FusedAdam:
    """Calls the kernel that ``Adam.step`` calls, on lists that it keeps.

    Whatever is out of the ordinary in a step (the first one, hooks, a parameter without a
    gradient, settings that are tensors) is left to ``Adam.step``.
    """

    def __init__(self, optimizer: Optimizer, parts: _Parts) -> None:
        self._optimizer = optimizer
        self._parts = parts
        self._step: Any = None
        self._lists: list[_Lists] = []
        self._state: object = None

    def __call__(self) -> None:
        optimizer = self._optimizer
        groups = optimizer.param_groups
        gradients: list[list[Any]] = [[w.grad for w in g.parameters] for g in self._lists]
        if optimizer.state is not self._state or self._is_unusual(gradients):
            optimizer.step()
            self._gather()
            return
        with torch.no_grad():
            for group, lists, slopes in zip(groups, self._lists, gradients, strict=True):
                decoupled = group["decoupled_weight_decay"]
                adam = self._parts.adamw if decoupled else self._parts.adam
                torch._foreach_add_(lists.steps, 1)
                adam(
                    lists.parameters,
                    slopes,
                    lists.means,
                    lists.squares,
                    [],
                    lists.steps,
                    lr=group["lr"],
                    beta1=group["betas"][0],
                    beta2=group["betas"][1],
                    weight_decay=group["weight_decay"],
                    eps=group["eps"],
                    amsgrad=False,
                    maximize=group["maximize"],
                )

    def _is_unusual(self, gradients: list[list[Any]]) -> bool:
        optimizer = self._optimizer
        return (
            # A scheduler of the user's, or a hook, replaces or accompanies `step`.
            "step" in vars(optimizer)
            or type(optimizer).step is not self._step
            or bool(optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)
            or bool(self._parts.pre_hooks or self._parts.post_hooks)
            or any(any(map(is_, slopes, repeat(None))) for slopes in gradients)
            or any(isinstance(group["lr"], Tensor) for group in optimizer.param_groups)
        )

    def _gather(self) -> None:
        """Keep the lists, if every parameter has its state by now."""
        self._lists, self._state = [], None
        self._step = type(self._optimizer).step
        if not _is_torchs(self._step):
            return
        state = self._optimizer.state
        for group in self._optimizer.param_groups:
            parameters = list(group["params"])
            if not _is_plain(group) or not all(state.get(w) for w in parameters):
                self._lists = []
                return
            columns = (
                [state[w][key] for w in parameters] for key in ("exp_avg", "exp_avg_sq", "step")
            )
            self._lists.append(_Lists(parameters, *columns))
        self._state = state
