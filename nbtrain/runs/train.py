"""Starting a run: from a cell by `launch`, from Python by `train`."""

from __future__ import annotations

import hashlib
import platform
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nbtrain import __version__, options
from nbtrain.data.randomness import undisturbed
from nbtrain.engine import device as devices
from nbtrain.engine.frames import users_alone
from nbtrain.engine.ownership import check_free
from nbtrain.engine.task import Task, bind
from nbtrain.errors import NbtrainError
from nbtrain.runs import presenter, registry
from nbtrain.runs.execution import Execution
from nbtrain.runs.run import Run
from nbtrain.runs.trainer import Trainer
from nbtrain.spec import CELL_NAMES, Spec, check_name, names_bound

_NEEDED = ("model", "data", "train_data", "val_data")


def train(
    model: nn.Module,
    data: Any = None,
    *,
    name: str = "run",
    train_data: Any = None,
    val_data: Any = None,
    loss: Any = None,
    metrics: Any = None,
    optimizer: Any = None,
    scheduler: Any = None,
    training_step: Callable[[nn.Module, Any], Any] | None = None,
    validation_step: Callable[[nn.Module, Any], Any] | None = None,
    wait: bool | None = None,
    **settings: Any,
) -> Run:
    """Train ``model`` in the background and return its run.

    In a script it shows a progress bar and returns at the run's end; in a notebook it shows
    a panel and returns at once. ``wait`` says otherwise.

    Args:
        model: trained in place.
        data: see `nbtrain.data.prepare`; split for validation by ``val_split``.
        name: what the run is called.
        train_data: in place of ``data``, with ``val_data`` for validation.
        val_data: validation data.
        loss: a function of (outputs, targets), or a loss's name; inferred if left out.
        metrics: functions of (outputs, targets), in a dict by name or in a list.
        optimizer: a name, an optimizer, or a function of the parameters that makes one.
        scheduler: a name, a scheduler, or a function of the optimizer that makes one.
        training_step: ``training_step(model, batch)`` returns the loss, in place of ``loss``.
        validation_step: the same for validation.
        wait: whether to return only when the run has ended.
        **settings: every other option of ``%%train``, such as ``epochs=30, lr=3e-3``.

    Raises:
        UsageError: what cannot be trained, and what to do.
        RunFailed: if it waits and the run fails.

    Example:
        >>> run = nbtrain.train(model, (X, y), epochs=30, lr=3e-3)
        >>> run.history["val_loss"]
    """
    __tracebackhide__ = True  # an error of the user's own shows the user's own frames
    given: dict[str, Any] = {
        "model": model,
        "data": data,
        "train_data": train_data,
        "val_data": val_data,
        "metrics": metrics,
        "training_step": training_step,
        "validation_step": validation_step,
    }
    for word, value in (("loss", loss), ("optimizer", optimizer), ("scheduler", scheduler)):
        # A name goes the way of the option, so that it is checked like one.
        if isinstance(value, str):
            settings[word] = value
        else:
            given[word] = value
    if wait is not None:
        settings["wait"] = wait
    typed = options.check(settings)
    waits = typed.pop("wait", None)
    if waits is None:
        waits = presenter.current().waits
    run = launch(
        {word: value for word, value in given.items() if value is not None},
        {**options.defaults(), **typed, "wait": waits},
        tuple(typed),
        check_name(name),
        bound=frozenset(CELL_NAMES),
    )
    if run.spec.options["panel"]:
        presenter.current().show(run)
    if waits:
        presenter.current().wait(run)
    return run


def launch(
    namespace: Mapping[str, Any],
    settings: Mapping[str, Any],
    given: tuple[str, ...],
    name: str,
    source: str = "",
    context: tuple[str, ...] = (),
    *,
    bound: frozenset[str] | None = None,
    replaces: Run | None = None,
) -> Run:
    """Bind what a cell left and start its run. Called on the main thread.

    Args:
        namespace: the user's.
        settings: every option's value, checked.
        given: the options the user typed.
        name: the run's name.
        source: the cell's body, and ``context`` the earlier cells it needs.
        context: see ``source``.
        bound: the names that the cell bound; read off ``source`` if left out. Only ``model``
            and data are looked up among names bound elsewhere, and a note says so.
        replaces: the run of the same name that was stopped for this one.

    Raises:
        UsageError: what is missing or does not fit.
    """
    bound = names_bound(source) if bound is None else bound
    left = {
        word: namespace[word]
        for word in CELL_NAMES
        if word in namespace and (word in bound or word in _NEEDED)
    }
    left = _only_one_kind_of_data(left, bound)
    if isinstance(left.get("model"), nn.Module):
        check_free(left["model"])  # before anything is tried on it
    __tracebackhide__ = True  # IPython shows the user's frames below this one, not this one
    try:
        with seeded(settings["seed"]):
            task = bind(name, left, dict(settings), frozenset(given))
    except BaseException as error:
        if isinstance(error, NbtrainError):
            raise
        raise error.with_traceback(users_alone(error))  # noqa: B904 - the same error, not another
    task.attended = bool(settings["panel"]) and (not settings["wait"] or presenter.current().acts)
    parameter = next(task.model.parameters(), None)
    device = devices.choose(settings["device"], None if parameter is None else parameter.device)
    devices.autocast(device, settings["precision"])
    spec = Spec(
        name=name,
        options=dict(settings),
        given=given,
        source=source,
        context=context,
        data=task.data.fingerprint,
        weights=fingerprint(task.model),
        environment=environment(device),
    )
    # First: nobody looks for these, and a mistake shows in them.
    task.notes = (*_origin(task, [word for word in left if word not in bound]), *task.notes)
    folder = registry.store().create(name)
    trainer = Trainer(name) if settings["share"] else registry.trainer(device)
    execution = Execution(
        spec,
        task,
        device,
        folder,
        trainer,
        changed=registry.changed,
        woke=registry.woken,
        moved=registry.moved,
    )
    holder = registry.find(trainer.holder) if trainer.holder else None
    run = Run(execution)
    try:
        execution.launch(None if holder is None else holder.name)
    except BaseException:
        execution.ownership.release()
        folder.close()
        raise
    registry.add(run)
    registry.moved()
    if replaces is not None:
        execution.replaces(replaces.id, replaces.number)
    return run


def _only_one_kind_of_data(left: dict[str, Any], bound: frozenset[str]) -> dict[str, Any]:
    """``data`` and ``train_data`` cannot both count: what this cell bound does."""
    if "data" in left and "train_data" in left:
        if "data" in bound and "train_data" not in bound:
            del left["train_data"]
            if "val_data" not in bound:
                left.pop("val_data", None)
        elif "train_data" in bound and "data" not in bound:
            del left["data"]
    elif "data" in bound and "val_data" not in bound:
        left.pop("val_data", None)
    return left


def _origin(task: Task, earlier: list[str]) -> list[str]:
    """Where model and data come from, in sentences: those that this cell did not bind, and what
    the model learned already."""
    notes = []
    if earlier:
        names, last = ", ".join(f"`{word}`" for word in earlier[:-1]), f"`{earlier[-1]}`"
        come = f"{names} and {last} come" if names else f"{last} comes"
        notes.append(f"{come} from an earlier cell.")
    for run in reversed(registry.everything()):
        if run.trained(task.model):
            steps = f"{run.name}@{run.number} for {run.history.step:,} steps"
            notes.append(f"The model learned from {steps}; training goes on from there.")
            break
    return notes


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch, NumPy and `random` from the run's seed; put them back after."""
    # Other runs fetch on threads of their own and swap the same generators.
    with undisturbed() as lock:
        states = torch.get_rng_state(), np.random.get_state(), random.getstate()
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            with lock:
                torch.set_rng_state(states[0])
                np.random.set_state(states[1])
                random.setstate(states[2])
            if cuda:
                torch.cuda.set_rng_state_all(cuda)


def fingerprint(model: nn.Module) -> str:
    """A hash of every weight and buffer, by name, type, shape and bits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        flat = value.detach().cpu().contiguous().flatten()
        if flat.numel():
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def environment(device: torch.device) -> dict[str, Any]:
    """What bit-equality hangs on, besides the spec's other parts."""
    return {
        "nbtrain": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "platform": sys.platform,
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "device": str(device),
        "device_name": devices.name_of(device),
        "threads": torch.get_num_threads(),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
