"""The states of a run and the one table of how events lead from one to the next."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from nbtrain import messages as m

State: TypeAlias = Literal["queued", "starting", "running", "paused", "finished"]

TRANSITIONS: Final[dict[tuple[State | None, type[m.Happened]], State]] = {
    (None, m.Created): "queued",
    ("queued", m.Queued): "queued",
    ("queued", m.Starting): "starting",
    ("queued", m.Finished): "finished",
    ("starting", m.Started): "running",
    ("starting", m.Finished): "finished",
    ("running", m.Paused): "paused",
    ("running", m.Finished): "finished",
    ("paused", m.Resumed): "running",
    ("paused", m.Finished): "finished",
    ("finished", m.Extended): "running",
    ("finished", m.Resumed): "running",
}
"""(state, event) → state after it. An event of a type that stands here is illegal in every
state it does not stand with; an event of any other type changes no state."""

LIVE: Final[frozenset[str]] = frozenset({"queued", "starting", "running", "paused"})
_MOVES: Final = frozenset(event for _, event in TRANSITIONS)


def after(state: State | None, event: m.Happened) -> State | None:
    """The state after ``event``. Raises ValueError if the event is illegal in ``state``."""
    kind = type(event)
    if kind not in _MOVES:
        return state
    try:
        return TRANSITIONS[state, kind]
    except KeyError:
        raise ValueError(f"{kind.__name__} cannot happen to a run that is {state}") from None
