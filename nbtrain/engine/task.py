"""A task: model, data, loss and optimizer bound together, ready to train."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from nbtrain.data import Prepared, prepare
from nbtrain.data.asked import form_of
from nbtrain.engine import losses, optimizers, schedule
from nbtrain.engine.direction import assumed
from nbtrain.engine.dry import described, finding_roomy, forward_once
from nbtrain.engine.frames import is_users
from nbtrain.engine.frozen import frozen, written_by
from nbtrain.engine.knobs import Dropout
from nbtrain.engine.losses import Loss
from nbtrain.engine.makers import check_maker, words_as_options
from nbtrain.errors import (
    DataError,
    InvalidValue,
    ModelError,
    NbtrainError,
    UnknownName,
    UsageError,
)
from nbtrain.spec import CELL_NAMES

StepFunction = Callable[[nn.Module, Any], Any]
Metric = Callable[[Any, Any], Any]


@dataclass(slots=True)
class Task:
    """What is trained: made on the main thread by `bind`, trained on another.

    ``loss`` is None where the cell defined ``training_step``. ``notes`` tell in sentences
    what was inferred.
    """

    name: str
    model: nn.Module
    data: Prepared
    options: dict[str, Any]
    loss: Loss | None = None
    training_step: StepFunction | None = None
    validation_step: StepFunction | None = None
    metrics: dict[str, Metric] = field(default_factory=dict)
    optimizer: Any = None
    scheduler: Any = None
    notes: tuple[str, ...] = ()
    call: Callable[[nn.Module, Any], Any] = lambda model, inputs: model(inputs)
    form: Any = None
    """Of the inputs, as far as it is known how the model takes them. See `data.asked`."""
    roomy: WeakSet[nn.Module] = field(default_factory=WeakSet)
    """The batch normalizations that are known to train on one sample alone."""
    attended: bool = True
    """Whether somebody watches: then a non-finite loss pauses the run instead of ending it."""

    @property
    def seed(self) -> int:
        return int(self.options["seed"])


def bind(
    name: str, given: Mapping[str, Any], options: dict[str, Any], typed: frozenset[str]
) -> Task:
    """Bind what the cell left into a task. Called on the main thread.

    Args:
        name: the run's name.
        given: what the cell left, by the names in `CELL_NAMES`.
        options: the value of every option.
        typed: the options the user typed.

    Raises:
        UsageError: what is missing or does not fit, and what to do.
    """
    if unknown := set(given) - set(CELL_NAMES):
        raise UsageError(
            f"{', '.join(sorted(unknown))} cannot be used. Leave some of {', '.join(CELL_NAMES)}."
        )
    model = given.get("model")
    if not isinstance(model, nn.Module):
        raise ModelError(_no_model(model))
    training_step = given.get("training_step")
    data = prepare(
        data=given.get("data"),
        train_data=given.get("train_data"),
        val_data=given.get("val_data"),
        val_split=options["val_split"],
        seed=options["seed"],
        dtype=_float_type(model),
        step=training_step is not None,
    )
    notes = list(data.notes)
    given, options = words_as_options(given, options)
    task = Task(
        name=name,
        model=model,
        data=data,
        options=options,
        metrics=_metrics(given.get("metrics")),
        optimizer=given.get("optimizer"),
        scheduler=given.get("scheduler"),
    )
    if training_step is not None:
        _check_step(training_step, "training_step")
        task.training_step = frozen(training_step)
        if given.get("validation_step") is not None:
            _check_step(given["validation_step"], "validation_step")
            task.validation_step = frozen(given["validation_step"])
        if given.get("loss") is not None or options["loss"] is not None:
            raise UsageError(
                "There are both a `loss` and a `training_step`. A training_step returns its own "
                "loss: leave one of the two out."
            )
        notes.insert(0, "The loss is what training_step returns.")
        for function in (training_step, given.get("validation_step")):
            if isinstance(function, types.FunctionType) and (names := written_by(function)):
                notes.append(
                    f"{function.__name__} writes the global {', '.join(sorted(names))}, so it sees "
                    "whatever other cells give the names it reads."
                )
    else:
        _bind_declared(task, given.get("loss"), notes)
    _check_options(task, typed)
    if task.optimizer is None and options["optimizer"] is None:
        notes.append("Adam, because no optimizer was asked for.")
    if options["early_stop"] and (note := assumed(options["early_stop"], options["early_mode"])):
        notes.append(f"{note[0].upper()}{note[1:]}; --early-mode max turns that round.")
    task.notes = tuple(notes)
    return task


def _float_type(model: nn.Module) -> torch.dtype:
    """The type that floating-point features get: the weights' own, so that both fit."""
    for parameter in model.parameters():
        if parameter.dtype in (torch.float32, torch.float64):
            return parameter.dtype
    return torch.get_default_dtype()


def _no_model(model: Any) -> str:
    if isinstance(model, type) and issubclass(model, nn.Module):
        return (
            f"`model` is the class {model.__name__}. Make one of it: model = {model.__name__}(…)."
        )
    if model is not None:
        return (
            f"`model` is a {type(model).__name__}. It must be a torch.nn.Module, such as "
            "nn.Linear(4, 1)."
        )
    return (
        "There is no `model`. Make one, such as "
        "model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))."
    )


def _bind_declared(task: Task, loss: Any, notes: list[str]) -> None:
    """Find out how the model is called and which loss fits, by one dry forward."""
    inputs, targets = task.data.split(task.data.example)
    task.call = _calling(task.model, inputs)
    task.form = form_of(inputs)
    if loss is not None and task.options["loss"] is not None:
        raise UsageError("There are both a `loss` in the cell and a --loss. Leave one of them out.")
    if isinstance(inputs, Mapping) and not inputs:
        raise DataError(
            f"There is nothing for the model to read but targets: a batch is "
            f"{described(task.data.example)}. Turn words into numbers first, such as a "
            "tokenizer's, or define training_step(model, batch), which takes the batch as it comes."
        )
    with finding_roomy(task.model) as task.roomy:
        outputs = forward_once(task.model, task.call, inputs)
    if targets is None and loss is None:
        raise UsageError(
            "The data has no targets. Give pairs, data = X, y; or define "
            "training_step(model, batch), which returns the loss of one batch."
        )
    if loss is not None:
        task.loss = losses.from_cell(loss, outputs, targets)
    elif task.options["loss"] is not None:
        _need_tensors(outputs, targets)
        task.loss = losses.named(task.options["loss"], outputs, targets)
    else:
        task.loss = losses.infer(
            outputs,
            targets,
            task.data.targets,
            classes=task.data.classes,
            every=task.data.complete,
        )
        notes.insert(0, task.loss.note)
    _try_loss(task.loss, outputs, targets)


def _need_tensors(outputs: Any, targets: Any) -> None:
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        raise ModelError(
            "--loss needs a model that gives one tensor, and targets that are one tensor. Give a "
            "function `loss(outputs, targets)` instead."
        )


def _try_loss(loss: Loss, outputs: Any, targets: Any) -> None:
    try:
        value = loss(outputs, targets)
    except Exception as error:  # whatever a loss may raise
        if isinstance(error, NbtrainError) or is_users(error):
            raise
        raise ModelError(
            f"{loss.name} fails on two samples: {str(error).rstrip('.')}. The model gives "
            f"{described(outputs)}, and the targets are {described(targets)}. Change one of the "
            "two, or give a function `loss(outputs, targets)`."
        ) from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        what = (
            f"a tensor of shape {tuple(value.shape)}"
            if isinstance(value, Tensor)
            else repr(value)[:60]
        )
        raise ModelError(
            f"The loss gives {what} for a batch; it must give one number. Take its mean: .mean()."
        )


def _calling(model: nn.Module, inputs: Any) -> Callable[[nn.Module, Any], Any]:
    """How ``model`` takes ``inputs``: one value, several in order, or several by name."""
    if isinstance(inputs, (tuple, list)):
        return lambda model, inputs: model(*inputs)
    if isinstance(inputs, Mapping):
        try:
            inspect.signature(model.forward).bind(**inputs)
        except (TypeError, ValueError):
            return lambda model, inputs: model(inputs)
        return lambda model, inputs: model(**inputs)
    return lambda model, inputs: model(inputs)


def _metrics(given: Any) -> dict[str, Metric]:
    if given is None:
        return {}
    if callable(given):
        given = [given]
    if not isinstance(given, Mapping):
        try:
            given = {getattr(f, "__name__", type(f).__name__): f for f in given}
        except TypeError:
            given = {"metric": given}
    for name, metric in given.items():
        if not callable(metric) or isinstance(metric, type):
            raise ModelError(
                f"The metric {name!r} is a {type(metric).__name__}. Leave functions of "
                "(outputs, targets): metrics = {'mae': lambda o, t: (o - t).abs().mean()}."
            )
    check_names(map(str, given), "There is a metric called")
    return {str(name): metric for name, metric in given.items()}


_RESERVED = {
    "loss": "the loss that is trained on",
    "lr": "the learning rate of the run itself",
    "epoch": "the position in the data",
    "step": "the number of the step",
    "samples": "the number of samples seen",
}


def check_names(names: Iterable[str], by: str) -> None:
    """Raise `ModelError` where one of ``names`` stands for something else in a history."""
    for name in names:
        if name.startswith("val_"):
            raise ModelError(
                f"{by} {name!r}, but val_ marks what validation measures. Leave val_ out of it: "
                "validation measures it too, and adds the val_."
            )
        if name in _RESERVED:
            raise ModelError(
                f"{by} {name!r}, which stands for {_RESERVED[name]}. Give it another name, such as "
                f"'my_{name}'."
            )


def _check_step(function: Any, name: str) -> None:
    if not callable(function):
        raise ModelError(
            f"`{name}` is a {type(function).__name__}. Define it: def {name}(model, batch): …"
        )
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise ModelError(
            f"`{name}` must take two arguments: def {name}(model, batch): … and return the loss, "
            "or a dict with the loss under 'loss'."
        ) from None
    except ValueError:
        return


def _check_options(task: Task, typed: frozenset[str]) -> None:
    options = task.options
    fixed = task.data.train.fixed
    if "batch_size" in typed and fixed:
        raise InvalidValue(f"--batch-size cannot be set here: {fixed}")
    if task.optimizer is not None and options["optimizer"] is not None:
        raise UsageError(
            "There are both an `optimizer` in the cell and an --optimizer. Leave one out."
        )
    if task.scheduler is not None and options["scheduler"] is not None:
        raise UsageError(
            "There are both a `scheduler` in the cell and a --scheduler. Leave one out."
        )
    monitor = options["early_stop"]
    if monitor and task.data.val is None and monitor.startswith("val_"):
        raise InvalidValue(
            f"--early-stop {monitor} needs validation data, and there is none. Give val_data, "
            "or a --val-split above 0."
        )
    if monitor and task.training_step is None:
        known = metric_names(task)
        if monitor not in known:
            raise losses.unknown_metric(monitor, known)
    if options["label_smoothing"] and not (task.loss and task.loss.smooths):
        raise InvalidValue("--label-smoothing works with cross-entropy only. Leave it out.")
    if options["batch_size"] == "full" and task.data.train.samples is None:
        raise InvalidValue("--batch-size full needs data of a known size, and this is a stream.")
    _check_dropout(task, typed)
    _check_optimizer(task)
    _check_scheduler(task)


def _check_dropout(task: Task, typed: frozenset[str]) -> None:
    rates = Dropout(task.model).rates
    asked = [name.removeprefix("dropout.") for name in typed if name.startswith("dropout.")]
    if isinstance(task.options["dropout"], dict):
        asked += task.options["dropout"]
    if (asked or "dropout" in typed) and not rates:
        raise ModelError(
            "--dropout was given, but this model has no dropout layer. Put an nn.Dropout() into "
            "it, or leave --dropout out."
        )
    for layer in asked:
        if layer not in rates:
            raise UnknownName("dropout layer", layer, rates)


def _check_optimizer(task: Task) -> None:
    """Find out on the main thread what would else end the run on another."""
    settings = {name: task.options[name] for name in ("lr", "momentum", "weight_decay")}
    if task.optimizer is None:
        # Made to see whether it can be; it holds nothing before its first step.
        name = task.options["optimizer"] or "adam"
        optimizers.build(name, task.model, torch.device("cpu"), **settings)
    else:
        if callable(task.optimizer):
            check_maker(task.optimizer, "optimizer", "parameters")
        # A function is called again once the model is on its device.
        optimizer = optimizers.from_cell(task.optimizer, task.model)
        if settings["momentum"] is not None and optimizers.momentum_of(optimizer) is None:
            raise optimizers.no_momentum(optimizer)


def _check_scheduler(task: Task) -> None:
    given = task.scheduler if task.scheduler is not None else task.options["scheduler"]
    if schedule.is_scheduler(given):
        schedule.check_optimizer(given, task.optimizer)
    elif isinstance(given, str):
        stream = task.data.train.steps(1) is None
        schedule.check_name(given, planned=not stream or task.options["steps"] is not None)
    elif callable(given):
        check_maker(given, "scheduler", "optimizer")
    elif given is not None:
        raise schedule.no_scheduler(given)


def metric_names(task: Task) -> list[str]:
    """The metrics that the declared form measures, as far as they are known beforehand."""
    names = ["loss"]
    if task.loss is not None and losses.accuracy(task.loss.kind) is not None:
        names.append("accuracy")
    names += task.metrics
    if task.data.val is not None:
        names += ["val_" + name for name in names]
    return names
