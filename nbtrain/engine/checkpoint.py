"""Checkpoints: safetensors for tensors, JSON for the rest; no pickle.

Written aside, flushed to the disk and renamed, so that a file under its final name is whole.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nbtrain.engine.early import Weights
from nbtrain.engine.training import Training
from nbtrain.messages import Checkpointed, Event, Noticed
from nbtrain.wire import plain

FORMAT = 1
_APART = 1.0
"""Seconds of training between two interval checkpoints, at least."""
_SHARE = 0.05
"""Most of the training time that interval checkpoints may take."""

Kind = Literal["interval", "best", "last", "asked"]
Emit = Callable[[Event], None]


class Writer:
    """Writes a run's checkpoints into its folder.

    The newest interval checkpoint, the best weights and the last state each have one file;
    those that someone asked for keep theirs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spent = 0.0
        self._longest = 0.0
        self._due = 0.0
        self._best: Weights | None = None

    def interval(self, t: Training, emit: Emit) -> None:
        """Write the newest state and the best weights, where they are others than those on
        the disk; unless that was done less than a second ago or checkpoints have cost 5 % of
        the training already."""
        seconds = t.progress.seconds
        if seconds >= self._due and self._spent + self._longest <= _SHARE * seconds:
            self._due = seconds + _APART
            before = self._spent
            self._write(t, "interval", "newest", emit)
            self._write_best(t, emit)
            self._longest = max(self._longest, self._spent - before)

    def asked(self, t: Training, emit: Emit) -> bool:
        """Write a checkpoint that is kept. Returns whether it could be written."""
        return self._write(t, "asked", f"step-{t.progress.step:08d}", emit)

    def last(self, t: Training, emit: Emit) -> None:
        """Write the state at the end, and the best weights where they are others."""
        self._write(t, "last", "newest", emit)
        self._write_best(t, emit)

    def _write_best(self, t: Training, emit: Emit) -> None:
        best = t.best
        if best is None or best is self._best:
            return
        started = time.perf_counter()
        if self._put(t, lambda: _best(best), "best", "best", emit):
            self._best = best
        self._spent += time.perf_counter() - started

    def _write(self, t: Training, kind: Kind, name: str, emit: Emit) -> bool:
        started = time.perf_counter()
        written = self._put(t, lambda: state_of(t), kind, name, emit)
        took = time.perf_counter() - started
        self._spent += took
        self._longest = max(self._longest, took)
        return written

    def _put(
        self,
        t: Training,
        state: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]],
        kind: Kind,
        name: str,
        emit: Emit,
    ) -> bool:
        try:
            tensors, rest = state()
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{name}.safetensors"
            aside = path.with_suffix(".part")
            metadata = {"format": str(FORMAT), "nbtrain": json.dumps(plain(rest), allow_nan=False)}
            save_file(tensors, aside, metadata=metadata)
            _to_disk(aside)
            os.replace(aside, path)
        except (OSError, SafetensorError, torch.OutOfMemoryError, MemoryError) as error:
            # A full disk or memory must not end the training; the panel says what is missing.
            text = f"Checkpoints cannot be written ({error}). Training goes on."
            emit(Noticed(topic="checkpoint", text=text, level="warning", **t.place))
            return False
        size = path.stat().st_size
        emit(Checkpointed(file=f"{self.folder.name}/{path.name}", why=kind, size=size, **t.place))
        return True


def _best(best: Weights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, same = _distinct({f"model.{name}": value for name, value in best.state.items()})
    return tensors, {"step": best.step, "same": same}


def state_of(t: Training) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Where a run is: tensors by name, and the rest as JSON.

    That is model, optimizer, schedule and gradient scaler, the state of each generator drawn
    from so far, the place in the data, the knobs, and what early stopping counts. What was
    measured is in the journal, also for the best weights, which have a file of their own.
    """
    p = t.progress
    tensors = {
        f"model.{name}": value
        for name, value in t.task.model.state_dict().items()
        if isinstance(value, Tensor)
    }
    optimizer = t.optimizer.state_dict()
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in optimizer["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                scalars.setdefault(str(index), {})[key] = value
    tensors |= {f"draws.{device}": state for device, state in t.draws.state().items()}
    tensors, same = _distinct(tensors)
    rest: dict[str, Any] = {
        "step": p.step,
        "updates": p.updates,
        "epoch": p.epoch,
        "position": p.position,
        "samples": p.samples,
        "branch": p.branch,
        "seconds": p.seconds,
        "knobs": t.knobs.values,
        "same": same,
        "optimizer": {"scalars": scalars, "groups": _groups(optimizer["param_groups"])},
        "schedule": t.schedule.state(),
        "early": {
            "best": t.early.best,
            "waited": t.early.waited,
            "monitor": t.early.monitor,
            "mode": t.early.mode,
        },
    }
    if t.scaler is not None:
        rest["scaler"] = t.scaler.state_dict()
    return tensors, rest


def _groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    simple = (bool, int, float, str, type(None), list, tuple)
    return [
        {
            k: float(v) if isinstance(v, Tensor) else v
            for k, v in group.items()
            if isinstance(v, (*simple, Tensor))
        }
        for group in groups
    ]


def _distinct(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors that share memory once, and which name stands for which: tied weights."""
    first: dict[tuple[Any, ...], str] = {}
    kept: dict[str, Tensor] = {}
    same: dict[str, str] = {}
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if tensor.numel() and key in first:
            same[name] = first[key]
        else:
            first[key] = name
            # Views of one storage are refused by the format; a copy of its own is not. On the
            # CPU, because a device that trains may have no room for everything twice.
            kept[name] = tensor.detach().to("cpu", copy=True).contiguous()
    return kept, same


def load_weights(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The model's state dict in a checkpoint file."""
    from safetensors import safe_open

    tensors = load_file(path, device=str(device))
    with safe_open(path, framework="pt") as file:
        rest = json.loads((file.metadata() or {}).get("nbtrain", "{}"))
    tensors |= {name: tensors[first] for name, first in rest.get("same", {}).items()}
    return {n.removeprefix("model."): x for n, x in tensors.items() if n.startswith("model.")}


def _to_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
