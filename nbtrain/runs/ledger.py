"""What happens to a run, written down: each event into its journal and into its history."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from nbtrain import messages as m
from nbtrain.engine.training import Place
from nbtrain.states import after
from nbtrain.store.catalog import RunFolder
from nbtrain.store.history import History

_LOST = "Another process has taken this run over."
_MOST_LINES = 1000
_LINES_SECONDS = 0.1


class Ledger:
    """A run's journal and history, which tell the same.

    Any thread writes. A disk that cannot be written raises nothing.

    Args:
        folder: the run's own.
        place: where the run is, for what is told of it.
        changed: called when there is something new to read.
    """

    def __init__(
        self, folder: RunFolder, place: Callable[[], Place], changed: Callable[[], None]
    ) -> None:
        self.folder, self.changed = folder, changed
        self.history = History()
        self.writing = threading.RLock()
        """Held while an event is written; hold it to write several in a row."""
        self.lost = False
        """Whether another process writes the run now; nothing is stored from then on."""
        self._place = place
        self._lines: list[m.Logged] = []
        self._answers: dict[str, Callable[[], None]] = {}
        self._storage_problem: str | None = None

    def emit(self, event: m.Event) -> None:
        """Into the journal, then into the history.

        Raises ValueError, and writes nothing, if the event cannot happen to this run now.
        """
        with self.writing:
            after(self.history.state, event)
            if self._lines and not isinstance(event, m.Logged):
                self._flush_lines()
            self._store(event)
            self.history.apply(event)
        if isinstance(event, (m.Applied, m.Rejected)):
            answered = self._answers.get(event.command)
            if answered is not None:
                answered()
        elif isinstance(event, m.Stepped):
            self._watch_storage()
        self.changed()

    def say(self, topic: str, text: str, level: Literal["info", "warning"] = "warning") -> None:
        """Tell the user something; an empty text takes back what was told of this topic."""
        self.emit(m.Noticed(topic=topic, text=text, level=level, **self._place()))

    def applied(self, command: m.Command) -> None:
        """Answer that ``command`` was obeyed."""
        self.emit(
            m.Applied(
                command=command.id,
                action=type(command).__name__,
                sender=command.sender,
                **self._place(),
            )
        )

    def reject(self, command: m.Command, reason: str) -> None:
        """Answer that ``command`` was not obeyed."""
        self.emit(
            m.Rejected(
                command=command.id,
                action=type(command).__name__,
                sender=command.sender,
                reason=reason,
                knob=getattr(command, "knob", None),
                **self._place(),
            )
        )

    def on_answer(self, command: str, answered: Callable[[], None]) -> Callable[[], None]:
        """Have ``answered`` called when the command is; returns how to stop that."""
        self._answers[command] = answered

        def stop() -> None:
            self._answers.pop(command, None)

        return stop

    def log(self, stream: str, text: str, replace: bool) -> None:
        """A line that the user's code wrote; sent with the next frame."""
        event = m.Logged(stream=stream, text=text, replace=replace, **self._place())
        with self.writing:
            last = self._lines[-1] if self._lines else None
            if last is not None and replace and last.replace and last.stream == stream:
                self._lines[-1] = event
            else:
                self._lines.append(event)
            waited = event.time - self._lines[0].time
            if len(self._lines) > _MOST_LINES or waited > _LINES_SECONDS:
                self._flush_lines()
                self.changed()

    def beat(self, renew: bool) -> None:
        """Write what waits; with ``renew`` also show other machines that the run lives."""
        if self.lost:
            return
        if not renew:
            self.folder.journal.flush()
        elif not self.folder.renew():
            with self.writing:
                # The journal is the other's now, and two writers would spoil it.
                self.lost = True
                self.folder.journal.close()
            self.say("store", f"{_LOST} What this one does from here on is not stored.")

    def _store(self, event: m.Event) -> None:
        if not self.lost:
            self.folder.journal.append(event)

    def _flush_lines(self) -> None:
        lines, self._lines = self._lines, []
        for event in _joined(lines):
            self._store(event)
            self.history.apply(event)

    def _watch_storage(self) -> None:
        problem = self.folder.journal.error
        if problem != self._storage_problem:
            self._storage_problem = problem
            self.say("store", problem or "")


def _joined(lines: list[m.Logged]) -> list[m.Logged]:
    """Neighbouring lines of one stream as one event."""
    joined: list[m.Logged] = []
    for event in lines:
        last = joined[-1] if joined else None
        if last is not None and last.stream == event.stream and not event.replace:
            text = f"{last.text}\n{event.text}"
            joined[-1] = m.Logged(
                run=event.run,
                branch=event.branch,
                step=event.step,
                time=last.time,
                stream=event.stream,
                text=text,
                replace=last.replace,
            )
        else:
            joined.append(event)
    return joined
