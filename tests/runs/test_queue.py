"""Runs that wait for a device, and runs that share it."""

from __future__ import annotations

import pytest
from torch import nn

from nbtrain import messages as m
from nbtrain.errors import CommandRejected
from nbtrain.runs import registry
from tests.engine.harness import network
from tests.runs.harness import PATIENCE, Gate, begin, done, paused, until


def test_a_second_run_queues_behind_the_first() -> None:
    gate = Gate(1)
    first = begin(name="first", training_step=gate)
    gate.arrive()
    second = begin(name="second")
    assert second.state == "queued"
    assert second.history.behind == "first"
    assert [run.name for run in registry.live()] == ["first", "second"]
    gate.open.set()
    second.wait(PATIENCE)
    assert first.state == "completed"


def test_sharing_trains_beside_it() -> None:
    gate = Gate(1)
    first = begin(name="first", training_step=gate)
    gate.arrive()
    assert done(name="second", share=True).state == "completed"
    assert first.live
    gate.open.set()
    first.wait(PATIENCE)


def test_stopping_a_queued_run() -> None:
    gate = Gate(1)
    first = begin(name="first", training_step=gate)
    gate.arrive()
    model = network()
    second = begin(model, name="second")
    change = m.Set(knob="lr", value=0.5)
    second.send(change)
    second.stop()
    assert second.wait(PATIENCE).state == "stopped"
    assert second.history.reason == "stopped before it began"
    assert isinstance(second.history.answers[change.id], m.Rejected)
    assert type(model) is nn.Sequential
    gate.open.set()
    first.wait(PATIENCE)
    with pytest.raises(CommandRejected, match="run its cell again"):
        second.resume()


def test_a_queued_run_tells_that_it_waits_for_a_paused_one() -> None:
    first = paused(name="first")
    second, third = begin(name="second"), begin(name="third")
    for run in (second, third):
        text = run.history.notices["queue"].text
        assert text.startswith("Waiting for first, which is paused. Resume or stop first, or ")
        assert "--share" in text
    first.resume()
    assert "queue" not in second.history.notices
    assert "queue" not in third.history.notices
    first.pause()
    until(first, lambda: "queue" in second.history.notices and "queue" in third.history.notices)
    first.stop("last")
    for run in (second, third):
        run.wait(PATIENCE)
        assert "queue" not in run.history.notices


def test_a_run_that_is_stopped_in_the_queue_waits_no_more() -> None:
    paused(name="first")
    second = begin(name="second")
    assert "queue" in second.history.notices
    second.stop()
    assert second.state == "stopped"
    assert "queue" not in second.history.notices


def test_a_run_that_shares_waits_for_nobody() -> None:
    first = paused(name="first")
    assert "queue" not in done(name="second", share=True).history.notices
    assert "queue" not in first.history.notices
