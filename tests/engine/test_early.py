"""When to stop early, and which weights were best."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nbtrain.engine.early import EarlyStopping, Weights, better_of
from tests.engine.harness import same, weights


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("loss", "min"),
        ("val_loss", "min"),
        ("mae", "min"),
        ("val_perplexity", "min"),
        ("accuracy", "max"),
        ("val_accuracy", "max"),
        ("val_F1", "max"),
        ("auc", "max"),
        ("r2", "max"),
    ],
)
def test_which_way_is_better(metric: str, better: str) -> None:
    assert better_of(metric) == better


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
