"""The control point: the one place between two steps where the world reaches the loop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from nbtrain.messages import Command, Event


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided at one step: the commands that act now, in their order."""

    commands: tuple[Command, ...] = ()


GO: Final = Decision()
"""Nothing waits: go on."""

PATIENCE: Final = 0.03
"""Seconds between two control points while the next batch is not there yet."""


class Control(Protocol):
    """What the loop knows of the world. Called on the thread that trains."""

    def decide(self, step: int, wait: float | None = 0.0) -> Decision:
        """The decision after ``step``; with ``wait``, up to so many seconds later, as soon as
        there is a command. None waits for a command as long as it takes."""
        ...

    def emit(self, event: Event) -> None:
        """Take an event away. Never raises, never blocks for long."""
        ...


class Script:
    """A control point that is a list: commands by the step after which they act.

    What the loop emits is in ``events``. A wait without end raises, since no command would
    ever come.
    """

    def __init__(self, commands: Iterable[tuple[int, Command]] = ()) -> None:
        self.waiting = sorted(commands, key=lambda item: item[0])
        self.events: list[Event] = []

    def decide(self, step: int, wait: float | None = 0.0) -> Decision:
        due = [command for at, command in self.waiting if at <= step]
        if due:
            self.waiting = [item for item in self.waiting if item[0] > step]
            return Decision(tuple(due))
        if wait is None:
            if not self.waiting:
                raise RuntimeError("the script ends while the run waits for a command")
            return Decision((self.waiting.pop(0)[1],))
        return GO

    def emit(self, event: Event) -> None:
        self.events.append(event)
