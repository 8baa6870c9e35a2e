"""Where a loss or a gradient stopped being a finite number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nbtrain.data.batches import NOT_YET, Batches
from nbtrain.engine.control import PATIENCE
from nbtrain.engine.training import Training

_SMALL = 65_536
"""Elements up to which a buffer is copied after every step."""


class Buffers:
    """The buffers of a model, such as batch normalization's means, as `keep` last saw them.

    A forward pass that ends in NaN has written NaN into them by then. Large buffers are
    copied only where their version tells that they were written to; the kernels of batch
    normalization do not count it up.
    """

    def __init__(self, model: nn.Module) -> None:
        every = list(model.buffers())
        self._small = [b for b in every if b.numel() <= _SMALL]
        self._large = [b for b in every if b.numel() > _SMALL]
        self._kept_small = [b.clone() for b in self._small]
        self._kept_large = [b.clone() for b in self._large]
        self._versions = [b._version for b in self._large]

    def __bool__(self) -> bool:
        return bool(self._small or self._large)

    def keep(self) -> None:
        """The steps so far were good."""
        if self._small:
            torch._foreach_copy_(self._kept_small, self._small)
        for index, buffer in enumerate(self._large):
            if buffer._version != self._versions[index]:
                self._kept_large[index].copy_(buffer)
                self._versions[index] = buffer._version

    def restore(self) -> None:
        """Put them back."""
        if self._small:
            torch._foreach_copy_(self._small, self._kept_small)
        for index, buffer in enumerate(self._large):
            if buffer._version != self._versions[index]:
                buffer.copy_(self._kept_large[index])
                self._versions[index] = buffer._version


_RUINED = 1e6
"""The size of a weight from which on no setting brings training back."""


class Found(NamedTuple):
    """Where numbers stop being finite, in a sentence, and whether the data itself does it or
    weights that are ruined."""

    text: str
    in_data: bool = False
    ruined: bool = False


def explain(t: Training, batch: Any, start: int) -> Found:
    """Run ``batch``, whose first sample is the ``start``-th of the epoch, again with checks
    on, and say where the numbers stop being finite.

    The model keeps its weights and buffers.
    """
    place = f"at step {t.progress.step}"
    bad = _in_data(batch, t, t.task.data.train, t.progress.epoch, start)
    if bad:
        return Found(f"The data itself holds {bad} {place}.", in_data=True)
    found: list[str] = []
    handles = []
    for name, module in t.task.model.named_modules():
        if next(module.children(), None) is not None:
            continue

        def look(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
            bad = _first_bad(output)
            if bad and not found:
                found.append(f"the output of {_where(name, module)} is {bad}")

        if not isinstance(module, torch.jit.ScriptModule):
            handles.append(module.register_forward_hook(look))
    buffers = Buffers(t.task.model)
    try:
        with t.draws.aside("nonfinite", t.progress.step):
            loss, *_ = t.compute(batch)
            bad_loss = _first_bad(loss)
            if not found and bad_loss:
                found.append(f"the loss is {bad_loss}, although every layer's output is finite")
            if not found:
                loss.backward()
                found.extend(_bad_gradient(t.task.model))
    finally:
        for handle in handles:
            handle.remove()
        buffers.restore()
        t.optimizer.zero_grad()
    if not found:
        return Found(
            f"The loss or a gradient was not finite {place}, and is when the batch runs again."
        )
    sizes = [float(w.detach().abs().max()) for w in t.parameters if w.numel()]
    largest = max(sizes, key=lambda size: (math.isnan(size), size), default=0.0)
    text = f"Not a finite number {place}: {found[0]}. The largest weight is {largest:.3g}"
    if largest <= _RUINED:
        return Found(f"{text}. Lower the learning rate, or clip gradients.")
    return Found(f"{text}, and no setting can mend such weights.", ruined=True)


def explain_validation(t: Training, metrics: dict[str, float], go_on: Callable[[], bool]) -> str:
    """Say which of ``metrics`` are not finite, and look for the cause in the validation data.

    ``go_on`` is asked as in `validate`; where it gives False the cause is left out.
    """
    val = t.task.data.val
    assert val is not None
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    word = "NaN" if any(math.isnan(metrics[name]) for name in bad) else "infinite"
    text = f"{' and '.join(bad)} {'is' if len(bad) == 1 else 'are'} {word} at step "
    text += f"{t.progress.step:,}."
    start = 0
    for batch, size in val.epoch(0, batch_size=val.batch_size or t.batch_size, patience=PATIENCE):
        if not go_on():
            return text
        if batch is NOT_YET:
            continue
        if found := _in_data(batch, t, val, 0, start):
            return f"{text} The validation data itself holds {found}."
        start += size
    return f"{text} The validation data is finite, so the model's outputs or a metric are not."


def _in_data(batch: Any, t: Training, batches: Batches, epoch: int, start: int) -> str | None:
    """What of ``batch`` is not finite, with its sample and column; None where all is."""
    found = _bad_entry(batch)
    if found is None:
        return None
    what, row, where = found
    if row is None:
        return f"{what}{where}"
    key = batches.key(epoch, start + row)
    sample = f"row {row} of the batch" if key is None else f"sample {key}"
    return f"{what} in {sample}{where}"


def _bad_entry(value: Any, where: str = "") -> tuple[str, int | None, str] | None:
    """What the first bad tensor in ``value`` holds, in which row, and in which place."""
    if isinstance(value, Tensor):
        bad = _first_bad(value)
        if bad is None or not value.ndim:
            return (bad, None, where) if bad else None
        index = (~torch.isfinite(value)).nonzero()[0].tolist()
        return bad, index[0], where + (f", column {index[1]}" if value.ndim == 2 else "")
    items: Any = ()
    if isinstance(value, dict):
        items = [(f", {key!r}", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [("", item) for item in value]
    found = (_bad_entry(item, where + name) for name, item in items)
    return next((entry for entry in found if entry is not None), None)


def _bad_gradient(model: nn.Module) -> list[str]:
    # Backward goes from the last layer to the first: the last bad one is where it began.
    for name, module in reversed(list(model.named_modules())):
        for parameter in module.parameters(recurse=False):
            bad = _first_bad(parameter.grad)
            if bad:
                return [f"the gradient of {_where(name, module)} is {bad}"]
    return []


def _where(name: str, module: nn.Module) -> str:
    return f"{type(module).__name__} {name!r}" if name else type(module).__name__


def _first_bad(value: Any) -> str | None:
    if isinstance(value, Tensor):
        if not value.is_floating_point() or bool(torch.isfinite(value).all()):
            return None
        return "NaN" if bool(torch.isnan(value).any()) else "infinite"
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return next((bad for bad in map(_first_bad, value) if bad), None)
    return None
