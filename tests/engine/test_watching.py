"""Names of metrics: those that collide, and those that early stopping waits for in vain."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nbtrain import messages as m
from nbtrain.errors import ModelError, UnknownName
from tests.engine.harness import classes, network, run_loop


def go(commands: Any = (), **settings: Any) -> Any:
    settings = {"epochs": 2, "batch_size": 8, "val_split": 0.25, **settings}
    return run_loop(network(), classes(40), commands, **settings)


def step(**more: float) -> Any:
    """A training step that returns ``more`` beside its loss."""

    def training_step(model: nn.Module, batch: Any) -> dict[str, Any]:
        return {"loss": nn.functional.cross_entropy(model(batch[0]), batch[1]), **more}

    return training_step


@pytest.mark.parametrize("name", ["lr", "epoch", "step", "samples", "val_loss", "val_bar"])
def test_a_name_that_stands_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"training_step returned '{name}'"):
        go(training_step=step(**{name: 1.0}))
    with pytest.raises(ModelError, match=f"metric called '{name}'"):
        go(metrics={name: lambda outputs, targets: 1.0})


def test_a_loss_among_the_metrics_is_refused() -> None:
    with pytest.raises(ModelError, match="metric called 'loss'"):
        go(metrics={"loss": lambda outputs, targets: 1.0})


def test_a_validation_step_may_name_its_metrics_as_they_are_stored() -> None:
    def validation_step(model: nn.Module, batch: Any) -> dict[str, Any]:
        return {"val_loss": torch.tensor(1.0), "val_lr": 0.5}

    run = go(training_step=step(), validation_step=validation_step)
    assert run.history["val_loss"].tolist() == [1.0, 1.0]
    assert run.history["val_lr"].tolist() == [0.5, 0.5]


def test_an_accuracy_of_ones_own_takes_the_place_of_ours() -> None:
    run = go(metrics={"accuracy": lambda outputs, targets: 7.0})
    assert set(run.history["accuracy"]) == set(run.history["val_accuracy"]) == {7.0}


@pytest.mark.parametrize("own", [True, False], ids=["validation_step", "training_step"])
def test_a_metric_that_nobody_measures_is_told_before_the_first_step(own: bool) -> None:
    settings: dict[str, Any] = {"training_step": step(bar=1.0), "early_stop": "val_baz"}
    if own:
        settings["validation_step"] = step(bar=1.0)
    run = go([(99, m.Resume())], **settings, patience=1, epochs=4)
    assert [e.step for e in run.of(m.Paused)] == [0], "once"
    text = run.history.notices["monitor"].text
    assert "'val_baz'" in text and "'val_bar'" in text and "val_loss" in text
    assert run.training.progress.epoch == 4, "nothing is waited for"
    with pytest.raises(UnknownName, match="val_bar"):
        go(**settings, attended=False)


def test_what_is_measured_can_be_watched_instead() -> None:
    watch = m.Set(knob="early_stop", value="val_bar")
    settings: dict[str, Any] = {"training_step": step(bar=1.0), "early_stop": "val_baz"}
    run = go([(98, watch), (99, m.Resume())], **settings, patience=1, epochs=4)
    assert isinstance(run.answer(watch), m.Applied)
    assert run.training.request.outcome == "early-stopped"
    assert run.training.progress.epoch == 2


def test_a_training_metric_that_nobody_measures_is_told_after_the_first_epoch() -> None:
    run = go([(99, m.Resume())], training_step=step(bar=1.0), early_stop="baz")
    assert [e.step for e in run.of(m.Paused)] == [4]
    assert "bar" in run.history.notices["monitor"].text


def test_patience_for_the_training_loss_can_be_set_without_validation_data() -> None:
    commands = [
        m.Set(knob="early_stop", value="loss"),
        m.Set(knob="patience", value=1),
        m.Set(knob="min_delta", value=100.0),
    ]
    run = go([(1, command) for command in commands], val_split=0.0, epochs=9)
    assert all(isinstance(run.answer(command), m.Applied) for command in commands)
    assert run.training.progress.epoch == 2
    assert repr(run.history.best) == "step 5, epoch 1"


def test_a_plateau_follows_what_is_watched_from_here() -> None:
    """An accuracy that grows is no plateau, although it is above the loss before it."""
    readings = iter(range(10, 1000))
    run = go(
        [(4, m.Set(knob="early_stop", value="val_dice"))],
        metrics={"dice": lambda outputs, targets: next(readings)},
        scheduler="plateau",
        patience=100,
        lr=0.01,
        epochs=20,
    )
    assert run.training.schedule.scheduler.mode == "max"
    assert set(run.history["lr"].tolist()) == {run.history["lr"][0]}
