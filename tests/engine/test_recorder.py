"""Every step's metrics in blocks, and their means over an epoch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nbtrain.engine.losses import Loss, infer
from nbtrain.engine.recorder import _LARGE, Recorder
from nbtrain.messages import Stepped
from tests.engine.harness import classes, network, run_loop

CPU = torch.device("cpu")
TARGETS = torch.tensor([0, 1, 2, 1])


def loss() -> Loss:
    return infer(torch.zeros(4, 3), TARGETS, TARGETS)


def block(recorder: Recorder) -> Stepped | None:
    return recorder.block(9, 9, 0, 0, (0.0, 1.0), None, {})


def right(share: float) -> Tensor:
    """Outputs of which so many are right."""
    outputs = nn.functional.one_hot(TARGETS, 3).float()
    wrong = round(4 * (1 - share))
    outputs[:wrong] = outputs[:wrong].roll(1, 1)
    return outputs


def test_a_block_holds_every_step() -> None:
    recorder = Recorder("run", CPU, loss())
    assert block(recorder) is None
    for step, share in enumerate((1.0, 0.5, 0.0)):
        recorder.add(float(step), 4 * (step + 1), 0.1, right(share), TARGETS, None)
    made = block(recorder)
    assert made is not None
    assert made.count == 3
    assert list(made.samples) == [4, 8, 12]
    assert list(made.series["loss"]) == [0.0, 1.0, 2.0]
    assert list(made.series["accuracy"]) == [1.0, 0.5, 0.0]
    assert made.series["lr"] == pytest.approx([0.1] * 3)
    assert block(recorder) is None


def test_batches_of_several_sizes_are_measured_each() -> None:
    recorder = Recorder("run", CPU, loss())
    recorder.add(0.0, 4, 0.1, right(1.0), TARGETS, None)
    recorder.add(0.0, 6, 0.1, right(1.0)[:2], TARGETS[:2], None)
    recorder.add(0.0, 10, 0.1, right(0.5), TARGETS, None)
    made = block(recorder)
    assert made is not None
    assert list(made.series["accuracy"]) == [1.0, 1.0, 0.5]


def test_large_outputs_are_measured_at_once_and_stay_in_order() -> None:
    recorder = Recorder("run", CPU, loss())
    many = _LARGE // 4 + 1
    outputs, targets = right(1.0).repeat(many, 1), TARGETS.repeat(many)
    recorder.add(0.0, 4, 0.1, right(0.5), TARGETS, None)
    recorder.add(0.0, 8, 0.1, outputs, targets, None)
    recorder.add(0.0, 12, 0.1, right(0.0), TARGETS, None)
    made = block(recorder)
    assert made is not None
    assert list(made.series["accuracy"]) == [0.5, 1.0, 0.0]


def test_a_metric_that_comes_and_goes_is_nan_between() -> None:
    recorder = Recorder("run", CPU, None)
    for step, extras in enumerate([None, {"kl": 1.0}, None, {"kl": torch.tensor(3.0)}]):
        recorder.add(float(step), step, 0.1, None, None, extras)
    made = block(recorder)
    assert made is not None
    kl = list(made.series["kl"])
    assert [math.isnan(value) for value in kl] == [True, False, True, False]
    assert (kl[1], kl[3]) == (1.0, 3.0)
    assert recorder.epoch_means() == {"loss": 1.5, "kl": 2.0}, "of the steps that measured it"


def test_means_are_over_the_epoch() -> None:
    recorder = Recorder("run", CPU, None)
    for value in (1.0, 2.0):
        recorder.add(value, 1, 0.1, None, None, None)
        block(recorder)
    assert recorder.epoch_means() == {"loss": 1.5}
    recorder.add(9.0, 1, 0.1, None, None, None)
    recorder.begin_epoch()
    recorder.add(5.0, 1, 0.1, None, None, None)
    block(recorder)
    assert recorder.epoch_means() == {"loss": 5.0}, "the ninth belongs to the epoch before"


def test_accuracy_of_a_run_is_that_of_its_batches() -> None:
    X, y = classes(40)
    run = run_loop(network(), (X, y), epochs=1, batch_size="full", val_split=0.0, lr=0.0)
    expected = (network()(X).argmax(1) == y).float().mean()
    assert run.history["accuracy"][0] == pytest.approx(float(expected))
