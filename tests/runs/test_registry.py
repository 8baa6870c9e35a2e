"""The runs of this process."""

from __future__ import annotations

import pytest

from nbtrain.errors import UnknownName
from nbtrain.runs import registry
from tests.engine.harness import classes
from tests.runs.harness import PATIENCE, Gate, begin, done, until


def test_runs_are_found_by_name_number_and_id() -> None:
    first, second = done(name="apples"), done(name="apples")
    assert registry.get("apples") is second
    assert registry.get("apples@1") is first
    assert registry.get(first.id) is first
    assert registry.find("pears") is None
    with pytest.raises(UnknownName, match="apples"):
        registry.get("aples")


def test_only_the_latest_and_the_one_before_stay_in_memory() -> None:
    runs = [done(name="many") for _ in range(4)]
    kept = [run for run in registry.everything() if run.name == "many"]
    assert kept == runs[-2:]


def test_live_runs_stay_whatever_their_number() -> None:
    gate = Gate(1)
    first = begin(name="alive", training_step=gate)
    for _ in range(3):
        done(name="alive", share=True)
    assert registry.find("alive@1") is first
    gate.open.set()
    first.wait(PATIENCE)


def test_subscribers_hear_until_they_leave() -> None:
    heard: list[int] = []
    leave = registry.subscribe(lambda: heard.append(1))
    done()
    assert heard
    leave()
    leave()
    count = len(heard)
    done()
    assert len(heard) == count


def test_everything_is_stopped_with_a_checkpoint() -> None:
    run = begin(data=classes(400), name="long", epochs=100_000, val_split=0.0)
    until(run, lambda: run.history.step > 3)
    waiting = begin(name="behind")
    held = begin(name="held", epochs=1000, pace=1000.0, share=True)
    until(held, lambda: held.history.step > 0)
    held.pause()
    assert registry.stop_all(PATIENCE) == []
    assert [r.state for r in (run, waiting, held)] == ["stopped"] * 3
    assert run.history.restored == run.history.step
    assert run.path is not None
    assert (run.path / "checkpoints" / "newest.safetensors").exists()


def test_what_does_not_stop_in_time_is_named() -> None:
    gate = Gate(1)
    run = begin(training_step=gate)
    gate.arrive()
    assert registry.stop_all(0.01) == [run]
    gate.open.set()
    run.wait(PATIENCE)
    assert run.state == "stopped"
