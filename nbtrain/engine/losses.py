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
    def torchs_own(self) -> bool:
        """Whether we know what shapes it takes. A user's function gets what the model gives."""
        where = getattr(self.function, "__module__", "")
        return where in ("torch.nn.modules.loss", "torch.nn.functional")

    @property
    def threshold(self) -> float:
        """The output above which a binary answer is 1: a logit of 0, a probability of a half."""
        probabilities = isinstance(self.function, nn.BCELoss) or self.name == "binary_cross_entropy"
        return 0.5 if probabilities else 0.0

    @property
    def smooths(self) -> bool:
        """Whether the loss knows label smoothing."""
        return isinstance(self.function, nn.CrossEntropyLoss)

    @property
    def smoothing(self) -> float:
        """How much of a label is spread over all classes."""
        function = self.function
        return float(function.label_smoothing) if isinstance(function, nn.CrossEntropyLoss) else 0.0

    def smooth(self, amount: float) -> None:
        """Set it, where the loss `smooths`."""
        assert isinstance(self.function, nn.CrossEntropyLoss)
        self.function.label_smoothing = amount

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor) and self.torchs_own):
            return self.function(outputs, targets)
        if self.kind != "classes":
            # (n, 1) against (n,) would broadcast to (n, n) and train on nonsense.
            if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1:
                outputs = outputs.squeeze(-1)
            elif targets.ndim == outputs.ndim + 1 and targets.shape[-1] == 1:
                targets = targets.squeeze(-1)
            if self.kind == "binary" and not targets.is_floating_point():
                targets = targets.to(outputs.dtype)
        else:
            targets = _indices(outputs, targets)
            if _class_last(outputs, targets):
                outputs, targets = outputs.flatten(0, -2), targets.flatten()
        return self.function(outputs, targets)

    def scores(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs ``(m, classes)`` and targets ``(m,)`` to count right answers by; for binary
        targets both ``(m,)``."""
        if self.kind == "binary":
            return outputs.flatten() - self.threshold, targets.flatten()
        targets = _indices(outputs, targets)
        if outputs.ndim > 2 and not _class_last(outputs, targets):
            outputs = outputs.movedim(1, -1)
        if targets.ndim == outputs.ndim:  # class probabilities instead of indices
            targets = targets.argmax(-1)
        return outputs.flatten(0, -2), targets.flatten()


def _indices(outputs: Tensor, targets: Tensor) -> Tensor:
    """Class indices of shape (n, 1), as a frame's column gives them, as (n,)."""
    column = targets.ndim == outputs.ndim == 2 and targets.shape[1] == 1 != outputs.shape[1]
    return targets.squeeze(1) if column and not targets.is_floating_point() else targets


def _class_last(outputs: Tensor, targets: Tensor) -> bool:
    """Whether outputs are (batch, time, classes), as sequence models give them, and do not
    also fit PyTorch's own (batch, classes, time)."""
    return (
        outputs.ndim >= 3
        and targets.shape == outputs.shape[:-1]
        and targets.shape[1:] != outputs.shape[2:]
    )


def named(name: str, outputs: Tensor, targets: Tensor) -> Loss:
    """The loss called ``name``. Raises `ModelError` where it does not fit the shapes."""
    module = _BY_NAME[name]()
    loss = Loss(module, _KINDS.get(type(module), "values"), name, f"{name}, as asked")
    _check(loss, outputs, targets)
    return loss


def from_cell(given: Any, outputs: Any, targets: Any) -> Loss:
    """The loss that the cell left: a module or a function of (outputs, targets).

    Raises `ModelError` where it is neither, or one of PyTorch's that does not fit the shapes.
    """
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
    loss = Loss(given, kind, name, f"{name}, from the cell")
    if loss.torchs_own and isinstance(outputs, Tensor) and isinstance(targets, Tensor):
        _check(loss, outputs, targets)
    return loss


def infer(
    outputs: Any,
    targets: Any,
    whole: Tensor | None,
    *,
    classes: int | None = None,
    every: bool = True,
) -> Loss:
    """The loss that fits the targets.

    Integer targets: cross-entropy. Floats that are all 0 or 1: binary cross-entropy with
    logits. Other floats: mean squared error.

    Args:
        outputs: the model's outputs for the example batch, shape ``(n, …)``.
        targets: the example's targets.
        whole: more targets to judge by, or None.
        classes: how many there are, where the data tells.
        every: whether ``whole`` are all targets, rather than those of a few samples.

    Raises:
        ModelError: saying how outputs and targets fail to fit.
    """
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        what = type(targets if isinstance(outputs, Tensor) else outputs).__name__
        which = "targets are" if isinstance(outputs, Tensor) else "model's outputs are"
        raise ModelError(
            f"The {which} a {what}, so the loss cannot be inferred. Give a function "
            "`loss(outputs, targets)`, or define `training_step(model, batch)`."
        )
    sample = targets if whole is None else whole
    looked = "" if every else " looked at"
    if not sample.is_floating_point() and sample.dtype != torch.bool:
        seen = int(sample.max()) + 1 if sample.numel() else 0
        single = outputs.ndim == 1 or (outputs.ndim == 2 and outputs.shape[1] == 1)
        if single and int(sample.min()) >= 0 and seen <= 2:
            note = (
                f"Binary cross-entropy with logits, because the targets{looked} are 0 or 1 and "
                "there is one output."
            )
            loss = Loss(nn.BCEWithLogitsLoss(), "binary", "bce", note)
        else:
            count = classes if classes is not None or not every else seen
            known = f"{count} integer classes"
            if count is None:
                known = "integer classes" + (f", at least {seen} of them" if seen > 1 else "")
            note = f"Cross-entropy, because the targets are {known}."
            loss = Loss(nn.CrossEntropyLoss(), "classes", "cross-entropy", note)
        if loss.kind == "binary":
            _check(loss, outputs, targets)
        else:
            _check(loss, outputs, targets, sample)
        return loss
    if sample.dtype == torch.bool or bool(((sample == 0) | (sample == 1)).all()):
        note = f"Binary cross-entropy with logits, because every target{looked} is 0 or 1."
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


def _check(loss: Loss, outputs: Tensor, targets: Tensor, whole: Tensor | None = None) -> None:
    """Raise `ModelError` where outputs and targets do not fit; ``whole`` are more targets."""
    if loss.kind == "classes":
        _check_classes(loss, outputs, targets, targets if whole is None else whole)
        return
    a, b = tuple(outputs.shape[1:]), tuple(targets.shape[1:])
    if a != b and a != (*b, 1) and b != (*a, 1):
        raise ModelError(
            f"The model gives {_shape(a)} for each sample, but each target has {_shape(b)}. "
            f"Give the last layer as many outputs as a target has values, or change the targets."
        )


def _check_classes(loss: Loss, outputs: Tensor, targets: Tensor, whole: Tensor) -> None:
    if targets.is_floating_point():
        if targets.shape != outputs.shape:
            raise ModelError(
                f"{loss.name} needs integer targets, and these are {targets.dtype}. "
                "Convert them with y.astype(int), or take --loss mse to fit real numbers."
            )
        return
    ignored = getattr(loss.function, "ignore_index", -100)
    known = whole[whole != ignored]
    if known.numel() and int(known.min()) < 0:
        raise ModelError("The targets hold negative classes. Number the classes from 0.")
    present = int(known.max()) + 1 if known.numel() else 0
    if outputs.ndim == 1 or (outputs.ndim == 2 and outputs.shape[1] == 1 and present > 1):
        raise ModelError(
            f"The targets hold classes 0 to {present - 1}, but the model has 1 output. Give "
            f"its last layer {present} outputs; or, if these are amounts and no classes, take "
            "--loss mse."
        )
    if targets.ndim == outputs.ndim == 2 and targets.shape[1] != 1:
        raise ModelError(
            f"Each target has {_shape(tuple(targets.shape[1:]))} and is an integer, as if classes "
            "were one-hot. Give class indices, y.argmax(1), or real numbers, y.astype('float32')."
        )
    width = outputs.shape[1] if outputs.ndim == 2 else outputs.shape[-1]
    if outputs.ndim in (2, 3) and present > width and present > outputs.shape[1]:
        raise ModelError(
            f"The targets hold classes 0 to {present - 1}, but the model has {width} "
            f"output{_PLURAL[width == 1]}. Give its last layer {present} outputs."
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
