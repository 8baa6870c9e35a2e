"""The model of a run, for everyone but its trainer: as of a step boundary, never within one."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nbtrain.engine.early import Weights
from nbtrain.engine.ownership import plain_copy
from nbtrain.engine.predict import predict
from nbtrain.engine.task import Task
from nbtrain.errors import CommandRejected, ModelError, UsageError
from nbtrain.runs.inbox import Inbox

_STEP_SECONDS = 30.0
"""How long a call of the user's model from another thread waits for the end of a step."""


class Access:
    """Copies and answers of one run's model, taken where it stands still.

    Args:
        task: holds the model.
        device: where the model lies.
        inbox: has a function called between two steps.
        here: whether the asker is the training thread itself.
        moving: whether a thread trains the model, or waits for a command to.
    """

    def __init__(
        self,
        task: Task,
        device: torch.device,
        inbox: Inbox,
        *,
        here: Callable[[], bool],
        moving: Callable[[], bool],
    ) -> None:
        self.task, self.device = task, device
        self.still = threading.Lock()
        """Held while a model that nobody trains is looked at, and while training begins."""
        self._inbox = inbox
        self._here, self._moving = here, moving

    def between_steps(self, function: Callable[[], Any], patience: float = math.inf) -> Any:
        """``function()`` where the model stands still; on the asker's thread if nobody
        trains it. Raises TimeoutError after ``patience`` seconds within one step."""
        if self._here():
            return function()
        until = time.monotonic() + patience
        future = None
        try:
            while future is None or not wait([future], timeout=0.05).done:
                # Before the start, after the end, and where it ended meanwhile so that nobody
                # will come to answer: the trainer cannot begin while we hold the lock.
                if self.still.acquire(timeout=0.05):
                    try:
                        if not self._moving():
                            return function()
                    finally:
                        self.still.release()
                    if future is None:
                        future = self._inbox.between_steps(function)
                if time.monotonic() > until and (future is None or future.cancel()):
                    raise TimeoutError
            return future.result()
        finally:
            # Whoever interrupted the wait wants no answer, which may cost a copy of the model.
            if future is not None:
                future.cancel()

    def snapshot(self) -> nn.Module:
        """A copy of the model in evaluation mode."""
        copied: nn.Module = self.between_steps(lambda: plain_copy(self.task.model))
        return copied.eval()

    def snapshot_for_call(self, module: nn.Module) -> nn.Module:
        """The copy of the model, or of a layer of it, that another thread works on.

        Such a thread may have been started by the very step that waits for it, so this raises
        `ModelError` after a while.
        """
        try:
            copied: nn.Module = self.between_steps(lambda: plain_copy(module), _STEP_SECONDS)
        except TimeoutError:
            name = self.task.name
            raise ModelError(
                f"{name} is training this model and has been in one step for {_STEP_SECONDS:.0f} "
                "s, so there is no copy of it for this call. If the step itself waits for this "
                "thread, call the model on the thread that the step runs on; otherwise try "
                f"again, or wait for {name}.model."
            ) from None
        return copied

    def best_model(self, best: Callable[[], Weights | None]) -> nn.Module:
        """A copy with the weights that ``best`` gives. Raises `UsageError` where that is none."""

        def copy() -> nn.Module:
            weights = best()
            data = getattr(self.task, "data", None)  # given back where the run ended for good
            if weights is None and data is not None and data.val is None:
                raise UsageError(
                    "There are no best weights, because there is no validation data to choose "
                    "them by: give val_data or a --val-split, or let --early-stop loss watch the "
                    f"training loss. {self.task.name}.model has the weights as they are."
                )
            if weights is None:
                raise UsageError(
                    "There are no best weights yet: they are chosen at each validation. Wait for "
                    "the first one, or call evaluate()."
                )
            copied = plain_copy(self.task.model)
            if not weights.fits(copied):
                raise UsageError(
                    "The model has other parameters now than when its best weights were kept. "
                    f"{self.task.name}.model has it as it is."
                )
            weights.restore(copied)
            return copied.eval()

        found: nn.Module = self.between_steps(copy)
        return found

    def predict(self, model: nn.Module, inputs: Any, raw: bool) -> Any:
        """What ``model`` answers. See `Run.predict`."""
        return predict(self.task, model, self.device, inputs, raw)

    def save_weights(self, path: Path) -> Path:
        """Write the weights to ``path`` and return where they lie: by ``torch.save`` where it
        ends in .pt or .pth, else as safetensors.

        Raises `CommandRejected` if they cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_model

        by_torch = path.suffix in (".pt", ".pth")
        if not by_torch and path.suffix != ".safetensors":
            path = path.with_name(path.name + ".safetensors")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if by_torch:
                # On the CPU, so that the file can be read where there is no such device.
                torch.save(self.snapshot().cpu().state_dict(), path)
            else:
                save_model(self.snapshot(), str(path))
        except (OSError, RuntimeError, SafetensorError) as error:  # torch.save raises all kinds
            raise CommandRejected(
                f"{path} cannot be written ({error}). Choose another folder."
            ) from None
        return path
