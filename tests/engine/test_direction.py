"""Which way a metric gets better, by its name."""

from __future__ import annotations

import pytest

from nbtrain.engine.direction import assumed, better_of

MORE = """
    accuracy val_accuracy valAcc MulticlassAccuracy top5 val_top5 top_5 val_F1 F1Score f2 f_1
    dice val_dice psnr PSNR_dB ssim map mAP mAP50 kappa mcc reward elbo sensitivity roc
    BinaryAUROC auc hit_rate hitRate log_likelihood logLikelihood spearman r2 R2Score r_squared
    val_IoU mIoU ndcg@10 true_positive_rate neg_mean_squared_error explained_variance
"""
LESS = """
    loss val_loss L1Loss BCELoss mae val_RMSE MeanSquaredError val_perplexity cross_entropy WER
    previous_error recall_loss f1_loss dice_loss accumulated_loss score_error top_5_error
    brier_score negative_log_likelihood neg_elbo false_negative_rate error_rate
"""


@pytest.mark.parametrize("metric", MORE.split())
def test_more_is_better(metric: str) -> None:
    assert better_of(metric) == "max"
    assert assumed(metric, "auto") is None


@pytest.mark.parametrize("metric", LESS.split())
def test_less_is_better(metric: str) -> None:
    assert better_of(metric) == "min"
    assert assumed(metric, "auto") is None


@pytest.mark.parametrize("metric", ["val_energy", "mapping", "capacity", "ratio", "temperature"])
def test_of_a_name_that_tells_nothing_less_is_better_and_that_is_said(metric: str) -> None:
    assert better_of(metric) == "min"
    assert metric in (assumed(metric, "auto") or "")
    assert better_of(metric, "max") == "max"
    assert assumed(metric, "max") is None
