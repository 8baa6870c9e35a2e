from __future__ import annotations

import itertools
from typing import get_args

import pytest

from nbtrain import messages as m
from nbtrain import states

STATES: tuple[states.State | None, ...] = (None, *get_args(states.State))

# Every move there is, written out; the states and events it does not name are the rest.
MOVES: dict[tuple[str | None, str], str] = {
    (None, "Created"): "queued",
    ("queued", "Queued"): "queued",
    ("queued", "Starting"): "starting",
    ("queued", "Finished"): "finished",
    ("starting", "Started"): "running",
    ("starting", "Finished"): "finished",
    ("running", "Paused"): "paused",
    ("running", "Finished"): "finished",
    ("paused", "Resumed"): "running",
    ("paused", "Finished"): "finished",
    ("finished", "Extended"): "running",
    ("finished", "Resumed"): "running",
}
STILL = {"Stepped", "Validated", "Applied", "Rejected", "Checkpointed", "Logged", "Noticed"}


@pytest.mark.parametrize(("state", "kind"), list(itertools.product(STATES, m.EVENTS)), ids=str)
def test_every_event_in_every_state(state: states.State | None, kind: type[m.Happened]) -> None:
    event = object.__new__(kind)
    if kind.__name__ in STILL:
        assert states.after(state, event) == state
    elif (state, kind.__name__) in MOVES:
        assert states.after(state, event) == MOVES[state, kind.__name__]
    else:
        with pytest.raises(ValueError, match=f"{kind.__name__} cannot happen"):
            states.after(state, event)


def test_every_state_is_reached_and_only_a_finished_run_is_not_live() -> None:
    assert set(MOVES.values()) == set(get_args(states.State))
    assert set(get_args(states.State)) - states.LIVE == {"finished"}
