"""Losses by name, and the loss that fits the targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nbtrain.errors import ModelError, UnknownName

Kind = Literal["classes", "binary", "values"]
LossFunction = Callable[[Any, Any], Tensor]

_BY_NAME: dict[str, Callable[[], nn.Module]] = {
    "cross-entropy": nn.CrossEntropyLoss,
    "bce": nn.BCEWithLogitsLoss,
    "mse": nn.MSELoss,
    "mae": nn.L1Loss,
    "huber": nn.HuberLoss,
    "nll": nn.NLLLoss,
}
_KINDS: dict[type, Kind] = {
    nn.CrossEntropyLoss: "classes",
    nn.NLLLoss: "classes",
    nn.BCEWithLogitsLoss: "binary",
    nn.BCELoss: "binary",
}
_PLURAL = {True: "", False: "s"}


@dataclass(slots=True)
class Loss:
    """A loss and what is known of it.

    ``function(outputs, targets)`` gives a scalar tensor, the mean over the batch. ``kind``
    tells what the targets are, so that accuracy can be measured; ``note`` says in a
    sentence why this loss.
    """

    function: LossFunction
    kind: Kind
    name: str
    note: str

    @property
    def smooths(self) -> bool:
        """Whether the loss knows label smoothing."""
        return isinstance(self.function, nn.CrossEntropyLoss)

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        if self.kind != "classes" and isinstance(outputs, Tensor) and isinstance(targets, Tensor):
            # (n, 1) against (n,) would broadcast to (n, n) and train on nonsense.
            if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1:
                outputs = outputs.squeeze(-1)
            elif targets.ndim == outputs.ndim + 1 and targets.shape[-1] == 1:
                targets = targets.squeeze(-1)
            if self.kind == "binary" and not targets.is_floating_point():
                targets = targets.to(outputs.dtype)
        elif self.kind == "classes" and _class_last(outputs, targets):
            outputs, targets = outputs.flatten(0, -2), targets.flatten()
        return self.function(outputs, targets)

    def scores(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs ``(m, classes)`` and targets ``(m,)`` to count right answers by; for binary
        targets both ``(m,)``."""
        if self.kind == "binary":
            return outputs.flatten(), targets.flatten()
        if outputs.ndim > 2 and not _class_last(outputs, targets):
            outputs = outputs.movedim(1, -1)
        if targets.ndim == outputs.ndim:  # class probabilities instead of indices
            targets = targets.argmax(-1)
        return outputs.flatten(0, -2), targets.flatten()


def _class_last(outputs: Any, targets: Any) -> bool:
    """Whether outputs are (batch, time, classes), as sequence models give them, and do not
    also fit PyTorch's own (batch, classes, time)."""
    return (
        isinstance(outputs, Tensor)
        and isinstance(targets, Tensor)
        and outputs.ndim >= 3
        and targets.shape == outputs.shape[:-1]
        and targets.shape[1:] != outputs.shape[2:]
    )


def named(name: str, outputs: Tensor, targets: Tensor) -> Loss:
    """The loss called ``name``. Raises `ModelError` where it does not fit the shapes."""
    module = _BY_NAME[name]()
    loss = Loss(module, _KINDS.get(type(module), "values"), name, f"{name}, as asked")
    _check(loss, outputs, targets)
    return loss


def from_cell(given: Any) -> Loss:
    """The loss that the cell left: a module or a function of (outputs, targets)."""
    if isinstance(given, str):
        if given not in _BY_NAME:
            raise ModelError(
                f"`loss` is {given!r}. Leave one of {', '.join(_BY_NAME)}, or a function."
            )
        given = _BY_NAME[given]()
    if isinstance(given, type) or not callable(given):
        what = (
            f"the class {given.__name__}"
            if isinstance(given, type)
            else f"a {type(given).__name__}"
        )
        raise ModelError(
            f"`loss` is {what}. Leave a function of (outputs, targets), such as "
            "nn.CrossEntropyLoss()."
        )
    name = (
        type(given).__name__ if isinstance(given, nn.Module) else getattr(given, "__name__", "loss")
    )
    kind: Kind = next((k for cls, k in _KINDS.items() if isinstance(given, cls)), "values")
    if getattr(given, "__module__", "") == "torch.nn.functional":
        kind = "classes" if name in ("cross_entropy", "nll_loss") else kind
        if name.startswith("binary_cross"):
            kind = "binary"
    return Loss(given, kind, name, f"{name}, from the cell")


def infer(outputs: Any, targets: Any, whole: Tensor | None) -> Loss:
    """The loss that fits the targets.

    Integer targets: cross-entropy. Floats that are all 0 or 1: binary cross-entropy with
    logits. Other floats: mean squared error.

    Args:
        outputs: the model's outputs for the example batch, shape ``(n, …)``.
        targets: the example's targets.
        whole: more targets to judge by, or None.

    Raises:
        ModelError: saying how outputs and targets fail to fit.
    """
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        what = type(targets if isinstance(outputs, Tensor) else outputs).__name__
        which = "targets are" if isinstance(outputs, Tensor) else "model's outputs are"
        raise ModelError(
            f"The {which} a {what}, so the loss cannot be inferred. Leave a function "
            "`loss(outputs, targets)` in the cell, or define `training_step(model, batch)`."
        )
    sample = targets if whole is None else whole
    if not sample.is_floating_point() and sample.dtype != torch.bool:
        classes = int(sample.max()) + 1 if sample.numel() else 0
        if outputs.ndim >= 1 and outputs.shape[-1] == 1 and classes <= 2 and outputs.ndim <= 2:
            note = (
                "Binary cross-entropy with logits, because the targets are 0 or 1 and there is "
                "one output."
            )
            loss = Loss(nn.BCEWithLogitsLoss(), "binary", "bce", note)
        else:
            note = f"Cross-entropy, because the targets are {classes} integer classes."
            loss = Loss(nn.CrossEntropyLoss(), "classes", "cross-entropy", note)
        _check(loss, outputs, sample if sample.ndim == 1 else targets, classes)
        return loss
    if sample.dtype == torch.bool or bool(((sample == 0) | (sample == 1)).all()):
        note = "Binary cross-entropy with logits, because every target is 0 or 1."
        loss = Loss(nn.BCEWithLogitsLoss(), "binary", "bce", note)
    else:
        loss = Loss(
            nn.MSELoss(),
            "values",
            "mse",
            "Mean squared error, because the targets are real numbers.",
        )
    _check(loss, outputs, targets)
    return loss


def _check(loss: Loss, outputs: Tensor, targets: Tensor, classes: int | None = None) -> None:
    if loss.kind == "classes":
        if targets.is_floating_point() and targets.shape != outputs.shape:
            raise ModelError(
                f"{loss.name} needs integer targets, and these are {targets.dtype}. "
                "Convert them with y.astype(int), or take --loss mse to fit real numbers."
            )
        if not targets.is_floating_point():
            present = classes or (int(targets.max()) + 1 if targets.numel() else 0)
            width = (
                outputs.shape[1] if outputs.ndim == 2 else outputs.shape[-1] if outputs.ndim else 1
            )
            if outputs.ndim in (2, 3) and present > width and present > outputs.shape[1]:
                raise ModelError(
                    f"The targets hold classes 0 to {present - 1}, but the model has {width} "
                    f"output{_PLURAL[width == 1]}. Give its last layer {present} outputs."
                )
            if targets.numel() and int(targets.min()) < 0:
                raise ModelError("The targets hold negative classes. Number the classes from 0.")
        return
    a, b = tuple(outputs.shape[1:]), tuple(targets.shape[1:])
    if a != b and a != (*b, 1) and b != (*a, 1):
        raise ModelError(
            f"The model gives {_shape(a)} for each sample, but each target has {_shape(b)}. "
            f"Give the last layer as many outputs as a target has values, or change the targets."
        )


def _shape(shape: tuple[int, ...]) -> str:
    if not shape:
        return "a single number"
    return f"{shape[0]} number{_PLURAL[shape[0] == 1]}" if len(shape) == 1 else f"shape {shape}"


def accuracy(kind: Kind) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Share of right answers over the last but class axis, or None where there is none.

    The function takes outputs ``(…, n, classes)`` or logits ``(…, n)`` and targets
    ``(…, n)``, and gives shape ``(…)``: leading axes are kept, so that many steps are
    measured at once.
    """
    if kind == "classes":
        return lambda outputs, targets: (outputs.argmax(-1) == targets).to(torch.float32).mean(-1)
    if kind == "binary":
        return lambda outputs, targets: (
            ((outputs > 0) == (targets > 0.5)).to(torch.float32).mean(-1)
        )
    return None


def unknown_metric(name: str, known: list[str]) -> UnknownName:
    """The error for a metric that this run does not measure."""
    return UnknownName("metric", name, known)
