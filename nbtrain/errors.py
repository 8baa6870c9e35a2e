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


class NbtrainError(Exception):
    """Base of all errors nbtrain raises on purpose."""


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
        near = difflib.get_close_matches(word, self.known, n=1, cutoff=0.5)
        self.nearest = near[0] if near else None
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
    """The run ended in an error; ``__cause__`` is the user's own exception."""


class DeviceMemoryError(NbtrainError):
    """An allocation on the device failed."""


class StoreError(NbtrainError):
    """The store cannot be read or written."""


class CorruptRecord(StoreError):
    """A stored line fails its checksum or cannot be parsed."""


class LeaseHeld(StoreError):
    """Another living process writes this run."""
