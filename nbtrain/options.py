"""Every setting of a run, declared once.

A `Knob` can be changed while the run trains, a plain `Option` only before. The slider, the
magic's option, the keyword of `Run.set` and `nbtrain.train`, the validation and the docs
all come from these declarations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from nbtrain.errors import InvalidValue, UnknownName
from nbtrain.option import OFF, Knob, Option, short

__all__ = ["KNOBS", "OFF", "OPTIONS", "SETTINGS", "Knob", "Option"]

KNOBS: Final[tuple[Knob, ...]] = (
    Knob(
        name="lr",
        label="Learning rate",
        kind="float",
        group="Optimization",
        aliases=("learning_rate",),
        default=None,
        low=0.0,
        high=1000.0,
        scale="log",
        slider=(1e-6, 1.0),
        doc="Size of the optimizer's steps; by default the optimizer's own.",
    ),
    Knob(
        name="momentum",
        label="Momentum",
        kind="float",
        group="Optimization",
        low=0.0,
        high=1.0,
        open_high=True,
        slider=(0.0, 0.99),
        step=0.01,
        doc="Share of the last step kept in the next: momentum of SGD and RMSprop, "
        "beta 1 of the Adam family.",
    ),
    Knob(
        name="weight_decay",
        label="Weight decay",
        kind="float",
        group="Optimization",
        low=0.0,
        high=10.0,
        can_be_off=True,
        off=0.0,
        scale="log",
        slider=(1e-6, 1.0),
        doc="The optimizer's weight decay: decoupled in AdamW, added to the gradient elsewhere.",
    ),
    Knob(
        name="batch_size",
        label="Batch size",
        kind="int",
        group="Optimization",
        aliases=("batch",),
        unit="samples",
        default=64,
        low=1,
        high=10_000_000,
        words=("full",),
        scale="log2",
        slider=(1, 1024),
        doc="Samples in one step; full takes the whole training set.",
    ),
    Knob(
        name="clip_grad_norm",
        label="Clip gradients",
        kind="float",
        group="Optimization",
        aliases=("clip",),
        low=0.0,
        open_low=True,
        high=1e6,
        can_be_off=True,
        scale="log",
        slider=(1e-2, 1e2),
        doc="Largest norm of all gradients together; a longer gradient is scaled down to it.",
    ),
    Knob(
        name="pace",
        label="Pace",
        kind="float",
        group="Optimization",
        unit="steps/s",
        low=0.0,
        open_low=True,
        high=1e6,
        can_be_off=True,
        scale="log",
        slider=(1.0, 1000.0),
        doc="Most steps in a second, to watch a small network train; off is full speed.",
    ),
    Knob(
        name="epochs",
        label="Epochs",
        kind="int",
        group="Optimization",
        aliases=("epoch",),
        default=10,
        low=1,
        high=1_000_000,
        slider=(1, 200),
        step=1,
        doc="Passes over the training data; raising it after the end goes on training.",
    ),
    Knob(
        name="steps",
        label="Steps",
        kind="int",
        group="Optimization",
        low=1,
        high=1_000_000_000,
        can_be_off=True,
        scale="log",
        slider=(1, 100_000),
        doc="Most steps in all; off leaves the end to epochs.",
    ),
    Knob(
        name="dropout",
        label="Dropout",
        kind="rates",
        group="Regularization",
        low=0.0,
        high=1.0,
        open_high=True,
        words=("on",),
        can_be_off=True,
        off=0.0,
        slider=(0.0, 0.9),
        step=0.01,
        doc="Rate of every dropout layer; off remembers the rates that on brings back. "
        "dropout.NAME is the rate of one layer.",
    ),
    Knob(
        name="l1",
        label="L1",
        kind="float",
        group="Regularization",
        default=0.0,
        low=0.0,
        high=1e3,
        can_be_off=True,
        off=0.0,
        scale="log",
        slider=(1e-7, 1e-1),
        doc="Adds l1 · Σ|w| over the trained parameters to the loss.",
    ),
    Knob(
        name="l2",
        label="L2",
        kind="float",
        group="Regularization",
        default=0.0,
        low=0.0,
        high=1e3,
        can_be_off=True,
        off=0.0,
        scale="log",
        slider=(1e-7, 1e-1),
        doc="Adds l2 · Σw² over the trained parameters to the loss.",
    ),
    Knob(
        name="label_smoothing",
        label="Label smoothing",
        kind="float",
        group="Regularization",
        low=0.0,
        high=1.0,
        open_high=True,
        can_be_off=True,
        off=0.0,
        slider=(0.0, 0.5),
        step=0.01,
        doc="Share of the target spread evenly over all classes (cross-entropy only).",
    ),
    Knob(
        name="early_stop",
        label="Watch",
        kind="text",
        group="Early stopping",
        aliases=("monitor",),
        can_be_off=True,
        text="a metric, such as val_loss or val_accuracy,",
        doc="The metric, such as val_loss, whose lack of improvement ends the run.",
    ),
    Knob(
        name="early_mode",
        label="Mode",
        kind="choice",
        group="Early stopping",
        default="auto",
        words=("auto", "min", "max"),
        doc="Whether less (min) or more (max) of the watched metric is better; auto goes by its "
        "name.",
    ),
    Knob(
        name="patience",
        label="Patience",
        kind="int",
        group="Early stopping",
        unit="validations",
        default=5,
        low=1,
        high=1_000_000,
        slider=(1, 50),
        step=1,
        doc="Validations without improvement before the run stops early.",
    ),
    Knob(
        name="min_delta",
        label="Minimum change",
        kind="float",
        group="Early stopping",
        default=0.0,
        low=0.0,
        high=1e6,
        can_be_off=True,
        off=0.0,
        scale="log",
        slider=(1e-6, 1e-1),
        doc="Smallest change of the watched metric that counts as an improvement.",
    ),
)

SETTINGS: Final[tuple[Option, ...]] = (
    Option(
        name="optimizer",
        label="Optimizer",
        kind="choice",
        group="Optimization",
        words=(
            "adam",
            "adamw",
            "sgd",
            "nesterov",
            "rmsprop",
            "adagrad",
            "adadelta",
            "adamax",
            "nadam",
            "radam",
        ),
        doc="The optimizer; adam where neither the option nor the cell names one.",
    ),
    Option(
        name="scheduler",
        label="Scheduler",
        kind="choice",
        group="Optimization",
        words=("cosine", "linear", "step", "exponential", "one-cycle", "warm-restarts", "plateau"),
        can_be_off=True,
        doc="How the learning rate changes by itself over the run.",
    ),
    Option(
        name="loss",
        label="Loss",
        kind="choice",
        group="Optimization",
        words=("cross-entropy", "bce", "mse", "mae", "huber", "nll"),
        doc="The loss; inferred from the targets where neither the option nor the cell names one.",
    ),
    Option(
        name="restore_best",
        label="Restore best",
        kind="flag",
        group="Early stopping",
        default=True,
        doc="Put the best weights back when the run stops early.",
    ),
    Option(
        name="val_split",
        label="Validation split",
        kind="float",
        group="Data",
        default=0.2,
        low=0.0,
        high=1.0,
        open_high=True,
        can_be_off=True,
        off=0.0,
        doc="Share of the data set aside for validation, where the cell leaves no val_data; "
        "stratified by class where the classes of all samples are at hand, else at random.",
    ),
    Option(
        name="seed",
        label="Seed",
        kind="int",
        group="Run",
        default=0,
        low=0,
        high=2**63 - 1,
        doc="Of everything the run draws: initial weights, split, order, dropout.",
    ),
    Option(
        name="device",
        label="Device",
        kind="text",
        group="Run",
        default="auto",
        text="a device",
        doc="auto, cpu, cuda, cuda:1, mps or xpu; auto takes the CUDA device with the most free "
        "memory.",
    ),
    Option(
        name="precision",
        label="Precision",
        kind="choice",
        group="Run",
        default="fp32",
        words=("fp32", "bf16", "fp16"),
        doc="Type of the forward pass: fp32 leaves the model's own, bf16 and fp16 use autocast.",
    ),
    Option(
        name="checkpoint_every",
        label="Checkpoint every",
        kind="int",
        group="Run",
        unit="epochs",
        default=1,
        low=1,
        high=1_000_000,
        can_be_off=True,
        doc="Epochs between two checkpoints in the run's folder.",
    ),
    Option(
        name="share",
        label="Share the device",
        kind="flag",
        group="Run",
        default=False,
        doc="Train beside the run that holds the device instead of queueing behind it.",
    ),
    Option(
        name="wait",
        label="Wait",
        kind="flag",
        group="Run",
        default=False,
        doc="Return only when the run has ended. The panel still acts; interrupting the wait "
        "leaves the run alive.",
    ),
    Option(
        name="panel",
        label="Panel",
        kind="flag",
        group="Run",
        default=True,
        doc="Show the panel under the cell; --no-panel trains without.",
    ),
)

OPTIONS: Final[Mapping[str, Option]] = MappingProxyType({o.name: o for o in (*KNOBS, *SETTINGS)})
"""Every option by its name; knobs first."""

_BY_WORD: Final = {word: o for o in OPTIONS.values() for word in (o.name, *o.aliases)}


def find(word: str, *, only_knobs: bool = False) -> Option:
    """The option called ``word``, by name or alias. Raises `UnknownName` with the nearest.

    ``dropout.NAME`` is the dropout knob of one layer.
    """
    plain = word.replace("-", "_")
    option = _BY_WORD.get("dropout" if _is_layer(word) else plain)
    if option is None or (only_knobs and not isinstance(option, Knob)):
        if option is not None:
            raise UnknownName(
                "knob",
                word,
                (),
                f"{word} is fixed when the run starts: give it to %%train as {option.flag}.",
            )
        known = [k for k, o in _BY_WORD.items() if not only_knobs or isinstance(o, Knob)]
        raise UnknownName("knob" if only_knobs else "option", word, known)
    return option


def knob(word: str) -> Knob:
    """The knob called ``word``. Raises `UnknownName` with the nearest match."""
    found = find(word, only_knobs=True)
    assert isinstance(found, Knob)
    return found


def check(given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` with names in full and values in their types.

    Raises `UnknownName` or `InvalidValue`; `InvalidValue` also if one setting is given
    twice under two names.
    """
    checked: dict[str, Any] = {}
    for word, value in given.items():
        option = find(word)
        name = word if _is_layer(word) else option.name
        if name in checked:
            raise InvalidValue(f"{name} is given twice. Leave one of them out.")
        if _is_layer(word) and isinstance(value, Mapping):
            raise InvalidValue(f"{name} is one layer's rate and takes one number.")
        checked[name] = option.check(value)
    return checked


def _is_layer(word: str) -> bool:
    return word.startswith("dropout.") and len(word) > len("dropout.")


def goes_with(name: str, other: str | None) -> bool:
    """Whether putting the knob ``name`` back puts ``other`` back too: itself, and with the
    switch of all dropout layers the rate of each."""
    return other == name or (name == "dropout" and str(other).startswith("dropout."))


def defaults() -> dict[str, Any]:
    """Every option's value where nobody says otherwise."""
    return {name: option.default for name, option in OPTIONS.items()}


def help_text() -> str:
    """What ``%%train --help`` prints."""
    lines = [
        "%%train NAME [options]",
        "",
        "Run the cell, then train the model it leaves, in the background. NAME becomes the Run.",
        "The cell leaves `model` and `data` (or `train_data` and `val_data`), and if it wants to",
        "`loss`, `metrics`, `optimizer`, `scheduler`; or it defines `training_step(model, batch)`.",
        "A value may be a Python expression in braces: --lr {base_lr / 2}.",
    ]
    for group, options in _grouped():
        lines += ["", f"{group}:"]
        for option in options:
            flag = option.flag if option.kind != "flag" else f"--[no-]{option.flag[2:]}"
            live = " *" if isinstance(option, Knob) else ""
            default = "" if option.default is None else f" Default: {short(option.default)}."
            lines += [f"  {flag}{live}", f"      {option.doc} Takes {option.range}.{default}"]
    return "\n".join([*lines, "", "* can be changed while the run trains."])


def _grouped() -> Iterator[tuple[str, list[Option]]]:
    groups: dict[str, list[Option]] = {}
    for option in OPTIONS.values():
        groups.setdefault(option.group, []).append(option)
    yield from groups.items()
