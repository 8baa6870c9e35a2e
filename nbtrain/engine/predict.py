"""A model's answers for data of the form it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nbtrain.data.asked import batches_of
from nbtrain.data.tree import size, transform
from nbtrain.engine.dry import call_explained, move
from nbtrain.engine.task import Task
from nbtrain.errors import DataError, ModelError

_BATCH = 1024


def predict(task: Task, model: nn.Module, device: torch.device, inputs: Any, raw: bool) -> Any:
    """Outputs or classes for ``inputs``, a row a sample, on the CPU.

    Args:
        task: tells how the model is called and what its outputs mean.
        model: used in evaluation mode; its modes are put back.
        device: where the model lies.
        inputs: like the X of the training data, or a dataset or loader like the training data.
        raw: the outputs themselves, instead of classes.

    Returns:
        A tensor; or a tuple or dict of tensors where the model gives one.

    Raises:
        DataError: where ``inputs`` have another form than the training data.
        ModelError: where the model cannot take them, naming the layer.
    """
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    dtype = parameter.dtype if parameter is not None else torch.get_default_dtype()
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    outputs, counts = [], []
    try:
        with torch.no_grad(), torch.random.fork_rng([]):
            for rows in batches_of(inputs, task.form, dtype, _BATCH):
                answer = call_explained(model, task.call, move(rows, device))
                outputs.append(_on_cpu(answer))
                counts.append(size(rows))
    finally:
        for module, mode in modes:
            module.training = mode
    if not outputs:
        raise DataError("There is no sample to predict. Give at least one row.")
    answers = _joined(outputs, counts, "the output")
    kind = task.loss.kind if task.loss is not None else "values"
    if raw or kind == "values" or not isinstance(answers, Tensor):
        return answers
    if task.loss is not None and kind == "binary":
        return (answers > task.loss.threshold).long()
    return answers.argmax(1 if answers.ndim != 3 else -1)


def _on_cpu(answer: Any) -> Any:
    # A dict of a kind of its own, such as a ModelOutput, becomes a plain one.
    return transform(Tensor.cpu, dict(answer) if isinstance(answer, Mapping) else answer)


def _joined(parts: list[Any], counts: list[int], where: str) -> Any:
    """What the model gave for batches of ``counts`` rows, as one."""
    first = parts[0]
    if len(parts) == 1 or first is None:
        return first
    if isinstance(first, Tensor) and all(
        part.ndim and len(part) == count for part, count in zip(parts, counts, strict=True)
    ):
        return torch.cat(parts)
    if isinstance(first, Mapping):
        return {
            key: _joined([part[key] for part in parts], counts, f"{where}[{key!r}]")
            for key in first
        }
    if isinstance(first, (tuple, list)):
        joined = [
            _joined([part[place] for part in parts], counts, f"{where}[{place}]")
            for place in range(len(first))
        ]
        return type(first)(*joined) if hasattr(first, "_fields") else type(first)(joined)
    raise ModelError(
        f"{where[0].upper()}{where[1:]} of the model has no row a sample, so it cannot be joined "
        f"from batch to batch. Give up to {_BATCH:,} rows at a time."
    )
