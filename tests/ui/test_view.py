"""What the panel says of a run, key by key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nbtrain import messages as m
from nbtrain import options
from nbtrain.ui.view import View, horizon, label, short
from tests.ui.runs import RUN, applied, finish, started, step, validate


def whole(history: Any, live: bool = True) -> dict[str, Any]:
    return View(history, live).whole()


def test_every_key_of_the_protocol_is_there_and_standard_json() -> None:
    history = started(layers=("1",))
    step(history, loss=[float("nan")] * 10)
    keys = whole(history)
    assert set(keys) == {
        "run", "state", "progress", "charts", "knobs", "values", "actions", "answers", "best",
        "horizon", "notices", "notes", "code", "readonly",
    }  # fmt: skip
    json.dumps(keys, allow_nan=False)
    assert keys["run"] == {"id": RUN, "name": "digits", "number": 1}
    assert keys["notes"] == ["cross-entropy, because the targets are 10 integer classes"]
    assert keys["code"]["source"] == "model = 1"
    assert keys["code"]["options"] == {"lr": 3e-3}


def test_a_run_that_has_only_been_created_can_be_shown() -> None:
    from nbtrain.store.history import History

    json.dumps(whole(History()), allow_nan=False)


def test_only_what_changed_is_said_again() -> None:
    history = started()
    view = View(history, True)
    view.whole()
    step(history)
    assert set(view.changes()) == {"progress"}
    applied(history, old=3e-3, new=1e-3)
    assert set(view.changes()) == {"values", "actions", "answers"}
    assert view.changes() == {}


def test_progress_tells_how_long_the_rest_takes() -> None:
    history = started()
    step(history, 100)
    progress = whole(history)["progress"]
    assert progress["fraction"] == pytest.approx(1 / 3, abs=1e-3)
    assert progress["epoch"] == 10
    assert progress["steps_per_second"] == 100
    assert progress["seconds_left"] == 2.0
    assert progress["memory"] == 4.0e8
    history.apply(m.Paused(run=RUN, step=history.step))
    assert whole(history)["progress"]["seconds_left"] is None


def test_a_queued_run_shows_what_it_waits_for_and_what_was_asked() -> None:
    from nbtrain.spec import Spec
    from nbtrain.store.history import History

    history = History()
    settings = {**options.defaults(), "lr": 3e-3, "epochs": 200}
    spec = Spec(name="b", options=settings, given=("lr", "epochs"), source="", context=())
    history.apply(m.Created(run=RUN, name="b", number=1, spec=spec.to_json()))
    history.apply(m.Queued(run=RUN, device="cpu", behind="nanny"))
    keys = whole(history)
    assert (keys["state"]["state"], keys["state"]["behind"]) == ("queued", "nanny")
    assert keys["progress"]["epochs"] == 200
    assert keys["values"]["lr"]["value"] == 3e-3
    assert keys["values"]["batch_size"]["value"] == 64
    assert "momentum" not in keys["values"]


def test_a_knob_says_why_this_run_cannot_obey_it() -> None:
    knobs = {knob["name"]: knob for knob in whole(started())["knobs"]}
    assert knobs["momentum"]["reason"] == "Adagrad has no momentum"
    assert knobs["lr"]["reason"] is None
    assert knobs["lr"]["scale"] == "log"
    assert knobs["early_stop"]["words"] == ["val_loss", "val_accuracy"]


def test_a_metric_that_turns_up_later_can_be_watched_too() -> None:
    history = started(metrics={"loss": "min", "val_loss": "min"})
    view = View(history, live=True)
    view.whole()
    history.apply(
        m.Validated(
            run=RUN, metrics={"val_loss": 1.0, "val_f1": 0.5}, samples=0, epoch=1, best=True
        )
    )
    knobs = {knob["name"]: knob for knob in view.changes()["knobs"]}
    assert knobs["early_stop"]["words"] == ["val_loss", "val_f1"]


def test_every_dropout_layer_has_a_knob_behind_that_of_all() -> None:
    history = started(layers=("1", "block.drop"), knobs={"dropout": {"1": 0.1, "block.drop": 0.4}})
    keys = whole(history)
    names = [knob["name"] for knob in keys["knobs"]]
    place = names.index("dropout")
    assert names[place + 1 : place + 3] == ["dropout.1", "dropout.block.drop"]
    assert keys["knobs"][place + 2]["layer"] == "block.drop"
    assert keys["values"]["dropout.block.drop"]["value"] == 0.4


def test_a_layers_rate_that_was_set_with_all_others_says_so() -> None:
    history = started(layers=("1", "2"), knobs={"dropout": {"1": 0.1, "2": 0.4}})
    applied(history, knob="dropout.2", old=0.4, new=0.5, knobs={"dropout": {"1": 0.1, "2": 0.5}})
    step(history)
    shown = whole(history)["values"]
    assert (shown["dropout"]["step"], shown["dropout.2"]["step"]) == (0, 0)
    assert shown["dropout"]["old"] == shown["dropout"]["value"]  # so nothing is said of before
    assert shown["dropout.1"]["step"] is None
    applied(history, knob="dropout", old={"1": 0.1, "2": 0.5}, new=0.0)
    shown = whole(history)["values"]
    assert [shown[f"dropout.{layer}"]["old"] for layer in "12"] == [0.1, 0.5]
    assert [shown[f"dropout.{layer}"]["step"] for layer in "12"] == [10, 10]


def test_a_value_shows_where_it_took_effect() -> None:
    history = started()
    step(history)
    event = applied(history, old=3e-3, new=1e-3, note="rebased")
    assert whole(history)["values"]["lr"] == {
        "value": 1e-3,
        "old": 3e-3,
        "new": 1e-3,
        "step": 10,
        "note": "rebased",
        "command": event.command,
    }
    step(history, lr=5e-4)  # a scheduler goes on from there
    scheduled = whole(history)["values"]["lr"]
    assert scheduled["value"] == pytest.approx(5e-4)
    assert (scheduled["old"], scheduled["new"]) == (3e-3, 1e-3)
    assert whole(history)["values"]["pace"]["step"] is None


def test_actions_and_answers_are_bounded_and_newest() -> None:
    history = started()
    for number in range(300):
        applied(history, command=f"c{number}", old=number, new=number + 1)
    keys = whole(history)
    assert len(keys["actions"]) == 200
    assert keys["actions"][-1]["id"] == "c299"
    assert [answer["id"] for answer in keys["answers"]] == [f"c{n}" for n in range(250, 300)]


def test_a_rejected_command_is_answered_with_the_reason() -> None:
    history = started()
    history.apply(
        m.Rejected(run=RUN, command="c1", action="Set", sender="panel", reason="too late")
    )
    answer = {"id": "c1", "ok": False, "step": 0, "reason": "too late", "note": None}
    assert whole(history)["answers"] == [answer]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"old": 3e-3, "new": 1e-3}, "lr → 1.0e-3"),
        ({"knob": "dropout", "old": 0.2, "new": 0.0}, "dropout off"),
        ({"knob": "dropout.1", "old": 0.2, "new": 0.5}, "dropout.1 → 0.5"),
        ({"knob": "dropout", "new": {"1": 0.1, "2": 0.3}}, "dropout per layer"),
        ({"knob": "clip_grad_norm", "old": 1.0, "new": None}, "clip_grad_norm off"),
        ({"knob": "batch_size", "old": 64, "new": "full"}, "batch_size → full"),
        ({"action": "Undo", "old": 1e-3, "new": 3e-3}, "undo: lr → 3.0e-3"),
        ({"knob": None, "action": "Pause"}, "pause"),
        ({"knob": None, "action": "OneStep"}, "one step"),
    ],
)
def test_an_action_has_a_label_of_few_words(fields: dict[str, Any], text: str) -> None:
    history = started()
    applied(history, **fields)
    assert label(history.actions[-1]) == text


def test_numbers_are_short() -> None:
    shown = [short(value) for value in (0, 0.25, 1e-3, 1.234567, 64, 2_000_000, None, True)]
    assert shown == ["0", "0.25", "1.0e-3", "1.235", "64", "2.0e6", "off", "True"]
    assert short(float("nan")) == "nan"
    assert short(float("inf")) == "inf"


def test_the_horizon_runs_from_the_best_validation_to_the_stop() -> None:
    history = started()
    for loss in (1.0, 0.5, 0.6, 0.7):
        step(history)
        validate(history, loss)
    assert horizon(history) == {"from": 2.0, "to": 7.0}
    step(history)
    validate(history, 0.4)
    assert horizon(history) == {"from": 5.0, "to": 10.0}


def test_the_best_is_judged_by_the_validation_loss_where_nobody_watches_a_metric() -> None:
    history = started()
    history.monitor = None
    step(history)
    validate(history, 0.5)
    assert whole(history)["best"]["monitor"] == "val_loss"


def test_the_horizon_follows_the_metric_its_direction_and_the_least_change() -> None:
    history = started(knobs={"early_stop": "val_accuracy", "min_delta": 0.05, "patience": 2})
    for loss in (1.0, 0.5, 0.45):
        step(history)
        validate(history, loss)
    # The last accuracy is higher, by less than the least change that counts.
    assert horizon(history) == {"from": 2.0, "to": 4.0}
    # Its name is not asked where somebody said which way is better.
    history = started(knobs={"early_stop": "val_accuracy", "early_mode": "min", "patience": 4})
    for loss in (1.0, 0.5, 0.45):
        step(history)
        validate(history, loss)
    assert horizon(history) == {"from": 1.0, "to": 5.0}


@pytest.mark.parametrize(
    "knobs", [{"early_stop": None}, {"early_stop": "loss"}, {"early_stop": "val_f1"}]
)
def test_there_is_no_horizon_where_nothing_is_watched(knobs: dict[str, m.Value]) -> None:
    history = started(knobs=knobs)
    step(history)
    validate(history, 1.0)
    assert horizon(history) is None


def test_a_finished_run_has_no_horizon_and_says_how_it_ended() -> None:
    history = started()
    step(history)
    validate(history, 1.0)
    finish(history, "failed", reason="it failed", error="ValueError: no", traceback="line 3")
    keys = whole(history)
    assert keys["horizon"] is None
    assert keys["state"]["outcome"] == "failed"
    assert keys["state"]["traceback"] == "line 3"
    assert keys["best"]["metrics"]["val_loss"] == 1.0


def test_a_run_that_took_anothers_place_offers_to_keep_both() -> None:
    history = started()
    history.apply(m.Noticed(run=RUN, topic="replaces:abc", text="The run digits@1 was stopped."))
    history.apply(m.Noticed(run=RUN, topic="memory", text="Memory is short.", level="warning"))
    first, second = whole(history)["notices"]
    assert first["button"] == {
        "label": "Keep both",
        "run": "abc",
        "command": {"kind": "Resume", "sender": "panel", "sequence": 0, "share": True},
    }
    assert second == {
        "topic": "memory",
        "step": 0,
        "level": "warning",
        "text": "Memory is short.",
        "button": None,
    }


def test_a_run_that_waits_for_a_paused_one_gives_one_reason() -> None:
    from nbtrain.store.history import History

    history = History()
    history.apply(m.Created(run=RUN, name="digits", number=1, spec={}))
    history.apply(m.Queued(run=RUN, device="cpu", behind="cnn"))
    view = View(history, True)
    assert view.whole()["state"]["behind"] == "cnn"
    text = "Waiting for reg, which is paused."
    history.apply(m.Noticed(run=RUN, topic="queue", text=text, level="warning"))
    changed = view.changes()
    assert changed["state"]["behind"] is None
    assert [notice["text"] for notice in changed["notices"]] == [text]
    history.apply(m.Noticed(run=RUN, topic="queue", text=""))
    assert view.changes()["state"]["behind"] == "cnn"


def test_where_epochs_have_no_length_x_is_the_step() -> None:
    history = started(epoch_samples=None)
    step(history)
    applied(history, old=1, new=2)
    validate(history, 1.0)
    keys = whole(history)
    assert keys["actions"][0]["epoch"] is None
    assert keys["best"]["epoch"] is None
    assert keys["horizon"] is None


def test_a_reopened_run_is_read_only() -> None:
    assert whole(started(), live=False)["readonly"] is True
    assert whole(started())["readonly"] is False
