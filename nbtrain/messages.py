"""Everything that is said to a run and by a run, each message named once.

Two tagged unions are the whole vocabulary: a `Command` is what someone asks of a run, an
`Event` is what happened. Both are frozen values that can cross a process, a file or a
socket (see `wire`). This file imports nothing of ours; the TypeScript types are generated
from it.
"""

from __future__ import annotations

import uuid
from array import array
from dataclasses import dataclass, field
from time import time as now
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    Integers: TypeAlias = array[int]
    Numbers: TypeAlias = array[float]
else:
    Integers = Numbers = array

Restore: TypeAlias = Literal["best", "last"]
Outcome: TypeAlias = Literal["completed", "early-stopped", "stopped", "failed"]
Value: TypeAlias = bool | int | float | str | dict[str, float] | None


def new_id() -> str:
    """A fresh id for a command or a run: 12 hexadecimal digits."""
    return uuid.uuid4().hex[:12]


# ── commands ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What every command carries: its id, who sent it, and the sender's own counter."""

    id: str = field(default_factory=new_id)
    sender: str = "run"
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Set(Ask):
    """Set a knob. Commands of one ``drag`` are one action: one mark, one undo.

    ``schedule`` says what a learning rate set under a scheduler does to the rest of the
    schedule: ``rebase`` rescales it from here, ``hold`` keeps the value constant.
    """

    knob: str
    value: Value
    drag: str | None = None
    schedule: Literal["rebase", "hold"] = "rebase"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Ask):
    """Wait after the current step until `Resume`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Ask):
    """Go on after a `Pause`, or after the run was stopped.

    With ``share`` a stopped run goes on beside the run that holds the device by now,
    instead of queueing behind it.
    """

    share: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OneStep(Ask):
    """Take ``count`` steps, then pause."""

    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Ask):
    """End the run at this step, with the best weights back or the last ones kept.

    ``early`` is the user's *Early stop*; without it the run counts as stopped, as when its
    cell runs again or its kernel shuts down.
    """

    restore: Restore = "best"
    early: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate(Ask):
    """Compute the validation metrics now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Save(Ask):
    """Write a checkpoint now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo(Ask):
    """Put back the value that an action replaced, from here. ``action`` names the action
    by its command's (or drag's) id; without it, the latest action not yet undone."""

    action: str | None = None


Command: TypeAlias = Set | Pause | Resume | OneStep | Stop | Evaluate | Save | Undo
COMMANDS: tuple[type[Ask], ...] = (Set, Pause, Resume, OneStep, Stop, Evaluate, Save, Undo)


# ── events ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What every event carries: its place in the run and its time.

    ``run`` is the run's id, ``branch`` counts rewinds, ``step`` is the last step done (0
    before the first), ``member`` tells apart models that train as one; ``time`` is in
    seconds since 1970.
    """

    run: str
    branch: int = 0
    step: int = 0
    member: int | None = None
    time: float = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(Happened):
    """The run exists and waits for its device. ``spec`` is the JSON form of its `Spec`."""

    name: str
    number: int
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(Happened):
    """The run waits for a device; ``behind`` is the name of the run that holds it."""

    device: str
    behind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Starting(Happened):
    """The trainer took the run up and moves it to ``device``."""

    device: str
    device_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Happened):
    """Training begins.

    ``knobs`` holds every knob's value; ``unsupported`` maps a knob to the reason why this
    run cannot obey it; ``layers`` names the dropout layers. ``epoch_samples`` is the number
    of training samples in an epoch, ``total_steps`` the steps planned; both None where
    unknown. ``notes`` are the sentences that tell what was inferred. ``metrics`` maps each
    metric to ``"min"`` or ``"max"``, whichever is better.
    """

    knobs: dict[str, Value]
    unsupported: dict[str, str]
    layers: tuple[str, ...]
    epoch_samples: int | None
    total_steps: int | None
    parameters: int
    metrics: dict[str, str]
    monitor: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped(Happened):
    """A block of ``count`` consecutive steps; ``step`` is the last of them.

    Named axes, one entry a step: ``samples`` is the number of training samples seen so
    far, and each of ``series`` (``loss``, ``accuracy``, ``lr``, …) holds that metric.
    ``updates`` counts optimizer updates done by the end of the block: a skipped non-finite
    step is a step and no update. ``seconds`` are the training time at the block's begin and
    end, pauses not counted. ``epoch`` is the number of whole epochs done. ``gauges`` are
    readings that need no history, such as ``memory`` in bytes.
    """

    count: int
    samples: Integers
    series: dict[str, Numbers]
    updates: int
    epoch: int
    seconds: tuple[float, float]
    total_steps: int | None
    gauges: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated(Happened):
    """The validation metrics at this step; ``best`` if no earlier ones were better."""

    metrics: dict[str, float]
    samples: int
    epoch: int
    best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied(Happened):
    """A command took effect after step ``step``, before the next one.

    ``command`` is its id, ``action`` its type. For a `Set` or an `Undo`, ``knob``, ``old``
    and ``new`` say what changed, and ``knobs`` holds every other knob that changed with it,
    as a layer's rate does with the rate of all. ``undoes`` names the action that an undo put
    back. ``total_steps`` is the number of steps planned from then on, where a knob was set and
    it is known.
    """

    command: str
    action: str
    sender: str
    knob: str | None = None
    old: Value = None
    new: Value = None
    drag: str | None = None
    undoes: str | None = None
    note: str | None = None
    knobs: dict[str, Value] = field(default_factory=dict)
    total_steps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Happened):
    """A command was not obeyed, and why."""

    command: str
    action: str
    sender: str
    reason: str
    knob: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Happened):
    """The run waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Happened):
    """The run goes on, after a pause or after it had been stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended(Happened):
    """A finished run goes on to ``epochs`` epochs."""

    epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpointed(Happened):
    """A checkpoint lies in the run's folder under ``file``; ``size`` is in bytes.

    The field is not called ``kind``, which in the JSON form is the type of the message.
    """

    file: str
    why: Literal["interval", "best", "last", "asked"]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged(Happened):
    """The user's code wrote ``text``; ``stream`` is stdout, stderr, warning or logging.

    Where ``replace`` is set the text takes the place of the line before it, as a progress
    bar's does.
    """

    stream: str
    text: str
    replace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed(Happened):
    """Something the user should know; ``topic`` tells notices of one kind apart.

    A later notice of the same topic takes the place of the earlier one; an empty text
    takes it back.
    """

    topic: str
    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Happened):
    """The run ended. ``restored`` is the step whose weights the model holds now, ``epoch`` the
    number of whole epochs done.

    ``error`` is the message and ``traceback`` the user's own frames, where it failed.
    """

    outcome: Outcome
    reason: str
    restored: int | None = None
    error: str | None = None
    traceback: str | None = None
    epoch: int | None = None


Event: TypeAlias = (
    Created
    | Queued
    | Starting
    | Started
    | Stepped
    | Validated
    | Applied
    | Rejected
    | Paused
    | Resumed
    | Extended
    | Checkpointed
    | Logged
    | Noticed
    | Finished
)
EVENTS: tuple[type[Happened], ...] = (
    Created,
    Queued,
    Starting,
    Started,
    Stepped,
    Validated,
    Applied,
    Rejected,
    Paused,
    Resumed,
    Extended,
    Checkpointed,
    Logged,
    Noticed,
    Finished,
)
