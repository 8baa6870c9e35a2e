"""The history of a run: the fold of its events.

A live run and a reopened one go through the same `History.apply`, so they cannot differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nbtrain import messages as m
from nbtrain.errors import CorruptRecord
from nbtrain.spec import Spec
from nbtrain.states import TRANSITIONS, State, after
from nbtrain.store.actions import Action, Actions, Answers
from nbtrain.store.lines import shorten
from nbtrain.store.log import LogLines
from nbtrain.store.series import Array, Column, Rows, Table

if TYPE_CHECKING:
    import pandas as pd

_RATE_SECONDS: Final = 3.0
_MAX_PROBLEMS: Final = 100


@dataclass(frozen=True, slots=True)
class Best:
    """The validation that no earlier one was better than; ``epoch`` counts parts too."""

    step: int
    epoch: float
    metrics: Mapping[str, float]

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name} {value:.3g}" for name, value in self.metrics.items())
        place = f"step {self.step}, epoch {self.epoch:.4g}"
        return f"{place}: {metrics}" if metrics else place


@dataclass(frozen=True, slots=True)
class Curve:
    """One series at one moment: its values, and the steps and epochs they belong to."""

    steps: Array
    epochs: Array
    values: Array


class History:
    """What happened in a run so far, as anyone may read it.

    One thread writes, by `apply`; any thread reads at any moment without a lock. Whatever a
    reader was handed never changes afterwards. ``history["loss"]`` is a series as an array
    of one value per step, per validation for those that validation measures; NaN where it
    was not measured.
    """

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.number = 0
        self.spec: Spec | None = None
        self.created = 0.0
        """Seconds since 1970."""
        self.changed = 0.0
        """Time of the latest event, in seconds since 1970."""
        self.version = 0
        """Grows with every event."""

        self.state: State | None = None
        self.behind: str | None = None
        """The run that holds the device, while this one waits for it."""
        self.outcome: m.Outcome | None = None
        self.reason = ""
        self.error: str | None = None
        self.traceback: str | None = None
        self.restored: int | None = None
        """The step whose weights the model holds, once finished."""

        self.branch = 0
        self.step = 0
        self.samples = 0
        self.updates = 0
        self.seconds = 0.0
        """Training time, pauses not counted."""
        self.total_steps: int | None = None
        self.epoch_samples: int | None = None
        self.device = ""
        self.device_name = ""
        self.parameters = 0
        self.layers: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.monitor: str | None = None
        """The metric that tells which weights are best."""
        self.metrics: Mapping[str, str] = {}
        """Each metric's better direction, ``"min"`` or ``"max"``."""
        self.knobs: Mapping[str, m.Value] = {}
        self.unsupported: Mapping[str, str] = {}
        self.gauges: Mapping[str, float] = {}
        self.notices: Mapping[str, m.Noticed] = {}
        self.answers = Answers()
        self.log = LogLines()
        self.problems: tuple[str, ...] = ()
        """What was wrong with a stored run's events."""

        self._actions = Actions()
        self._bests: list[Best] = []
        self._checkpoints: list[m.Checkpointed] = []
        self._training = Table()
        self._validation = Table()
        self._whole_epoch = 0
        self._epochs_done = 0
        self._epoch_starts = (Column(np.int64), Column(np.int64))
        self._epochs_known: tuple[Array, Array] = (_NONE, _NONE)
        self._ticks: tuple[tuple[float, int], ...] = ()
        self._first_monitor: str | None = None

    @classmethod
    def of(cls, events: Iterable[m.Event]) -> History:
        """The history of stored ``events``, whatever they are.

        What does not fit is noted in `problems` and left out.
        """
        history = cls()
        for event in events:
            history._apply_stored(event)
        return history

    # ── writing ──────────────────────────────────────────────────────────────────────────

    def apply(self, event: m.Event) -> None:
        """Add what happened. Called by one thread.

        Raises ValueError, and changes nothing, if it cannot happen to this run now.
        """
        state = after(self.state, event)
        self._fold(event)
        self._end(event, state)

    def _apply_stored(self, event: m.Event) -> None:
        state = self.state
        try:
            state = after(self.state, event)
        except ValueError as error:
            # Something before it was lost; what it says is true all the same.
            self._note_problem(str(error))
            state = _LEADS_TO[type(event)]
        try:
            self._fold(event)
        except ValueError as error:
            self._note_problem(f"{type(event).__name__} at step {event.step}: {error}")
        else:
            self._end(event, state)

    def _fold(self, event: m.Event) -> None:
        if event.run != self.id and self.id:
            raise ValueError(f"it belongs to another run, {event.run!r}")
        fold = _FOLDS.get(type(event))
        if fold is not None:
            fold(self, event)
        self.id = event.run

    def _end(self, event: m.Event, state: State | None) -> None:
        self.state = state
        self.changed = event.time
        self.version += 1

    def _note_problem(self, problem: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems = (*self.problems, problem)

    def _created(self, event: m.Created) -> None:
        try:
            self.spec = Spec.from_json(event.spec)
        except CorruptRecord as error:
            self._note_problem(str(error))
        self.name, self.number, self.created = event.name, event.number, event.time

    def _queued(self, event: m.Queued) -> None:
        self.device, self.behind = event.device, event.behind

    def _starting(self, event: m.Starting) -> None:
        self.device, self.device_name, self.behind = event.device, event.device_name, None

    def _started(self, event: m.Started) -> None:
        self.knobs = dict(event.knobs)
        self.unsupported = dict(event.unsupported)
        self.layers, self.notes = event.layers, event.notes
        self.epoch_samples = event.epoch_samples or None
        self.total_steps = event.total_steps
        self.parameters = event.parameters
        self.metrics = dict(event.metrics)
        self.monitor = self._first_monitor = event.monitor

    def _stepped(self, event: m.Stepped) -> None:
        count = event.count
        sizes = {len(event.samples), *map(len, event.series.values())}
        if count < 1 or sizes != {count} or event.samples.typecode != "q":
            raise ValueError("its axes are not of one length")
        if not self._training.room_for(event.series):
            raise ValueError("it names too many series")
        if not all(map(math.isfinite, event.seconds)):
            raise ValueError("its seconds are not finite")
        begin = event.step - count
        self._enter(event.branch, begin)
        self._training.extend(
            np.arange(begin + 1, event.step + 1),
            np.frombuffer(event.samples, np.int64),
            {name: np.frombuffer(v, v.typecode) for name, v in event.series.items()},
        )
        if event.epoch != self._whole_epoch or not len(self._epochs_known[0]):
            self._mark_epoch(begin + 1, event.epoch)
        if not self._ticks or event.seconds[0] < self._ticks[-1][0]:
            self._ticks = ((event.seconds[0], begin),)
        self._ticks = (*self._ticks, (event.seconds[1], event.step))
        while len(self._ticks) > 2 and self._ticks[1][0] <= event.seconds[1] - _RATE_SECONDS:
            self._ticks = self._ticks[1:]
        self.step, self.samples, self.updates = event.step, event.samples[-1], event.updates
        self.seconds, self.total_steps = event.seconds[1], event.total_steps
        self.gauges = {**self.gauges, **event.gauges}
        if "lr" in event.series and "lr" in self.knobs:
            self._follow_rate(self._training.rows.series["lr"][-1])

    def _follow_rate(self, rate: Any) -> None:
        """Keep the learning rate what a scheduler makes it."""
        known = self.knobs["lr"]
        with np.errstate(over="ignore"):
            same = isinstance(known, float) and rate.dtype.type(known) == rate
        if not same and math.isfinite(rate):
            # The shortest number with these bits: 0.003 and not 0.003000000026077032.
            self.knobs = {**self.knobs, "lr": float(str(rate))}

    def _validated(self, event: m.Validated) -> None:
        if not self._validation.room_for(event.metrics):
            raise ValueError("it names too many metrics")
        steps = self._validation.rows.steps
        if event.branch <= self.branch and len(steps) and event.step < steps[-1]:
            raise ValueError("it comes before an earlier validation")
        if event.branch > self.branch:
            self._enter(event.branch, event.step)
        self._validation.extend(
            np.array([event.step]),
            np.array([event.samples]),
            {name: np.array([value]) for name, value in event.metrics.items()},
        )
        self._epochs_done = max(self._epochs_done, event.epoch)
        if event.best:
            epoch = float(event.epoch)
            if self.epoch_samples:
                epoch = event.samples / self.epoch_samples
            self._bests.append(Best(event.step, epoch, MappingProxyType(dict(event.metrics))))

    def _applied(self, event: m.Applied) -> None:
        if event.knob is not None:
            self.knobs = {**self.knobs, **event.knobs, event.knob: event.new}
            if event.total_steps is not None:
                self.total_steps = event.total_steps
            if event.knob == "early_stop":
                self.monitor = event.new if isinstance(event.new, str) else self._first_monitor
        self.answers.add(event)
        self._actions.add(event, self.epoch)

    def _rejected(self, event: m.Rejected) -> None:
        self.answers.add(event)

    def _resumed(self, event: m.Resumed) -> None:
        self._go_on()

    def _extended(self, event: m.Extended) -> None:
        self.knobs = {**self.knobs, "epochs": event.epochs}
        self._go_on()

    def _go_on(self) -> None:
        self.outcome = self.error = self.traceback = self.restored = None
        self.reason = ""

    def _checkpointed(self, event: m.Checkpointed) -> None:
        self._checkpoints.append(event)

    def _logged(self, event: m.Logged) -> None:
        shortened = shorten(event)
        assert isinstance(shortened, m.Logged)
        self.log.add(shortened)

    def _noticed(self, event: m.Noticed) -> None:
        others = {topic: notice for topic, notice in self.notices.items() if topic != event.topic}
        self.notices = {**others, event.topic: event} if event.text else others

    def _finished(self, event: m.Finished) -> None:
        self.outcome, self.reason, self.restored = event.outcome, event.reason, event.restored
        self.error, self.traceback = event.error, event.traceback
        self._epochs_done = max(self._epochs_done, event.epoch or 0)

    def _enter(self, branch: int, begin: int) -> None:
        """Go on after step ``begin`` on ``branch``; a new branch sets later steps aside."""
        if branch < self.branch or (branch == self.branch and begin < self.step):
            raise ValueError(f"step {begin + 1} of branch {branch} is already there")
        if begin < 0:
            raise ValueError("it begins before the first step")
        if branch > self.branch:
            self._training.cut_after(begin)
            self._validation.cut_after(begin)
            self._bests = [best for best in self._bests if best.step <= begin]
            length = int(np.searchsorted(self._epochs_known[0], begin, "right"))
            for column in self._epoch_starts:
                column.cut(length)
            self._epochs_known = self._epoch_starts[0].values, self._epoch_starts[1].values
            self._ticks = ()
            rows = self._training.rows
            self.samples = int(rows.samples[-1]) if len(rows.samples) else 0
            self.step, self.branch = min(self.step, begin), branch
            self._epochs_done = 0

    def _mark_epoch(self, step: int, epoch: int) -> None:
        steps, epochs = self._epoch_starts
        steps.extend(np.array([step]))
        epochs.extend(np.array([epoch]))
        self._whole_epoch, self._epochs_known = epoch, (steps.values, epochs.values)

    # ── reading ──────────────────────────────────────────────────────────────────────────

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all series: those of training, then those of validation."""
        training, validation = self._training.rows.series, self._validation.rows.series
        return (*training, *(name for name in validation if name not in training))

    def __repr__(self) -> str:
        state = self.outcome or self.state or "not begun"
        parts = [f"{self.name}@{self.number}", str(state), f"step {self.step}"]
        if self.names:
            parts.append(", ".join(self.names))
        if self.best is not None:
            parts.append(f"best at {self.best}")
        return f"<History {' · '.join(parts)}>"

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._training.rows.series or name in self._validation.rows.series

    def __getitem__(self, name: str) -> Array:
        return self._rows(name).series[name]

    def steps(self, name: str) -> Array:
        """The step of each value of the series ``name``. Raises KeyError."""
        return self._rows(name).steps

    def curve(self, name: str) -> Curve:
        """The series ``name`` with its steps and epochs, all taken at one moment, so of one
        length also while the run goes on. Raises KeyError."""
        rows = self._rows(name)
        return Curve(rows.steps, self._epochs(rows.steps, rows.samples), rows.series[name])

    def epochs_of(self, steps: Any) -> Array:
        """The position in epochs of each of ``steps``, parts included: 2.5 is the middle of
        the third epoch. Whole epochs done where the length of an epoch is not known."""
        wanted = np.asarray(steps, np.int64)
        rows = self._training.rows
        return self._epochs(wanted, _latest(rows.steps, rows.samples, wanted))

    @property
    def epoch(self) -> float:
        """The run's position in epochs, parts included where an epoch's length is known."""
        # An epoch may end before its last samples; what ended it knows that it is done.
        position = float(self._whole_epoch)
        if self.epoch_samples:
            position = self.samples / self.epoch_samples
        return max(position, float(self._epochs_done))

    @property
    def epochs(self) -> int | None:
        """The epochs planned; None where the run has no such plan."""
        planned = self.knobs.get("epochs")
        return planned if type(planned) is int else None

    @property
    def steps_per_second(self) -> float:
        """The speed of the last seconds of training; 0 while nothing trains, and the
        average over the whole run once it has finished."""
        if self.state == "finished":
            return self.step / self.seconds if self.seconds > 0 else 0.0
        ticks = self._ticks
        if self.state != "running" or not ticks or ticks[-1][0] <= ticks[0][0]:
            return 0.0
        return (ticks[-1][1] - ticks[0][1]) / (ticks[-1][0] - ticks[0][0])

    @property
    def actions(self) -> tuple[Action, ...]:
        """What was done to the run, oldest first; a drag is one action."""
        return self._actions.all()

    @property
    def checkpoints(self) -> tuple[m.Checkpointed, ...]:
        """The checkpoints written, oldest first."""
        return tuple(self._checkpoints)

    @property
    def best(self) -> Best | None:
        """The best validation so far."""
        bests = self._bests
        return bests[-1] if bests else None

    @property
    def judged_by(self) -> str | None:
        """The metric that tells which weights are best: the one that is watched, else the
        validation loss; None while there are no best ones."""
        known = self.best.metrics if self.best is not None else {}
        names = (self.monitor, "val_loss", "loss")
        return next((name for name in names if name in known), None)

    def to_pandas(self) -> pd.DataFrame:
        """A `pandas.DataFrame` with a row per step: ``step``, ``epoch``, ``samples`` and
        every series; those of validation are filled where they were measured."""
        import pandas as pd

        training, validation = self._training.rows, self._validation.rows
        steps = np.union1d(training.steps, validation.steps)
        columns: dict[str, Array] = {"step": steps, "epoch": steps, "samples": np.zeros_like(steps)}
        # Training last: at a step that both have seen it is the more exact about samples.
        for rows in (validation, training):
            columns["samples"][np.searchsorted(steps, rows.steps)] = rows.samples
        columns["epoch"] = self._epochs(steps, columns["samples"])
        for rows in (training, validation):
            places = np.searchsorted(steps, rows.steps)
            for name, values in rows.series.items():
                if name not in columns:
                    columns[name] = np.full(len(steps), np.nan, values.dtype)
                    columns[name][places] = values
        return pd.DataFrame(columns)

    def _rows(self, name: str) -> Rows:
        for rows in (self._training.rows, self._validation.rows):
            if name in rows.series:
                return rows
        known = ", ".join(self.names) or "none yet"
        raise KeyError(f"There is no series {name!r} in this run. There is: {known}.")

    def _epochs(self, steps: Array, samples: Array) -> Array:
        if self.epoch_samples:
            return samples / self.epoch_samples
        starts, epochs = self._epochs_known
        return _latest(starts, epochs, steps).astype(np.float64)


def _latest(steps: Array, values: Array, wanted: Array) -> Array:
    """The latest of ``values`` at or before each of ``wanted``; 0 before the first."""
    if not len(steps):
        return np.zeros(wanted.shape, np.int64)
    places = np.searchsorted(steps, wanted, "right") - 1
    found: Array = np.where(places >= 0, values[np.maximum(places, 0)], 0)
    return found


_NONE: Final[Array] = np.empty(0, np.int64)
_LEADS_TO: Final = {event: state for (_, event), state in TRANSITIONS.items()}
_FOLDS: Final[dict[type[m.Happened], Callable[[History, Any], None]]] = {
    m.Created: History._created,
    m.Queued: History._queued,
    m.Starting: History._starting,
    m.Started: History._started,
    m.Stepped: History._stepped,
    m.Validated: History._validated,
    m.Applied: History._applied,
    m.Rejected: History._rejected,
    m.Resumed: History._resumed,
    m.Extended: History._extended,
    m.Checkpointed: History._checkpointed,
    m.Logged: History._logged,
    m.Noticed: History._noticed,
    m.Finished: History._finished,
}
