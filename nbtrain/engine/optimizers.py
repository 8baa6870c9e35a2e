"""Optimizers by name, and the settings they have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nbtrain.errors import ModelError

_CLASSES: dict[str, type[Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "nesterov": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
}
_FROZEN = (
    "The model has no parameter to train: all of them are frozen, or there are none. "
    "Set requires_grad_(True) on the layers that should learn."
)
_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
_SPARSE = (torch.optim.SGD, torch.optim.Adagrad)


def build(name: str, model: nn.Module, device: torch.device, **settings: float | None) -> Optimizer:
    """The optimizer called ``name`` over the parameters of ``model`` that take gradients.

    ``settings`` may hold ``lr``, ``momentum`` and ``weight_decay``; None leaves the
    optimizer's own default. Raises `ModelError` if no such optimizer can train the model.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ModelError(_FROZEN)
    cls = _CLASSES[name]
    sparse = _gives_sparse(model)
    if sparse is not None and (cls not in _SPARSE or settings.get("weight_decay")):
        what = "weight decay" if cls in _SPARSE else cls.__name__
        raise ModelError(
            f"{sparse} has sparse=True: it gives sparse gradients, which {what} cannot take. Leave "
            "sparse=True out, or take --optimizer sgd or adagrad without weight decay."
        )
    keywords: dict[str, Any] = {k: v for k, v in settings.items() if v is not None}
    momentum = keywords.pop("momentum", None)
    if name == "nesterov" and momentum == 0:
        raise ModelError(
            "Nesterov momentum must be above 0. Give a --momentum, such as 0.9, or take "
            "--optimizer sgd."
        )
    if name == "nesterov":
        keywords |= {"nesterov": True, "momentum": 0.9 if momentum is None else momentum}
    elif momentum is not None:
        _put_momentum(cls, keywords, momentum, name)
    if (
        cls in _FUSED
        and sparse is None  # no fused kernel takes sparse gradients
        and device.type in ("cpu", "cuda")
        and all(p.is_floating_point() for p in trained)
    ):
        keywords["fused"] = True
    return cls(trained, **keywords)


def _gives_sparse(model: nn.Module) -> str | None:
    """The first layer that trains by sparse gradients, or None."""
    for name, module in model.named_modules():
        embeds = isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse
        if embeds and module.weight.requires_grad:
            return f"{type(module).__name__} at model" + (f".{name}" if name else "")
    return None


def _put_momentum(
    cls: type[Optimizer], keywords: dict[str, Any], momentum: float, name: str
) -> None:
    parameters = inspect.signature(cls).parameters
    if "momentum" in parameters:
        keywords["momentum"] = momentum
    elif "betas" in parameters:
        keywords["betas"] = (momentum, parameters["betas"].default[1])
    else:
        raise ModelError(
            f"{cls.__name__} has no momentum. Leave --momentum out, or take --optimizer sgd, "
            f"rmsprop or adam instead of {name}."
        )


def from_cell(given: Any, model: nn.Module) -> Optimizer:
    """The optimizer that the cell left: an instance, or a function of the parameters.

    Raises `ModelError` if it trains none of the model's parameters.
    """
    if isinstance(given, Optimizer):
        optimizer = given
    elif callable(given):
        optimizer = _made_by(given, model)
    else:
        raise ModelError(
            f"`optimizer` is a {type(given).__name__}. Leave a torch.optim optimizer, or a "
            "function that makes one: "
            "optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.1)."
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ModelError(
            "LBFGS evaluates the loss several times a step, so it has no steps to steer between. "
            "Take another optimizer, such as --optimizer adam."
        )
    if not any(p.requires_grad for group in optimizer.param_groups for p in group["params"]):
        raise ModelError(_FROZEN)
    known = {id(p) for p in model.parameters()}
    if not any(id(p) in known for group in optimizer.param_groups for p in group["params"]):
        raise ModelError(
            "The `optimizer` holds none of the model's parameters: it was made for another model, "
            "perhaps in an earlier cell. Make it after the model, from model.parameters()."
        )
    return optimizer


def _made_by(make: Callable[..., Any], model: nn.Module) -> Optimizer:
    made = make([p for p in model.parameters() if p.requires_grad])
    if not isinstance(made, Optimizer):
        raise ModelError(
            f"`optimizer` returned a {type(made).__name__}; it must return a torch.optim optimizer."
        )
    return made


def no_momentum(optimizer: Optimizer) -> ModelError:
    """The error for an ``optimizer`` of the cell's and a --momentum that it cannot have."""
    return ModelError(f"{type(optimizer).__name__} has no momentum. Leave --momentum out.")


def momentum_of(optimizer: Optimizer) -> float | None:
    """Momentum, or beta 1 of the Adam family; None where there is neither."""
    group = optimizer.param_groups[0]
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def set_momentum(optimizer: Optimizer, value: float) -> str | None:
    """Set what `momentum_of` reads, in every group. Returns why not, or None."""
    for group in optimizer.param_groups:
        if "momentum" in group:
            if value == 0 and group.get("nesterov"):
                return "Nesterov momentum must be above 0."
            group["momentum"] = value
            if value and isinstance(optimizer, torch.optim.RMSprop):
                # It makes this buffer at its first step only, and misses it here.
                for state in (optimizer.state.get(p, {}) for p in group["params"]):
                    if state and "momentum_buffer" not in state:
                        state["momentum_buffer"] = torch.zeros_like(state["square_avg"])
        elif "betas" in group:
            group["betas"] = (value, group["betas"][1])
    return None


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the first group's learning rate; the others keep their ratio to it."""
    first = float(optimizer.param_groups[0]["lr"])
    for group in optimizer.param_groups:
        value = lr * float(group["lr"]) / first if first > 0 else lr
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


def weight_decay_of(optimizer: Optimizer) -> float | None:
    """The largest weight decay of any group, or None where the optimizer has none."""
    if "weight_decay" not in optimizer.param_groups[0]:
        return None
    return max(float(group["weight_decay"]) for group in optimizer.param_groups)


def decay_shares(optimizer: Optimizer) -> list[float]:
    """Each group's weight decay as a share of the largest: biases often have none."""
    largest = weight_decay_of(optimizer)
    if not largest:
        return [1.0] * len(optimizer.param_groups)
    return [float(group["weight_decay"]) / largest for group in optimizer.param_groups]


def set_weight_decay(optimizer: Optimizer, value: float, shares: list[float]) -> None:
    """Set the weight decay of every group to its share of ``value``.

    ``shares`` grows by those of groups that joined since.
    """
    groups = optimizer.param_groups
    now = max(float(group["weight_decay"]) for group in groups[: len(shares)])
    for group in groups[len(shares) :]:
        shares.append(float(group["weight_decay"]) / now if now else 1.0)
    for group, share in zip(groups, shares, strict=True):
        group["weight_decay"] = value * share


def skips_by_flag(optimizer: Optimizer) -> bool:
    """Whether ``optimizer`` can skip an update on the device by a flag (``found_inf``)."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False)) and all(
        group.get("fused") for group in optimizer.param_groups
    )


def skip_by_flag(optimizer: Any, found: Tensor) -> None:
    """Have ``optimizer`` skip its updates while ``found`` is 1, as `GradScaler` has it do."""
    optimizer.found_inf = found
