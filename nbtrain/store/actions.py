"""What was done to a run: its answered commands, folded into actions.

A drag is many commands and one action; an undo is an action of its own and marks the one it
put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from nbtrain import messages as m
from nbtrain import options

Answer: TypeAlias = m.Applied | m.Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something done to the run, from one command or from the many of one drag.

    ``id`` is the drag's id or the command's, the one an `Undo` names. ``action`` is the
    command's type. ``step`` is where it took effect last and ``since`` where it first did,
    which differ only for a drag; ``epoch`` belongs to ``step``. ``old`` is the value before
    the whole action. ``undone`` tells whether an undo put ``old`` back.
    """

    id: str
    action: str
    sender: str
    step: int
    since: int
    epoch: float
    time: float
    knob: str | None
    old: m.Value
    new: m.Value
    note: str | None
    undoes: str | None
    undone: bool = False


class Actions:
    """The actions of a run in their order."""

    def __init__(self) -> None:
        self._actions: list[Action] = []
        self._places: dict[str, int] = {}

    def all(self) -> tuple[Action, ...]:
        """The actions so far, oldest first."""
        return tuple(self._actions)

    def add(self, event: m.Applied, epoch: float) -> None:
        """Fold ``event``, which took effect at ``epoch``, in."""
        name = event.drag if event.drag is not None else event.command
        action = Action(
            id=name,
            action=event.action,
            sender=event.sender,
            step=event.step,
            since=event.step,
            epoch=epoch,
            time=event.time,
            knob=event.knob,
            old=event.old,
            new=event.new,
            note=event.note,
            undoes=event.undoes,
        )
        place = self._places.get(name)
        begun = None if place is None else self._actions[place]
        if place is not None and begun is not None and begun.knob == event.knob:
            self._actions[place] = replace(
                action, since=begun.since, old=begun.old, undone=begun.undone
            )
        else:
            self._places[name] = len(self._actions)
            self._actions.append(action)
        if event.undoes is not None:
            self._mark(event.undoes, undone=True)
            self._mark_later(event.undoes)

    def _mark(self, name: str, *, undone: bool) -> None:
        place = self._places.get(name)
        if place is None:
            return
        action = self._actions[place]
        self._actions[place] = replace(action, undone=undone)
        # Undoing an undo brings back what it had taken away.
        if action.undoes is not None and action.undoes != name:
            target = self._places.get(action.undoes)
            if target is not None:
                self._actions[target] = replace(self._actions[target], undone=not undone)

    def _mark_later(self, name: str) -> None:
        """What was set after the action ``name`` went with it when that was undone."""
        place = self._places.get(name)
        knob = None if place is None else self._actions[place].knob
        if place is None or knob is None:
            return
        for index in range(place + 1, len(self._actions)):
            later = self._actions[index]
            if later.undoes is None and options.goes_with(knob, later.knob):
                self._actions[index] = replace(later, undone=True)


class Answers(Mapping[str, Answer]):
    """The answer to each command, by its id; may grow while it is read."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}

    def __getitem__(self, command: str) -> Answer:
        return self._answers[command]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._answers))

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, event: Answer) -> None:
        """Keep ``event``; a second answer to one command takes the first's place."""
        self._answers[event.command] = event

    def latest(self, count: int) -> list[Answer]:
        """The last ``count`` answers, oldest first."""
        return list(self._answers.values())[-count:] if count > 0 else []
