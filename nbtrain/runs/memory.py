"""Giving back what a run holds, once it ended and nobody will train it on."""

from __future__ import annotations

from nbtrain.engine.loop import Loop
from nbtrain.engine.training import Training


def untrainable(old: Training) -> Training:
    """What stays of ``old`` where it will not go on: its place, its model, the best weights (in
    the machine's own memory) and what it takes to predict. Data and optimizer go."""
    task = old.task
    task.optimizer = task.scheduler = task.training_step = task.validation_step = None
    del task.data
    rest = Training(old.run, task, old.device, old.typed)
    rest.progress, rest.best = old.progress, old.best
    if old.best is not None:
        old.best.state = {name: tensor.cpu() for name, tensor in old.best.state.items()}
    untie(old)
    return rest


def untie(part: Loop | Training) -> None:
    """Cut the circle of references through ``part``, which is not used any more, so that model
    and optimizer do not wait for a garbage collection."""
    vars(part).pop("commands" if isinstance(part, Loop) else "knobs", None)
