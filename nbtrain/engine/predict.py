"""A model's answers for data of the form it was trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nbtrain.engine.dry import move
from nbtrain.engine.task import Task
from nbtrain.errors import DataError

_BATCH = 1024


def predict(task: Task, model: nn.Module, device: torch.device, inputs: Any, raw: bool) -> Tensor:
    """Outputs or classes for ``inputs``, a row a sample, on the CPU.

    Args:
        task: tells how the model is called and what its outputs mean.
        model: used in evaluation mode; its modes are put back.
        device: where the model lies.
        inputs: like the X of the training data.
        raw: the outputs themselves, instead of classes.

    Raises:
        DataError: where ``inputs`` cannot be made tensors of the model's type.
    """
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    dtype = parameter.dtype if parameter is not None else torch.get_default_dtype()
    tensors = _tensors(inputs, dtype)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    outputs = []
    try:
        with torch.no_grad(), torch.random.fork_rng([]):
            for start in range(0, _length(tensors), _BATCH):
                rows = _rows(tensors, slice(start, start + _BATCH))
                outputs.append(task.call(model, move(rows, device)).cpu())
    finally:
        for module, mode in modes:
            module.training = mode
    if not outputs:
        raise DataError("There is no sample to predict. Give at least one row.")
    answers = torch.cat(outputs)
    kind = task.loss.kind if task.loss is not None else "values"
    if raw or kind == "values":
        return answers
    if task.loss is not None and kind == "binary":
        return (answers > task.loss.threshold).long()
    return answers.argmax(1 if answers.ndim != 3 else -1)


def _tensors(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, dict):
        return {key: _tensors(item, dtype) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_tensors(item, dtype) for item in value)
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"predict cannot make a tensor of a {type(value).__name__}: {error} Give rows of "
            "numbers, like the X of the training data."
        ) from None
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _length(value: Any) -> int:
    if isinstance(value, Tensor):
        if value.ndim == 0:
            raise DataError("predict needs a row a sample, and this is a single number.")
        return len(value)
    items = list(value.values() if isinstance(value, dict) else value)
    return _length(items[0]) if items else 0


def _rows(value: Any, rows: slice) -> Any:
    if isinstance(value, dict):
        return {key: _rows(item, rows) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_rows(item, rows) for item in value)
    return value[rows]
