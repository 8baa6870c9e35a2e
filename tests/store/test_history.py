from __future__ import annotations

import json
import math
import threading
from array import array
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbtrain import messages as m
from nbtrain import wire
from nbtrain.store.history import History
from nbtrain.store.journal import MemoryJournal
from tests.store.runs import (
    RUN,
    applied,
    created,
    finished,
    opening,
    started,
    starting,
    stepped,
    validated,
)
from tests.vocabulary.strategies import messages_of


def live(*events: m.Event) -> History:
    history = History()
    for event in (*opening(), *events):
        history.apply(event)
    return history


def picture(history: History) -> dict[str, Any]:
    """All that a reader sees, comparable."""
    seen: dict[str, Any] = {}
    for name in dir(History) + list(vars(history)):
        if not name.startswith("_") and name not in ("apply", "of", "curve", "steps", "epochs_of"):
            seen[name] = getattr(history, name)
    del seen["version"]  # counts the blocks, which the journal merges
    if history.state == "running":
        del seen["steps_per_second"]  # and this goes by their ends
    seen["log"] = (history.log.lines, history.log.total)
    seen["answers"] = dict(history.answers)
    seen["to_pandas"] = history.to_pandas().to_csv()
    for name in history.names:
        curve = history.curve(name)
        for field in (curve.steps, curve.epochs, curve.values):
            seen[f"{name}/{len(seen)}"] = (str(field.dtype), field.tobytes())
    return {name: repr(value) for name, value in seen.items()}


def test_a_plan_that_changes_in_a_pause_counts_at_once() -> None:
    pause = m.Paused(run=RUN, step=12)
    plan = replace(applied(12, "c1", "epochs", 3, 20), total_steps=200)
    other = applied(12, "c2", "lr", 0.1, 0.2)
    events = [*opening(), stepped(1, 12), pause, plan, other]
    for history in (live(*events[3:]), History.of(events)):
        assert history.total_steps == 200
        assert history.epochs == 20


# ── what it tells ────────────────────────────────────────────────────────────────────────


def test_a_run_from_its_first_event_to_its_last() -> None:
    history = History()
    assert history.state is None
    history.apply(created())
    assert (history.id, history.name, history.number) == (RUN, "digits", 1)
    assert history.spec is not None
    assert history.spec.options == {"lr": 0.1}
    history.apply(m.Queued(run=RUN, device="cuda:0", behind="mnist"))
    assert (history.state, history.behind) == ("queued", "mnist")
    history.apply(starting())
    assert (history.state, history.behind, history.device) == ("starting", None, "cpu")
    history.apply(started())
    assert (history.state, history.epochs, history.total_steps) == ("running", 3, 30)
    history.apply(stepped(1, 15))
    assert (history.step, history.samples, history.epoch) == (15, 150, 1.5)
    assert history.gauges == {"memory": 15.0}
    history.apply(m.Paused(run=RUN, step=15))
    assert history.state == "paused"
    history.apply(m.Resumed(run=RUN, step=15))
    history.apply(stepped(16, 30))
    history.apply(finished())
    assert (history.state, history.outcome, history.restored) == ("finished", "completed", 30)
    assert history.seconds == 3.0
    assert history.version == 9
    history.apply(m.Extended(run=RUN, step=30, epochs=13))
    assert (history.state, history.outcome, history.reason) == ("running", None, "")
    assert history.epochs == 13


def test_a_series_holds_a_value_for_every_step() -> None:
    history = live(stepped(1, 7), stepped(8, 600))
    assert history["loss"].tolist() == [1 / step for step in range(1, 601)]
    assert history.steps("loss").tolist() == list(range(1, 601))
    assert history.names == ("loss",)
    assert "loss" in history
    assert "accuracy" not in history
    with pytest.raises(KeyError, match="There is: loss"):
        history["acuracy"]


def test_a_series_that_comes_late_or_pauses_is_nan_where_it_was_not_measured() -> None:
    history = live(
        stepped(1, 2),
        stepped(3, 4, series={"loss": [0.5, 0.5], "norm": [7.0, 8.0]}),
        stepped(5, 5, series={"norm": [9.0]}),
    )
    np.testing.assert_array_equal(history["norm"], [math.nan, math.nan, 7, 8, 9])
    np.testing.assert_array_equal(history["loss"], [1, 0.5, 0.5, 0.5, math.nan])


def test_validations_have_steps_of_their_own() -> None:
    history = live(
        stepped(1, 10), validated(10, 0.9, best=True), stepped(11, 20), validated(20, 1.0)
    )
    assert history.names == ("loss", "val_loss")
    assert history["val_loss"].tolist() == [0.9, 1.0]
    assert history.steps("val_loss").tolist() == [10, 20]
    assert history.curve("val_loss").epochs.tolist() == [1.0, 2.0]
    best = history.best
    assert best is not None
    assert (best.step, best.epoch, best.metrics) == (10, 1.0, {"val_loss": 0.9})


def test_epochs_are_whole_where_their_length_is_unknown() -> None:
    history = History()
    for event in (created(), starting(), started(epoch_samples=None)):
        history.apply(event)
    assert history.epochs_of([0, 5]).tolist() == [0.0, 0.0]
    for event in (stepped(1, 4, epoch=0), stepped(5, 9, epoch=1), stepped(10, 12, epoch=1)):
        history.apply(event)
    assert history.epoch == 1.0
    assert history.epochs_of(np.array([0, 4, 5, 12, 99])).tolist() == [0, 0, 1, 1, 1]


def test_epochs_count_parts_where_their_length_is_known() -> None:
    assert live().epochs_of([3]).tolist() == [0.0]
    history = live(stepped(1, 15))
    assert history.epochs_of([0, 1, 15, 40]).tolist() == [0.0, 0.1, 1.5, 1.5]


def test_the_speed_is_that_of_the_last_seconds() -> None:
    history = live(stepped(1, 100, seconds=(0.0, 10.0)))
    assert history.steps_per_second == pytest.approx(10)
    history.apply(stepped(101, 400, seconds=(10.0, 13.0)))
    assert history.steps_per_second == pytest.approx(100)
    history.apply(m.Paused(run=RUN, step=400))
    assert history.steps_per_second == 0
    history.apply(finished(400))
    assert history.steps_per_second == pytest.approx(400 / 13)


def test_a_drag_is_one_action_and_undo_another() -> None:
    history = live(
        stepped(1, 3),
        applied(1, "c1", old=0.1, new=0.2, drag="d1"),
        applied(2, "c2", old=0.2, new=0.3, drag="d1"),
        applied(3, "c3", "dropout", 0.5, 0.0),
        applied(3, "c4", old=0.3, new=0.4, drag="d1"),
    )
    drag, dropout = history.actions
    assert (drag.id, drag.old, drag.new, drag.since, drag.step) == ("d1", 0.1, 0.4, 1, 3)
    assert (dropout.id, dropout.knob, dropout.epoch) == ("c3", "dropout", 0.3)
    assert history.knobs["lr"] == 0.4
    history.apply(applied(3, "c5", old=0.4, new=0.1, action="Undo", undoes="d1"))
    assert [action.undone for action in history.actions] == [True, False, False]
    assert history.knobs["lr"] == 0.1
    history.apply(applied(3, "c6", old=0.1, new=0.4, action="Undo", undoes="c5"))
    assert [action.undone for action in history.actions] == [False, False, True, False]
    assert list(history.answers) == ["c1", "c2", "c3", "c4", "c5", "c6"]
    assert history.answers.latest(1)[0].command == "c6"


def test_refusals_are_answers_and_no_actions() -> None:
    refusal = m.Rejected(run=RUN, command="c1", action="Set", sender="panel", reason="too late")
    history = live(refusal)
    assert history.answers["c1"] == refusal
    assert history.actions == ()


def test_the_watched_metric_follows_its_knob() -> None:
    history = live()
    assert history.monitor == "val_loss"
    history.apply(applied(0, "c1", "early_stop", "val_loss", "val_accuracy"))
    assert history.monitor == "val_accuracy"
    history.apply(applied(0, "c2", "early_stop", "val_accuracy", None))
    assert history.monitor == "val_loss"


def test_the_learning_rate_follows_its_schedule() -> None:
    history = live(stepped(1, 2, series={"lr": [0.1, 0.05]}))
    assert history.knobs["lr"] == 0.05
    history.apply(applied(2, "c1", "lr", 0.05, 0.02))
    assert history.knobs["lr"] == 0.02


def test_the_learning_rate_is_the_number_that_was_set() -> None:
    history = live(applied(0, "c1", "lr", 0.1, 0.003))
    block = stepped(1, 1)
    for rate in (0.003, 0.0007):
        block = stepped(block.step + 1, block.step + 1) if history.step else block
        block.series["lr"] = array("f", [rate])
        history.apply(block)
        assert history.knobs["lr"] == rate


def test_a_command_moves_other_knobs_along() -> None:
    event = replace(applied(0, "c1", "dropout", 0.5, 0.1), knobs={"dropout.1": 0.1})
    history = live(event)
    assert (history.knobs["dropout"], history.knobs["dropout.1"]) == (0.1, 0.1)


def test_the_best_validation_says_where_it_was() -> None:
    history = live(stepped(1, 10), validated(10, 0.09789, best=True))
    assert repr(history.best) == "step 10, epoch 1: val_loss 0.0979"


def test_a_history_tells_what_it_holds() -> None:
    history = live(stepped(1, 3))
    assert repr(history) == "<History digits@1 · running · step 3 · loss>"
    assert list(history) == ["loss"]
    assert repr(History()) == "<History @0 · not begun · step 0>"


def test_a_notice_takes_the_place_of_one_of_its_topic() -> None:
    history = live(
        m.Noticed(run=RUN, topic="a", text="one"),
        m.Noticed(run=RUN, topic="b", text="two"),
        m.Noticed(run=RUN, topic="a", text="three"),
    )
    assert [notice.text for notice in history.notices.values()] == ["two", "three"]
    history.apply(m.Noticed(run=RUN, topic="b", text=""))
    assert list(history.notices) == ["a"]


def test_a_data_frame_has_a_row_for_every_step_and_validations_where_measured() -> None:
    history = live(validated(0, 2.0), stepped(1, 3), validated(2, 1.0), validated(2, 0.5))
    frame = history.to_pandas()
    assert list(frame.columns) == ["step", "epoch", "samples", "loss", "val_loss"]
    assert frame["step"].tolist() == [0, 1, 2, 3]
    assert frame["samples"].tolist() == [0, 10, 20, 30]
    assert frame["epoch"].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3])
    np.testing.assert_array_equal(frame["loss"], [math.nan, 1, 1 / 2, 1 / 3])
    np.testing.assert_array_equal(frame["val_loss"], [2, math.nan, 0.5, math.nan])
    assert History().to_pandas().empty


def test_a_new_branch_sets_aside_what_came_after_its_beginning() -> None:
    history = live(stepped(1, 20), validated(10, 0.9, best=True), validated(20, 0.5, best=True))
    before = history["loss"]
    history.apply(stepped(13, 15, series={"loss": [7.0, 8.0, 9.0]}, branch=1))
    assert history.step == 15
    assert history["loss"].tolist() == [*(1 / step for step in range(1, 13)), 7, 8, 9]
    assert history.steps("val_loss").tolist() == [10]
    assert history.best is not None
    assert history.best.step == 10
    assert before.tolist() == [1 / step for step in range(1, 21)]


# ── what cannot happen ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (m.Resumed(run=RUN), "cannot happen to a run that is running"),
        (stepped(1, 3, run="ffffffffffff"), "another run"),
        (stepped(3, 6), "already there"),
        (stepped(6, 7, series={"loss": [1.0]}), "not of one length"),
        (stepped(6, 7, seconds=(0.0, math.nan)), "not finite"),
        (stepped(6, 6, series={str(n): [1.0] for n in range(1001)}), "too many series"),
    ],
)
def test_what_cannot_happen_is_refused_and_changes_nothing(event: m.Event, why: str) -> None:
    history = live(stepped(1, 5))
    before = picture(history)
    with pytest.raises(ValueError, match=why):
        history.apply(event)
    assert picture(history) == before


def test_a_stored_run_with_lost_lines_still_tells_the_rest() -> None:
    events = [created(), started(), stepped(1, 3), stepped(6, 9), stepped(2, 4), finished(9)]
    history = History.of(events)
    assert history.state == "finished"
    assert history.steps("loss").tolist() == [1, 2, 3, 6, 7, 8, 9]
    assert len(history.problems) == 2
    assert "Started cannot happen" in history.problems[0]
    assert "already there" in history.problems[1]


def test_a_journal_without_its_beginning_can_be_read() -> None:
    history = History.of([stepped(40, 50), m.Paused(run=RUN, step=50)])
    assert (history.id, history.state, history.step) == (RUN, "paused", 50)


def test_a_spec_of_the_wrong_shape_is_a_problem_and_no_error() -> None:
    event = m.Created(run=RUN, name="x", number=1, spec={"name": "x", "options": [], "source": 3})
    history = History.of([event])
    assert history.spec is None
    assert "options" in history.problems[0]


@given(st.lists(st.one_of(*(messages_of(kind) for kind in m.EVENTS)), max_size=12))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_journal_holds_can_be_looked_at(events: list[Any]) -> None:
    picture(History.of(events))


# ── live and reopened ────────────────────────────────────────────────────────────────────

# What happens next, as a function of the step reached; illegal ones are left out below.
_NEXT = st.one_of(
    st.tuples(
        st.just("steps"), st.integers(1, 30), st.floats(allow_subnormal=False), st.booleans()
    ),
    st.tuples(st.just("validate"), st.floats(), st.booleans()),
    st.tuples(
        st.just("apply"), st.sampled_from(["lr", "dropout", "early_stop"]), st.integers(0, 3)
    ),
    st.tuples(st.just("undo"), st.integers(0, 9)),
    st.tuples(st.just("log"), st.text(), st.booleans()),
    st.tuples(st.sampled_from(["pause", "resume", "extend", "finish", "notice", "save"])),
)


def _event(what: tuple[Any, ...], step: int, count: int) -> m.Event:
    place: dict[str, Any] = {"run": RUN, "step": step, "time": float(count)}
    match what:
        case ("steps", size, value, extra):
            series = {"loss": [value] * size, **({"norm": [1.5] * size} if extra else {})}
            return stepped(step + 1, step + size, series=series)
        case ("validate", value, best):
            return validated(step, value, best=best)
        case ("apply", knob, drag):
            return applied(step, f"c{count}", knob, 0.1, 0.2, drag=f"d{drag}" if drag else None)
        case ("undo", target):
            return applied(step, f"c{count}", undoes=f"c{target}", action="Undo")
        case ("log", text, replace):
            return m.Logged(stream="stdout", text=text, replace=replace, **place)
        case ("pause",):
            return m.Paused(**place)
        case ("resume",):
            return m.Resumed(**place)
        case ("extend",):
            return m.Extended(epochs=9, **place)
        case ("notice",):
            return m.Noticed(topic="t", text=str(count), **place)
        case ("save",):
            return m.Checkpointed(file="a", why="asked", size=5, **place)
    return finished(step)


@given(st.lists(_NEXT, max_size=40), st.booleans())
def test_a_live_run_and_a_reopened_one_are_the_same(
    whats: list[tuple[Any, ...]], known: bool
) -> None:
    history, journal = History(), MemoryJournal()
    happened: list[m.Event] = [created(), starting(), started(epoch_samples=100 if known else None)]
    for event in happened:
        history.apply(event)
        journal.append(event)
    for count, what in enumerate(whats):
        event = _event(what, history.step, count)
        try:
            history.apply(event)
        except ValueError:
            continue
        happened.append(event)
        journal.append(event)
    texts = [json.dumps(wire.to_json(event), allow_nan=False) for event in happened]
    again = History.of(wire.event_from_json(json.loads(text)) for text in texts)
    reopened = History.of(journal.read().events)
    assert picture(again) == picture(history)
    assert picture(reopened) == picture(history)
    assert reopened.problems == ()


# ── read by anyone, at any moment ────────────────────────────────────────────────────────


def test_what_a_reader_holds_never_changes() -> None:
    history = live(stepped(1, 20))
    held = history.curve("loss")
    copies = (held.steps.copy(), held.epochs.copy(), held.values.copy())
    knobs, actions = dict(history.knobs), history.actions
    holding = history.knobs
    for first in range(21, 4000, 37):
        history.apply(stepped(first, first + 36))
        history.apply(applied(first, f"c{first}", new=float(first)))
    for kept, copy in zip((held.steps, held.epochs, held.values), copies, strict=True):
        np.testing.assert_array_equal(kept, copy)
    assert (holding, actions) == (knobs, ())
    with pytest.raises(ValueError, match="read-only"):
        history["loss"][0] = 3.0


def test_a_reader_in_another_thread_always_sees_whole_rows() -> None:
    history = live(stepped(1, 1))
    done = threading.Event()
    wrong: list[str] = []

    def look() -> None:
        while not done.is_set():
            curve = history.curve("loss")
            if not len(curve.steps) == len(curve.epochs) == len(curve.values):
                wrong.append("lengths")
            if curve.values[-1] != 1 / curve.steps[-1]:
                wrong.append("values")
            frame = history.to_pandas()
            if not (frame["loss"] == 1 / frame["step"]).all():
                wrong.append("frame")
            list(history.answers.items())

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for first in range(2, 20_000, 20):
        history.apply(stepped(first, first + 19))
        history.apply(applied(first + 19, f"c{first}"))
    done.set()
    for reader in readers:
        reader.join(10)
    assert wrong == []


def test_a_million_steps_take_tens_of_megabytes() -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        history = live()
        names = ("loss", "accuracy", "lr")
        for first in range(1, 1_000_001, 50_000):
            history.apply(
                stepped(first, first + 49_999, series={name: [0.5] * 50_000 for name in names})
            )
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(history["lr"]) == 1_000_000
    assert size < 90e6
