"""Every error nbtrain raises on purpose.

NbtrainError
├── UsageError             what was asked cannot be done; says what to do instead
│   ├── UnknownName        a word that is no option, knob, command or run
│   ├── InvalidValue       a value of the wrong type or out of range
│   ├── DataError          data that cannot be trained on
│   └── ModelError         a model, loss or optimizer that does not fit the data
├── CommandRejected        a command reached the run and could not be obeyed
├── RunFailed              the run ended in an error; ``__cause__`` is the user's own
├── DeviceMemoryError      an allocation on the device failed
└── StoreError             the store cannot be read or written
    ├── CorruptRecord      a stored line fails its checksum or cannot be parsed
    └── LeaseHeld          another living process writes this run

Each message says what happened, where, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_RED, _PLAIN = "\x1b[31m", "\x1b[39m"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The word of ``known`` that ``word`` is most likely meant for; None if none is near.

    Near are those that it begins, and those that fewer changes lead to than half its letters
    are: a letter more, less or another, or two that changed places.
    """
    near = difflib.get_close_matches(word, list(known), n=8, cutoff=0.5)
    changes = {other: _changes(word, other) for other in near}
    fit = [w for w in near if w.startswith(word) or 2 * changes[w] <= max(len(w), len(word))]
    return min(fit, key=lambda other: changes[other], default=None)


def _changes(word: str, other: str) -> int:
    """The optimal string alignment distance of two words."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(word, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and (a, b) == (other[j - 2], word[i - 2]):
                least = min(least, last[j - 2] + 1)
            row.append(least)
    return row[-1]


def show_message_only(error: BaseException, message: str) -> None:
    """Have IPython show ``error`` by its name and ``message``, without a traceback."""
    lines = [_headed(error, message)]
    # IPython asks an exception for its own traceback by this name.
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]


def _headed(error: BaseException, message: str) -> str:
    return f"{_RED}{type(error).__name__}{_PLAIN}: {message}"


class NbtrainError(Exception):
    """Base of all errors nbtrain raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the message alone, for our own frames say nothing to a user."""
        return [_headed(self, str(self))]


class UsageError(NbtrainError, ValueError):
    """What was asked cannot be done; the message says what to do instead."""


class UnknownName(UsageError):
    """A word that is no option, knob, command or run.

    Args:
        what: what the word was taken for, such as ``"option"``.
        word: the word as it was typed.
        known: the words that would have been understood.
        hint: what to do next, where the nearest match is not enough.
    """

    def __init__(self, what: str, word: str, known: Iterable[str], hint: str = "") -> None:
        self.what, self.word, self.known = what, word, tuple(known)
        self.nearest = nearest(word, self.known)
        message = f"There is no {what} {word!r}."
        if self.nearest:
            message += f" Did you mean {self.nearest!r}?"
        elif self.known and not hint:
            message += f" There is: {', '.join(self.known)}."
        if hint:
            message += f" {hint}"
        super().__init__(message)


class InvalidValue(UsageError):
    """A value of the wrong type or out of range; the message names the range."""


class DataError(UsageError):
    """Data that cannot be trained on."""


class ModelError(UsageError):
    """A model, loss or optimizer that does not fit the data."""


class CommandRejected(NbtrainError):
    """A command reached the run and could not be obeyed."""


class RunFailed(NbtrainError):
    """The run ended in an error; ``__cause__`` is the user's own exception.

    ``frames`` is the user's own traceback as text, where there is one; IPython shows it.
    """

    def __init__(self, message: str, frames: str | None = None) -> None:
        self.frames = frames
        super().__init__(message)

    def _render_traceback_(self) -> list[str]:
        shown = super()._render_traceback_()
        return [self.frames, *shown] if self.frames else shown


class DeviceMemoryError(NbtrainError):
    """An allocation on the device failed."""


class StoreError(NbtrainError):
    """The store cannot be read or written."""


class CorruptRecord(StoreError):
    """A stored line fails its checksum or cannot be parsed."""


class LeaseHeld(StoreError):
    """Another living process writes this run."""
