"""Where commands wait for the control point."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from nbtrain.engine.control import GO, Decision
from nbtrain.messages import Command, Event
from nbtrain.runs.output import hold

T = TypeVar("T")


class Inbox:
    """One run's control point: any thread sends, the training thread decides and emits.

    A command is obeyed once, however often it arrives: its id is kept for the run's life.

    Args:
        emit: takes each event away; called on the training thread.
    """

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self.emit = emit
        self._commands: deque[Command] = deque()
        self._requests: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._arrived = threading.Event()
        self._lock = threading.Lock()
        self._seen: set[str] = set()

    def send(self, command: Command) -> bool:
        """Leave ``command`` for the next control point. False if it came before."""
        with self._lock:
            if command.id in self._seen:
                return False
            self._seen.add(command.id)
            self._commands.append(command)
        self._arrived.set()
        return True

    def between_steps(self, function: Callable[[], T]) -> Future[T]:
        """Have ``function`` called on the training thread between two steps."""
        future: Future[T] = Future()
        self._requests.append((function, future))
        self._arrived.set()
        return future

    def decide(self, step: int, wait: float | None = 0.0) -> Decision:
        """See `nbtrain.engine.control.Control`."""
        hold()
        if not self._commands and not self._requests:
            if wait == 0.0:
                return GO
            self._arrived.wait(wait)
        return self.take()

    def take(self, wanted: Callable[[Command], bool] = lambda command: True) -> Decision:
        """Everything that waits, now, but the commands that are not wanted; requests are
        answered here."""
        self._arrived.clear()
        while self._requests:
            function, future = self._requests.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 - the asker's own, raised where it asked
                future.set_exception(error)
        with self._lock:
            commands = tuple(command for command in self._commands if wanted(command))
            for command in commands:
                self._commands.remove(command)
        return Decision(commands) if commands else GO

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands that wait."""
        with self._lock:
            return tuple(self._commands)

    @property
    def waiting(self) -> bool:
        """Whether something waits for a control point."""
        return bool(self._commands or self._requests)


class NoCommands:
    """The control point of a finished run that obeys a command: it emits, and has no others.

    Those that come meanwhile wait in the inbox.
    """

    def __init__(self, inbox: Inbox) -> None:
        self.emit = inbox.emit

    def decide(self, step: int, wait: float | None = 0.0) -> Decision:
        return GO
