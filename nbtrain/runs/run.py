"""A run, as its owner holds it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbtrain import messages as m
from nbtrain import options
from nbtrain.engine.commands import wrong
from nbtrain.errors import (
    CommandRejected,
    InvalidValue,
    RunFailed,
    UnknownName,
    UsageError,
    show_message_only,
)
from nbtrain.runs import presenter
from nbtrain.runs.execution import Execution
from nbtrain.states import LIVE
from nbtrain.store.history import History

if TYPE_CHECKING:
    from torch import nn

    from nbtrain.spec import Spec
    from nbtrain.store.log import LogLines

ANSWER_SECONDS = 10.0
"""How long `Run.set` and its kin wait for a run in the middle of a step."""


class Answer:
    """What became of a command: where it took effect, or that it waits."""

    def __init__(self, text: str, event: m.Applied | None) -> None:
        self.text = text
        self.event = event

    @property
    def step(self) -> int | None:
        """The step after which the command took effect; None while it waits."""
        return None if self.event is None else self.event.step

    def __repr__(self) -> str:
        return self.text


class Run:
    """One execution of a spec: its state, its history and its controls.

    ``%%train NAME`` and `nbtrain.train` make it. Everything the panel does, it does too, and
    leaves the same record.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        execution.owner = weakref.ref(self)
        weakref.finalize(self, execution.let_go).atexit = False

    # ── what it is ────────────────────────────────────────────────────────────────────

    @property
    def history(self) -> History:
        """Everything that happened: series, actions, best, state. ``.to_pandas()`` gives a
        table with a row a step."""
        return self._execution.history

    @property
    def name(self) -> str:
        """The name it was started under."""
        return self.history.name

    @property
    def number(self) -> int:
        """Counts the runs of this name; ``name@2`` is the second."""
        return self.history.number

    @property
    def id(self) -> str:
        """Tells it apart from every other run."""
        return self.history.id

    @property
    def spec(self) -> Spec:
        """All it takes to make the run again."""
        return self._execution.spec

    @property
    def path(self) -> Path | None:
        """The folder of its files; None if it lives in memory."""
        return self._execution.folder.path

    @property
    def notes(self) -> tuple[str, ...]:
        """What was inferred from what the cell left, in sentences."""
        return self.history.notes or self._execution.task.notes

    @property
    def state(self) -> str:
        """queued, starting, running, paused, or how it finished: completed, early-stopped,
        stopped, failed."""
        return self.history.outcome or str(self.history.state)

    @property
    def outcome(self) -> m.Outcome | None:
        """How it finished; None while it has not."""
        return self.history.outcome

    @property
    def live(self) -> bool:
        """Whether it has not finished."""
        return self.history.state in LIVE

    @property
    def error(self) -> BaseException | None:
        """What ended it, where it failed: the user's own exception or ours."""
        return self._execution.error

    @property
    def log(self) -> LogLines:
        """What the user's code printed, warned and logged while it trained."""
        return self.history.log

    @property
    def panel(self) -> Any:
        """The panel, to show it once more."""
        return presenter.current().panel(self)

    # ── what it holds ─────────────────────────────────────────────────────────────────

    @property
    def model(self) -> nn.Module:
        """While it trains, a copy of the model as of a step boundary, in evaluation mode;
        using it never disturbs training. Afterwards the trained model itself."""
        return self._execution.model()

    @property
    def best_model(self) -> nn.Module:
        """A copy of the model with the best weights so far, in evaluation mode.

        Raises `UsageError` before the first validation.
        """
        return self._execution.best_model()

    def predict(self, inputs: Any, *, raw: bool = False) -> Any:
        """The model's answers for ``inputs``, in the form the training data had: arrays, or a
        dataset or loader of samples with or without targets.

        Class indices for classification, 0 or 1 for binary targets, else the model's outputs;
        ``raw`` gives the outputs always. A tensor on the CPU with a row a sample, or a tuple or
        dict of them where the model gives one.
        """
        return self._execution.access.predict(self.model, inputs, raw)

    # ── what can be asked of it ───────────────────────────────────────────────────────

    def send(self, command: m.Command) -> str:
        """Leave a command for the next step boundary and return its id; never waits.

        The answer comes in ``history.answers``. Raises `UsageError` for what can be told at
        once: an unknown knob, a value out of range.
        """
        refused = wrong(command)
        if refused is not None:
            raise InvalidValue(_sentence(refused))
        if isinstance(command, m.Set):
            _check_knob(command, self.history.layers)
        self._execution.send(command)
        return command.id

    def set(self, **knobs: Any) -> Answer | tuple[Answer, ...]:
        """Set knobs from here: ``run.set(lr=1e-4)``, ``run.set(dropout="off")``.

        A layer's own rate goes by ``run.set(**{"dropout.2": 0.5})``. With a scheduler,
        ``schedule="hold"`` keeps a learning rate constant instead of rescaling the rest.

        Returns what became of it, one answer a knob. Raises `UsageError` or
        `CommandRejected`; then none of the knobs after it was set.
        """
        schedule: Literal["rebase", "hold"] = knobs.pop("schedule", "rebase")
        if schedule not in ("rebase", "hold"):
            raise UnknownName("way to set a learning rate", str(schedule), ("rebase", "hold"))
        if not knobs:
            raise UsageError("Name a knob and its value, such as run.set(lr=1e-4).")
        commands = [m.Set(knob=k, value=_value(v), schedule=schedule) for k, v in knobs.items()]
        for command in commands:
            _check_knob(command, self.history.layers)
        answers = tuple(self._ask(command) for command in commands)
        return answers[0] if len(answers) == 1 else answers

    def pause(self) -> Answer:
        """Wait after the current step."""
        return self._ask(m.Pause())

    def resume(self) -> Answer:
        """Go on, after a pause or after it was stopped."""
        return self._ask(m.Resume())

    def step(self, count: int = 1) -> Answer:
        """Take ``count`` steps, then pause. Returns when they are taken, or after 10 s."""
        answer = self._ask(m.OneStep(count=step_count(_value(count))))
        until = time.monotonic() + ANSWER_SECONDS
        here = self._execution.here()
        while answer.event and not here and self.state == "running" and time.monotonic() < until:
            self._waits(self._execution.ended, 0.005)
        if answer.event is None:
            return answer
        steps = f"{count} step{'s' if count > 1 else ''}"
        return Answer(f"{self.name}: {steps} after step {answer.step}", answer.event)

    def stop(self, restore: m.Restore | None = None) -> Answer:
        """Stop early. The model gets its best weights back, unless the run was started with
        ``restore_best=False``; ``"best"`` or ``"last"`` says otherwise.

        Returns when the run has ended, or after 10 s.
        """
        if restore is None:
            restore = "best" if self.spec.options["restore_best"] else "last"
        if restore not in ("best", "last"):
            raise UnknownName("kind of weights", str(restore), ("best", "last"))
        answer = self._ask(m.Stop(restore=restore))
        if answer.event and not self._execution.here():
            self._waits(self._execution.ended, ANSWER_SECONDS)
        return answer

    def evaluate(self) -> dict[str, float] | Answer:
        """Measure the validation data now. Returns the metrics.

        Where the run waits for its device, or does not come to it within 10 s, returns what
        `set` does there: that it was sent. The metrics are in ``history`` later.
        """
        answer = self._ask(m.Evaluate())
        if answer.event is None:
            return answer
        names = [n for n in self.history.metrics if n.startswith("val_") and n in self.history]
        return {name: float(self.history[name][-1]) for name in names if len(self.history[name])}

    def save(self, path: str | Path | None = None) -> Answer | Path:
        """Write a checkpoint into the run's folder; or the model's weights to ``path``, as
        safetensors, or as ``torch.save`` writes a state dict where it ends in .pt or .pth."""
        if path is None:
            return self._ask(m.Save())
        return self._execution.access.save_weights(Path(path))

    def undo(self, action: str | None = None) -> Answer:
        """Put back the value that the latest action, or the one with this id, replaced."""
        return self._ask(m.Undo(action=action))

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the end, ``timeout`` seconds at most; interrupting leaves the run alive.

        Raises `RunFailed` if the run failed, with the user's exception as its cause, and
        TimeoutError.
        """
        if not self._waits(self._execution.ended, timeout):
            raise TimeoutError(f"{self.name} is still {self.state} after {timeout} s.")
        if self.outcome == "failed":
            history = self.history
            message = f"{self.name} failed: {history.error}"
            raise RunFailed(message, history.traceback) from self.error
        return self

    def trained(self, model: nn.Module) -> bool:
        """Whether this run trained ``model`` itself, the same object."""
        return self._execution.task.model is model and self.history.step > 0

    def beat(self, renew: bool) -> None:
        """Write what waits; with ``renew`` also show other machines that the run lives."""
        self._execution.ledger.beat(renew)

    def beside(self, older: Run) -> None:
        """Where its cell stopped ``older``, which goes on: say where that one is to be seen."""
        self._execution.goes_on(older.id, f"{older.name}@{older.number}")

    def look_ahead(self, find: Callable[[str], Run | None]) -> None:
        """Where it is queued behind a run that is paused, say so, and what to do; take that
        back once it is not. ``find`` gives a run by its id."""
        execution = self._execution
        current = execution.trainer.current
        holder = None if current is None else find(current)
        why = ""
        if holder is not None and holder.state == "paused":
            why = (
                f"Waiting for {holder.name}, which is paused. Resume or stop {holder.name}, or run "
                "this cell again with --share to train beside it."
            )
        execution.waits(why)

    def give_back(self) -> bool:
        """Let go of data and optimizer, so that it can go on no more; history, model and best
        weights stay. False while it is live or obeys a command."""
        return self._execution.give_back()

    def still(self) -> str:
        """What an interrupted wait says."""
        return (
            f"Only the wait was interrupted: {self.name} is {self.state} at step "
            f"{self.history.step}. {self.name}.wait() waits on, {self.name}.stop() ends it."
        )

    def _waits(self, event: threading.Event, seconds: float | None) -> bool:
        """Wait for ``event``; an interrupt shows one line in IPython, and no frame of ours."""
        try:
            return event.wait(seconds)
        except KeyboardInterrupt as interrupt:
            show_message_only(interrupt, self.still())
            raise

    def _ask(self, command: m.Command) -> Answer:
        """Send a command and wait for its answer, as long as a step takes."""
        execution = self._execution
        answered = threading.Event()
        finished = self.history.state == "finished"
        unsubscribe = execution.ledger.on_answer(command.id, answered.set)
        try:
            execution.send(command)
            in_line = execution.in_line(command)
            if not in_line and not execution.here():
                until = time.monotonic() + ANSWER_SECONDS
                if self._waits(answered, ANSWER_SECONDS) and finished:
                    self._waits(execution.settled, max(0.0, until - time.monotonic()))
        finally:
            unsubscribe()
        answer = self.history.answers.get(command.id)
        if isinstance(answer, m.Rejected):
            raise CommandRejected(_sentence(answer.reason))
        if answer is None:
            if self.history.state == "finished" and not in_line:
                return Answer(f"sent: {self.name} is at it, and this takes long", None)
            waits = in_line or self.history.state == "queued"
            why = "waits for its device" if waits else "is in the middle of a long step"
            return Answer(f"sent: {self.name} {why}, and this acts after that", None)
        return Answer(_told(self.name, answer), answer)

    def __repr__(self) -> str:
        history = self.history
        parts = [f"{self.name}@{self.number}", self.state]
        if history.epochs:
            parts.append(f"epoch {history.epoch:.3g}/{history.epochs}")
        parts.append(f"step {history.step}")
        if history.best is not None:
            metrics = ", ".join(f"{n} {v:.4g}" for n, v in history.best.metrics.items())
            parts.append(f"best at step {history.best.step}" + (f": {metrics}" if metrics else ""))
        if history.error:
            parts.append(history.error)
        return f"<Run {' · '.join(parts)}>"


def _check_knob(command: m.Set, layers: tuple[str, ...]) -> None:
    options.knob(command.knob).check(command.value)
    layer = command.knob.removeprefix("dropout.")
    if layer != command.knob and layers and layer not in layers:
        raise UnknownName("dropout layer", layer, layers)


def step_count(count: Any) -> int:
    """``count`` if so many steps can be taken. Raises `InvalidValue`."""
    if type(count) is not int or count < 1:
        raise InvalidValue(f"{count!r} is no number of steps: it takes a whole number from 1 up.")
    return count


def _value(value: Any) -> Any:
    """``value`` as a message holds it: NumPy's and PyTorch's numbers become Python's."""
    if not callable(getattr(value, "item", None)):
        return value
    try:
        return value.item()
    except (RuntimeError, ValueError):
        raise UsageError(f"A knob takes one number, not {value!r}.") from None


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith((".", "!", "?")) else ".")


def _told(name: str, event: m.Applied) -> str:
    if event.knob is None:
        text = f"{name}: {event.action.lower()} after step {event.step}"
    else:
        change = f"{show(event.old, event.knob)} → {show(event.new, event.knob)}"
        text = f"{name}: {event.knob} {change} after step {event.step}"
    return f"{text} ({event.note})" if event.note else text


def show(value: m.Value, knob: str) -> str:
    """A knob's value for people: ``1.0e-3``, ``0.9``, ``off``."""
    declared = options.knob(knob)
    if value is None or (declared.can_be_off and value == declared.off):
        return "off"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.1e}".replace("e-0", "e-") if 0 < abs(value) < 0.01 else f"{value:g}"
