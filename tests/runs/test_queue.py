"""Runs that wait for a device, and runs that share it."""

from __future__ import annotations

import time

import pytest
from torch import nn

from nbtrain import messages as m
from nbtrain.errors import CommandRejected
from nbtrain.runs import registry
from nbtrain.runs.run import ANSWER_SECONDS
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


def test_a_finished_run_answers_at_once_while_another_holds_the_device() -> None:
    ended = done(name="ended")
    cut = begin(name="cut", epochs=100, pace=500.0)
    until(cut, lambda: cut.history.step > 2)
    cut.stop("last")
    gate = Gate(1)
    other = begin(name="other", training_step=gate)
    gate.arrive()
    began = time.monotonic()
    assert "val_loss" in ended.evaluate()
    assert ended.save().event
    assert ended.set(lr=0.5).event
    assert ended.undo().event
    for ask in (ended.pause, ended.stop):
        with pytest.raises(CommandRejected, match="has finished"):
            ask()
    with pytest.raises(CommandRejected, match="set epochs higher"):
        ended.resume()
    assert "waits for its device" in repr(cut.resume())
    assert "waits for its device" in repr(ended.set(epochs=4))
    assert cut.stop().event, "it does not go on after all"
    assert time.monotonic() - began < ANSWER_SECONDS
    gate.open.set()
    other.wait(PATIENCE)
    until(ended, lambda: ended.history.epoch == 4)
    ended.wait(PATIENCE)
    assert cut.state == "early-stopped"


def test_what_a_stopped_run_waits_for_goes_on_once_the_device_is_free() -> None:
    run = begin(name="run", epochs=4, pace=500.0)
    until(run, lambda: run.history.step > 2)
    run.stop("last")
    run.set(pace="off")
    gate = Gate(1)
    other = begin(name="other", training_step=gate)
    gate.arrive()
    run.resume()
    run.set(lr=0.5)
    gate.open.set()
    other.wait(PATIENCE)
    until(run, lambda: run.state == "completed")
    assert run.history.epoch == 4
    assert run.history["lr"][-1] == 0.5
