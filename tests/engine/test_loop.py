"""The loop with a list for a control point: each command at its step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nbtrain import messages as m
from nbtrain.engine.control import GO, Decision, Script
from nbtrain.errors import DataError, ModelError
from tests.engine.harness import classes, network, run_loop, same, values, weights

STEPS = 5  # an epoch of 40 samples in batches of 8


def go(commands: Any = (), **settings: Any) -> Any:
    settings = {"epochs": 2, "batch_size": 8, "val_split": 0.0, **settings}
    return run_loop(network(), classes(40), commands, **settings)


def test_every_step_is_recorded_once() -> None:
    run = go()
    assert run.step == run.training.progress.updates == 2 * STEPS
    assert len(run.history["loss"]) == 2 * STEPS
    assert list(run.history.steps("loss")) == list(range(1, 2 * STEPS + 1))
    assert run.history.samples == 80
    assert run.history.epoch == 2.0


def test_plain_pytorch_ends_with_the_same_weights() -> None:
    X, y = classes(40)
    run = run_loop(
        network(), (X, y), epochs=3, batch_size=40, optimizer="sgd", lr=0.1, val_split=0.0
    )
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), y).backward()
        optimizer.step()
    for ours, plain in zip(run.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, plain)


def test_a_learning_rate_acts_after_its_step() -> None:
    command = m.Set(knob="lr", value=0.5)
    run = go([(3, command)], lr=0.1)
    answer = run.answer(command)
    assert (answer.step, answer.old, answer.new) == (3, 0.1, 0.5)
    assert run.history["lr"] == pytest.approx([0.1] * 3 + [0.5] * 7)


def test_a_plan_that_changes_in_a_pause_is_told_at_once() -> None:
    more, larger = m.Set(knob="epochs", value=20), m.Set(knob="batch_size", value=40)
    back = [m.Undo(), m.Undo()]
    run = go([(n, command) for n, command in enumerate([m.Pause(), more, larger, *back], 3)] + [
        (9, m.Resume())
    ])  # fmt: skip
    assert run.answer(more).step == run.answer(back[1]).step == 3
    totals = [run.answer(command).total_steps for command in (more, larger, *back)]
    assert totals == [20 * STEPS, 3 + 1 + 19, 20 * STEPS, 2 * STEPS]


@pytest.mark.parametrize(
    ("knob", "value", "key"),
    [("momentum", 0.5, "momentum"), ("weight_decay", 0.25, "weight_decay"), ("lr", 0.5, "lr")],
)
def test_a_knob_of_the_optimizer_reaches_it(knob: str, value: float, key: str) -> None:
    run = go([(3, m.Set(knob=knob, value=value))], optimizer="sgd")
    assert run.training.optimizer.param_groups[0][key] == value
    assert run.training.knobs.values[knob] == value


def test_a_new_batch_size_goes_on_at_the_next_unseen_sample() -> None:
    seen: list[torch.Tensor] = []

    def training_step(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch[:, 0].long())
        return model(batch).sum()

    rows = torch.arange(40.0).unsqueeze(1).expand(40, 4).contiguous()
    run_loop(
        network(),
        rows,
        [(2, m.Set(knob="batch_size", value=5)), (3, m.Set(knob="batch_size", value="full"))],
        training_step=training_step,
        epochs=1,
        batch_size=8,
        val_split=0.0,
    )
    assert [len(batch) for batch in seen] == [8, 8, 5, 19]
    assert sorted(torch.cat(seen).tolist()) == list(range(40))

    whole: list[torch.Tensor] = []
    seen, whole = whole, seen
    run_loop(network(), rows, training_step=training_step, epochs=1, batch_size=8, val_split=0.0)
    assert torch.equal(torch.cat(whole), torch.cat(seen)), "the same order, cut elsewhere"


def test_a_new_batch_size_plans_the_steps_again() -> None:
    run = go([(1, m.Set(knob="batch_size", value=16))])
    assert run.training.total_steps == run.step == 1 + 2 + 3


def test_clipping_bounds_the_update() -> None:
    before = weights(network())
    run = go([(0, m.Set(knob="clip_grad_norm", value=1e-3))], optimizer="sgd", lr=1.0, steps=1)
    moved = sum(
        float((value - before[name]).square().sum()) for name, value in weights(run.model).items()
    )
    assert moved**0.5 == pytest.approx(1e-3, rel=1e-3)


def test_penalties_are_those_of_autograd() -> None:
    X, y = classes(40)
    l1, l2 = 0.01, 0.1
    commands = [(1, m.Set(knob="l1", value=l1)), (1, m.Set(knob="l2", value=l2))]
    run = go(commands, optimizer="sgd", lr=0.1, batch_size="full", epochs=2)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(X), y)
        if step:
            loss = loss + l1 * sum(w.abs().sum() for w in model.parameters())
            loss = loss + l2 * sum(w.square().sum() for w in model.parameters())
        loss.backward()
        optimizer.step()
    for ours, plain in zip(run.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, plain)


def test_label_smoothing_changes_the_loss_from_its_step() -> None:
    plain = go(batch_size="full", epochs=3)
    smooth = go([(2, m.Set(knob="label_smoothing", value=0.3))], batch_size="full", epochs=3)
    a, b = plain.history["loss"], smooth.history["loss"]
    assert (a[:2] == b[:2]).all()
    assert b[2] > a[2]


def test_pace_bounds_the_steps_in_a_second() -> None:
    class Clock(Script):
        waited = 0.0

        def decide(self, step: int, wait: float | None = 0.0) -> Decision:
            if wait:
                Clock.waited += wait
            return super().decide(step, wait)

    plain = go()
    control = Clock()
    paced = go(pace=200.0, control=control)
    assert Clock.waited > 0
    assert same(weights(plain.model), weights(paced.model))


@pytest.mark.parametrize(("epochs", "steps"), [(4, 20), (1, 7), (2, 10)])
def test_epochs_can_be_changed_up_and_down(epochs: int, steps: int) -> None:
    command = m.Set(knob="epochs", value=epochs)
    run = go([(7, command)])
    assert run.step == run.training.total_steps == steps
    note = run.answer(command).note
    assert (note is not None and "ends here" in note) is (epochs == 1)


@pytest.mark.parametrize(("steps", "ends"), [(8, 8), (4, 6), (6, 6), (500, 10)])
def test_steps_can_be_set_and_lowered(steps: int, ends: int) -> None:
    run = go([(6, m.Set(knob="steps", value=steps))])
    assert run.step == ends


def test_most_steps_and_most_epochs_count_both_where_both_were_asked_for() -> None:
    assert go(steps=7).step == 7
    assert go(steps=70).step == 10
    run = run_loop(network(), classes(40), steps=70, batch_size=8, val_split=0.0)
    assert run.step == 70, "a default number of epochs does not end a run of so many steps"


def test_epochs_count_from_when_somebody_sets_them() -> None:
    command = m.Set(knob="epochs", value=3)
    run = run_loop(network(), classes(40), [(2, command)], steps=70, batch_size=8, val_split=0.0)
    assert run.step == 15


def test_pause_and_resume_change_nothing() -> None:
    run = go([(3, m.Pause()), (4, m.Resume()), (7, m.Pause()), (8, m.Resume())])
    assert [e.step for e in run.of(m.Paused)] == [3, 7]
    assert [e.step for e in run.of(m.Resumed)] == [3, 7]
    assert same(weights(run.model), weights(go().model))


@pytest.mark.parametrize("count", [1, 3])
def test_so_many_steps_and_no_more(count: int) -> None:
    run = go([(3, m.Pause()), (99, m.OneStep(count=count)), (99, m.Resume())])
    # The script gives one command at a time while the run waits.
    assert [e.step for e in run.of(m.Paused)] == [3, 3 + count]
    assert run.step == 10


def test_one_step_of_a_running_run_pauses_it_after() -> None:
    run = go([(3, m.OneStep(count=2)), (99, m.Resume())])
    assert [e.step for e in run.of(m.Paused)] == [5]


def test_stop_ends_with_the_weights_asked_for() -> None:
    run = go([(4, m.Stop(restore="last"))])
    assert run.step == 4
    assert (run.training.request.outcome, run.training.request.restore) == (
        "early-stopped",
        "last",
    )
    run = go([(4, m.Stop(restore="best", early=False))])
    assert (run.training.request.outcome, run.training.request.restore) == ("stopped", "best")


@pytest.mark.parametrize(
    ("restore", "val_split", "at", "kept"),
    [
        ("best", 0.25, 1, "the last weights, because no validation has chosen best ones"),
        ("best", 0.0, 4, "the last weights, because no validation has chosen best ones"),
        ("best", 0.25, 9, "the best weights, of step "),
        ("last", 0.25, 9, "the last weights"),
    ],
)
def test_a_stop_says_which_weights_the_model_keeps(
    restore: m.Restore, val_split: float, at: int, kept: str
) -> None:
    command = m.Stop(restore=restore)
    note = go([(at, command)], val_split=val_split, batch_size=8, epochs=9).answer(command).note
    assert note.startswith(f"with {kept}")


def test_evaluating_now_changes_no_later_step() -> None:
    settings = {"val_split": 0.25, "batch_size": 6}
    plain = go(**settings)
    command = m.Evaluate()
    asked = go([(2, command), (7, m.Evaluate())], **settings)
    assert asked.answer(command).step == 2
    assert [e.step for e in asked.of(m.Validated)] == [2, 5, 7, 10]
    assert same(weights(plain.model), weights(asked.model))


def test_evaluating_in_a_pause_does_not_wait_for_its_end() -> None:
    class OnlyEvaluates(Script):
        """Says resume only after the metrics are there."""

        def decide(self, step: int, wait: float | None = 0.0) -> Decision:
            if wait is None and not any(isinstance(e, m.Validated) for e in self.events):
                assert self.waiting, "the validation waits for a command"
            return super().decide(step, wait)

    evaluate, resume = m.Evaluate(), m.Resume()
    control = OnlyEvaluates([(2, m.Pause()), (98, evaluate), (99, resume)])
    run = go(control=control, val_split=0.25, batch_size=6)
    kinds = [type(e) for e in run.events if isinstance(e, (m.Paused, m.Validated, m.Resumed))]
    assert kinds[:3] == [m.Paused, m.Validated, m.Resumed]


def test_evaluating_without_validation_data_is_refused() -> None:
    command = m.Evaluate()
    assert "val_data" in go([(2, command)]).reason(command)


class InValidation(Script):
    """Gives its commands at the first validation, between two batches."""

    def __init__(self, *commands: m.Command) -> None:
        super().__init__()
        self.given = list(commands)
        self.model: Any = None

    def decide(self, step: int, wait: float | None = 0.0) -> Decision:
        if self.given and not self.model.training:
            return Decision((self.given.pop(0),))
        if wait is None:
            return Decision((m.Resume(),))
        return GO


def test_a_command_during_a_validation_acts_after_it() -> None:
    model = network()
    command = m.Set(knob="lr", value=0.5)
    control = InValidation(command)
    control.model = model
    run = run_loop(model, classes(40), control=control, epochs=1, batch_size=8, lr=0.1)
    events = [e for e in run.events if isinstance(e, (m.Validated, m.Applied))]
    assert [type(e) for e in events] == [m.Validated, m.Applied]
    assert run.answer(command).step == run.step


def test_a_command_during_the_last_validation_can_lengthen_the_run() -> None:
    model = network()
    control = InValidation(m.Set(knob="epochs", value=3))
    control.model = model
    run = run_loop(model, classes(50), control=control, epochs=1, batch_size=8)
    assert run.training.progress.epoch == 3


def test_pausing_acts_within_a_validation_and_the_rest_after_it() -> None:
    model = network()
    change = m.Set(knob="lr", value=0.5)
    control = InValidation(change, m.Pause())
    control.model = model
    X, y = classes(3000)
    run = run_loop(
        model, (X[:40], y[:40]), control=control, epochs=1, batch_size=8, val_data=(X, y)
    )
    kinds = [type(e) for e in run.events if isinstance(e, (m.Paused, m.Validated))]
    assert kinds == [m.Paused, m.Validated]
    applied = [e.action for e in run.of(m.Applied)]
    assert applied == ["Pause", "Resume", "Set"]


def test_stopping_acts_within_a_validation() -> None:
    model = network()
    control = InValidation(m.Stop(restore="last"))
    control.model = model
    X, y = classes(3000)
    run = run_loop(
        model, (X[:40], y[:40]), control=control, epochs=3, batch_size=8, val_data=(X, y)
    )
    assert run.of(m.Validated) == []
    assert run.step == 5
    assert model.training, "its modes are put back"


def test_a_plan_that_ends_inside_an_epoch_is_measured() -> None:
    run = go(val_split=0.25, batch_size=6, steps=7)
    assert [e.step for e in run.of(m.Validated)] == [5, 7]


def test_early_stopping_waits_for_its_patience() -> None:
    run = go(early_stop="val_loss", patience=2, val_split=0.25, lr=0.0, epochs=20)
    assert run.training.progress.epoch == 3
    assert run.training.request.outcome == "early-stopped"
    assert "val_loss did not improve for 2 validations" in (run.training.request.stop or "")
    assert run.training.request.restore == "best"


def test_what_early_stopping_watches_can_be_changed() -> None:
    commands = [
        (3, m.Set(knob="early_stop", value="val_accuracy")),
        (3, m.Set(knob="patience", value=1)),
    ]
    run = go(commands, val_split=0.25, lr=0.0, epochs=20)
    assert run.training.progress.epoch == 2
    assert "val_accuracy did not improve for 1 validation" in (run.training.request.stop or "")

    nothing_counts = m.Set(knob="min_delta", value=100.0)
    commands = [(0, nothing_counts), (0, m.Set(knob="early_stop", value="loss"))]
    run = go(commands, epochs=20, patience=1, val_split=0.25)
    assert run.training.progress.epoch == 2


class Rows(torch.utils.data.Dataset[Any]):
    """A map-style dataset, whose samples are made one by one."""

    def __init__(self, samples: int) -> None:
        self.X, self.y = classes(samples)

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: int) -> Any:
        return self.X[index], self.y[index]


def normalized() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize(
    "data",
    [classes(25), Rows(25), torch.utils.data.DataLoader(Rows(25), batch_size=8, shuffle=True)],
    ids=["memory", "dataset", "loader"],
)
def test_batch_normalization_gets_no_batch_of_one(data: Any) -> None:
    settings: dict[str, Any] = {"epochs": 2, "val_split": 0.0}
    if not isinstance(data, torch.utils.data.DataLoader):
        settings["batch_size"] = 8
    run = run_loop(normalized(), data, **settings)
    assert run.step == 6 == run.history.total_steps
    assert run.training.progress.epoch == 2
    assert sum("batch of one" in note for note in run.history.notes) == 1


def test_a_new_batch_size_leaves_no_batch_of_one() -> None:
    command = m.Set(knob="batch_size", value=12)
    run = run_loop(normalized(), classes(25), [(2, command)], batch_size=6, epochs=2, val_split=0.0)
    # 6, 6, 12 and one left out; 12, 12 and one left out.
    assert run.step == 5
    assert run.history.samples == 48
    answer = run.answer(command)
    assert isinstance(answer, m.Applied) and "batch of one" in (answer.note or "")


def pictures(*pooled: nn.Module) -> nn.Module:
    norms = [nn.BatchNorm2d(4), nn.ReLU(), *pooled]
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *norms, nn.Flatten(), nn.LazyLinear(3))


def test_a_picture_alone_is_a_batch_for_batch_normalization() -> None:
    X, y = classes(25, features=16)
    data = X.reshape(-1, 1, 4, 4), y
    settings: dict[str, Any] = {"batch_size": 8, "epochs": 2, "val_split": 0.0}
    run = run_loop(pictures(), data, **settings)
    assert run.history.samples == 50
    assert not any("batch of one" in note for note in run.history.notes)
    # One value a channel is left after the pooling, and PyTorch refuses one picture.
    run = run_loop(pictures(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4)), data, **settings)
    assert run.history.samples == 48
    assert any("needs two" in note for note in run.history.notes)


def test_of_a_training_step_it_is_not_known_beforehand() -> None:
    def training_step(model: Any, batch: Any) -> Any:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    settings: dict[str, Any] = {"batch_size": 8, "epochs": 2, "val_split": 0.0}
    run = run_loop(normalized(), classes(25), training_step=training_step, **settings)
    assert run.history.samples == 48
    assert any("may need two" in note for note in run.history.notes)


def test_without_batch_normalization_that_trains_every_sample_counts() -> None:
    run = run_loop(network(), classes(25), batch_size=8, epochs=1, val_split=0.0)
    assert run.history.samples == 25
    frozen = normalized()
    frozen[1].eval()
    run = run_loop(frozen, classes(25), batch_size=8, epochs=1, val_split=0.0)
    assert run.history.samples == 25
    assert not any("batch of one" in note for note in run.history.notes)


def rising(name: str, **settings: Any) -> Any:
    """A run that watches a metric which grows at each validation."""
    readings = iter(range(1000))
    return go(
        metrics={name: lambda outputs, targets: next(readings)},
        early_stop=f"val_{name}",
        patience=2,
        val_split=0.25,
        epochs=5,
        **settings,
    )


def test_a_metric_that_grows_is_followed_up() -> None:
    run = rising("dice")
    assert run.training.progress.epoch == 5
    assert [e.best for e in run.of(m.Validated)] == [True] * 5
    assert run.history.metrics["val_dice"] == "max"
    assert not any("val_dice" in note for note in run.history.notes)


def test_which_way_an_unknown_metric_goes_is_told_and_can_be_said() -> None:
    run = rising("energy")
    assert run.training.request.outcome == "early-stopped"
    assert any("less of val_energy" in n.lower() and "--early-mode" in n for n in run.history.notes)
    run = rising("energy", early_mode="max", scheduler="plateau")
    assert run.training.progress.epoch == 5
    assert run.history.metrics["val_energy"] == "max"
    assert run.training.schedule.scheduler.mode == "max"
    assert not any("val_energy" in note for note in run.history.notes)


def test_which_way_is_better_can_be_said_while_it_trains() -> None:
    watch = m.Set(knob="early_stop", value="val_energy")
    metrics = {"energy": lambda outputs, targets: 1.0}
    run = go(
        [(1, watch), (1, m.Set(knob="early_mode", value="max"))],
        metrics=metrics, val_split=0.25, epochs=1,
    )  # fmt: skip
    answer = run.answer(watch)
    assert isinstance(answer, m.Applied) and "early_mode='max'" in (answer.note or "")
    assert run.training.early.better == "max"


def test_early_stopping_can_be_switched_off() -> None:
    run = go(
        [(1, m.Set(knob="early_stop", value="off"))],
        early_stop="val_loss",
        patience=1,
        val_split=0.25,
        lr=0.0,
        epochs=6,
    )
    assert run.training.progress.epoch == 6


def test_an_unknown_metric_to_watch_names_the_nearest() -> None:
    command = m.Set(knob="early_stop", value="val_los")
    assert "val_loss" in go([(1, command)], val_split=0.25).reason(command)


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (m.Set(knob="lrr", value=1.0), "lr"),
        (m.Set(knob="lr", value=-1.0), "from 0"),
        (m.Set(knob="lr", value="fast"), "number"),
        (m.Set(knob="seed", value=3), "fixed when the run starts"),
        (m.Set(knob="dropout.nowhere", value=0.1), "no dropout layer"),
        (m.Set(knob="dropout.2", value="on"), "number"),
        (m.Resume(), "not paused"),
        (m.OneStep(count=0), "1 or more"),
        (m.OneStep(count="3"), "count has the wrong type"),
        (m.OneStep(count=2.5), "count has the wrong type"),
        (m.Stop(restore="first"), "one of best, last"),
        (m.Undo(action=3), "action has the wrong type"),
        (m.Set(knob=7, value=1.0), "knob has the wrong type"),
        (m.Undo(), "nothing to undo"),
        (m.Undo(action="gone"), "not one that can be undone"),
    ],
)
def test_what_cannot_be_obeyed_is_rejected_with_a_reason(command: m.Command, word: str) -> None:
    run = go([(1, command)])
    assert word in run.reason(command)
    assert run.answer(command).step == 1
    assert run.step == 10, "and training goes on"


def test_what_this_run_cannot_obey_is_known_beforehand() -> None:
    command = m.Set(knob="label_smoothing", value=0.1)
    model = nn.Linear(4, 1)
    run = run_loop(model, values(), [(1, command)], epochs=1, val_split=0.0, optimizer="adagrad")
    unsupported = run.of(m.Started)[0].unsupported
    assert set(unsupported) == {"momentum", "dropout", "label_smoothing"}
    assert "cross-entropy" in run.reason(command)


def test_a_second_pause_is_refused() -> None:
    second = m.Pause()
    run = go([(3, m.Pause()), (98, second), (99, m.Resume())])
    assert "paused already" in run.reason(second)


def test_undo_puts_the_latest_value_back() -> None:
    first, second = m.Set(knob="lr", value=0.2), m.Set(knob="l2", value=0.5)
    undo = m.Undo()
    run = go([(2, first), (3, second), (5, undo), (6, m.Undo())], lr=0.1)
    answer = run.answer(undo)
    assert (answer.knob, answer.old, answer.new, answer.undoes) == ("l2", 0.5, 0.0, second.id)
    assert run.training.knobs.values["lr"] == 0.1
    assert [a.undone for a in run.history.actions if a.knob and a.action == "Set"] == [True, True]


def test_undo_by_id_and_not_twice() -> None:
    first, second = m.Set(knob="lr", value=0.2), m.Set(knob="l2", value=0.5)
    undo, again = m.Undo(action=first.id), m.Undo(action=first.id)
    run = go([(2, first), (3, second), (5, undo), (6, again)], lr=0.1)
    assert run.answer(undo).undoes == first.id
    assert run.training.knobs.values["lr"] == 0.1
    assert run.training.knobs.values["l2"] == 0.5
    assert "undone already" in run.reason(again)


def test_an_undo_out_of_order_takes_what_came_after_with_it() -> None:
    first = m.Set(knob="lr", value=0.1)
    second = m.Set(knob="lr", value=0.2)
    other = m.Set(knob="l2", value=0.5)
    back, rest, none = m.Undo(action=first.id), m.Undo(), m.Undo()
    commands = [first, second, other, back, rest, none]
    run = go([(i + 1, command) for i, command in enumerate(commands)], lr=0.01)
    assert run.answer(back).new == 0.01
    assert run.answer(rest).undoes == other.id, "and no value that is undone already comes back"
    assert "nothing to undo" in run.reason(none)
    assert "undone already" in go(
        [(1, first), (2, second), (3, back), (4, again := m.Undo(action=second.id))]
    ).reason(again)
    undone = {action.id: action.undone for action in run.history.actions if action.action == "Set"}
    assert undone == {first.id: True, second.id: True, other.id: True}


def test_a_drag_is_one_action_even_with_another_in_between() -> None:
    commands = [
        (1, m.Set(knob="lr", value=0.2, drag="d")),
        (2, m.Set(knob="lr", value=0.3, drag="d")),
        (2, m.Set(knob="l1", value=0.1)),
        (3, m.Set(knob="lr", value=0.4, drag="d")),
        (5, m.Undo(action="d")),
        (6, m.Undo()),
        (7, m.Undo()),
    ]
    run = go(commands, lr=0.1)
    assert run.training.knobs.values["lr"] == 0.1
    assert run.training.knobs.values["l1"] == 0.0
    assert "nothing to undo" in run.reason(commands[-1][1])


@pytest.mark.parametrize(
    ("knob", "value", "old"),
    [
        ("clip_grad_norm", 1.0, None),
        ("pace", 5000.0, None),
        ("steps", 9, None),
        ("batch_size", 5, 8),
        ("dropout", 0.5, 0.0),
        ("momentum", 0.5, 0.9),
        ("early_stop", "loss", None),
        ("epochs", 3, 2),
    ],
)
def test_every_kind_of_value_can_be_undone(knob: str, value: Any, old: Any) -> None:
    command, undo = m.Set(knob=knob, value=value), m.Undo()
    run = go([(2, command), (3, undo)])
    assert run.answer(command).old == old
    assert run.answer(undo).new == old
    assert run.training.knobs.values[knob] == old


def test_an_older_value_from_the_same_sender_is_superseded() -> None:
    new = m.Set(knob="lr", value=0.2, sender="panel", sequence=5)
    late = m.Set(knob="lr", value=0.3, sender="panel", sequence=4)
    other = m.Set(knob="lr", value=0.4, sender="magic", sequence=1)
    run = go([(2, new), (2, late), (3, other)])
    assert "superseded" in run.reason(late)
    assert run.training.knobs.values["lr"] == 0.4


def test_saving_now_writes_a_file_that_is_kept(tmp_path: Any) -> None:
    folder = tmp_path / "checkpoints"
    run = go([(3, m.Save())], folder=folder)
    (written,) = [e for e in run.of(m.Checkpointed) if e.why == "asked"]
    assert written.step == 3
    assert (tmp_path / written.file).stat().st_size == written.size


class OnlyOneEpoch(torch.utils.data.Sampler[list[int]]):
    """A batch sampler that is empty from its second epoch on."""

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        yield from [] if getattr(self, "epoch", 0) else [[0, 1], [2, 3]]


def test_an_epoch_without_a_batch_is_an_error_not_a_hang() -> None:
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*classes(40)), batch_sampler=OnlyOneEpoch()
    )
    with pytest.raises(DataError, match="Epoch 2 gave no batch"):
        run_loop(network(), None, train_data=loader, steps=100)


def test_drop_last_ends_an_epoch_before_its_last_samples() -> None:
    X, y = classes(43)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(X, y), batch_size=8, drop_last=True
    )
    run = run_loop(network(), None, train_data=loader, epochs=3)
    assert (run.step, run.training.progress.epoch) == (15, 3)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4, sparse=True)
        self.out = nn.Linear(4, 3).double()

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.out(self.table(words).mean(1).double())  # type: ignore[no-any-return]


def words(sparse: bool = True, **settings: Any) -> Any:
    torch.manual_seed(0)
    data = torch.randint(10, (40, 5)), torch.arange(40) % 3
    model = Words()
    model.table.sparse = sparse
    return run_loop(model, data, epochs=2, val_split=0.0, **settings)


def test_sparse_and_mixed_gradients_are_trained() -> None:
    run = words(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    assert run.training.progress.updates == run.step == 2


@pytest.mark.parametrize("knobs", [{}, {"clip_grad_norm": 0.1}, {"l1": 0.01}, {"l2": 0.01}])
def test_sparse_gradients_give_the_weights_that_dense_ones_give(knobs: dict[str, float]) -> None:
    run, dense = (
        words(optimizer="sgd", lr=0.1, **knobs),
        words(False, optimizer="sgd", lr=0.1, **knobs),
    )
    for mine, theirs in zip(run.model.parameters(), dense.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_an_optimizer_that_cannot_take_sparse_gradients_is_refused() -> None:
    with pytest.raises(ModelError, match=r"model\.table has sparse=True.*--optimizer sgd"):
        words()
