"""When to stop early, and which weights were best."""

from __future__ import annotations

import math

import torch
from torch import nn

from nbtrain.engine.early import EarlyStopping, Weights
from tests.engine.harness import same, weights


def watch(values: list[float], **settings: object) -> tuple[list[bool], int | None]:
    """Which values were best, and after how many it ended."""
    early = EarlyStopping(
        **{"monitor": "val_loss", "active": True, "patience": 2, "min_delta": 0.0, **settings}
    )  # type: ignore[arg-type]
    bests: list[bool] = []
    for count, value in enumerate(values, 1):
        bests.append(early.update({early.monitor: value}))
        if early.ended:
            return bests, count
    return bests, None


def test_patience_counts_validations_without_improvement() -> None:
    assert watch([3, 2, 2.5, 1, 1.5, 1.5]) == ([True, True, False, True, False, False], 6)
    assert watch([1, 1, 1]) == ([True, False, False], 3)
    assert watch([1, 1, 1], active=False)[1] is None


def test_more_is_better_for_accuracy() -> None:
    assert watch([0.1, 0.2, 0.1, 0.1], monitor="val_accuracy") == ([True, True, False, False], 4)


def test_a_mode_that_was_asked_for_goes_before_the_name() -> None:
    settings = {"monitor": "val_energy", "mode": "max"}
    assert watch([0.1, 0.2, 0.3, 0.2], **settings)[0] == [True, True, True, False]
    settings = {"monitor": "val_dice", "mode": "min"}
    assert watch([0.3, 0.2, 0.1], **settings)[0] == [True, True, True]


def test_a_mode_is_for_what_is_watched_and_not_for_the_loss() -> None:
    assert watch([3, 2, 1], active=False, mode="max")[0] == [True, True, True]
    assert watch([3, 2, 1], mode="max")[0] == [True, False, False]


def test_turning_the_mode_round_begins_anew() -> None:
    early = EarlyStopping(monitor="val_energy", active=True, patience=2, min_delta=0.0)
    early.update({"val_energy": 1.0})
    early.update({"val_energy": 2.0})
    early.turn("max")
    assert early.update({"val_energy": 0.5})
    early.turn("max")
    assert not early.update({"val_energy": 0.4})
    assert early.waited == 1


def test_a_small_change_is_no_improvement() -> None:
    assert watch([1.0, 0.95, 0.9], min_delta=0.2) == ([True, False, False], 3)


def test_what_is_no_number_is_no_improvement() -> None:
    assert watch([math.nan, 1.0, math.inf, math.nan]) == ([False, True, False, False], 4)


def test_a_validation_that_was_asked_for_does_not_count() -> None:
    early = EarlyStopping(monitor="val_loss", active=True, patience=1, min_delta=0.0)
    early.update({"val_loss": 1.0})
    assert not early.update({"val_loss": 2.0}, counts=False)
    assert not early.ended
    assert early.update({"val_loss": 0.5}, counts=False)


def test_watching_another_metric_begins_anew() -> None:
    early = EarlyStopping(monitor="val_loss", active=True, patience=1, min_delta=0.0)
    early.update({"val_loss": 1.0})
    early.watch("val_accuracy")
    assert early.update({"val_accuracy": 0.1})
    early.watch(None)
    early.update({"val_accuracy": 0.05})
    assert not early.ended


def test_weights_are_a_copy_that_can_be_put_back() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = weights(model)
    kept = Weights(model, 7)
    assert kept.is_in(model)
    parameter = model[0].weight
    with torch.no_grad():
        parameter.add_(1)
        model[1].running_mean.add_(1)
    assert not kept.is_in(model)
    kept.restore(model)
    assert same(weights(model), before)
    assert model[0].weight is parameter
    assert kept.step == 7


def test_weights_are_not_in_a_model_of_other_layers() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    kept = Weights(model, 7)
    wider = nn.Sequential(nn.Linear(2, 3))
    deeper = nn.Sequential(nn.Sequential(model[0]))
    assert kept.fits(model)
    for other in (wider, deeper):
        assert not kept.fits(other)
        assert not kept.is_in(other)
