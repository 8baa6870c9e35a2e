"""A loss or gradient that is no finite number: the update is skipped, and somebody told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nbtrain import messages as m
from nbtrain.engine.nonfinite import Buffers
from tests.engine.harness import classes, network, run_loop, same, weights

BAD = 4  # the step that fails


class Normed(nn.Module):
    """With a batch norm, whose buffers a bad batch would spoil."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.first = nn.Linear(4, 8)
            self.norm = nn.BatchNorm1d(8)
            self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)).relu())


class Spoils:
    """A ``training_step`` that goes wrong at one step."""

    def __init__(self, how: str) -> None:
        self.how, self.calls = how, 0
        self.before: dict[str, Tensor] = {}

    def __call__(self, model: Any, batch: Any) -> Tensor:
        x, y = batch
        if not model.training or not torch.is_grad_enabled():
            return nn.functional.cross_entropy(model(x), y)
        self.calls += 1
        bad = self.calls == BAD or (self.calls == BAD + 1 and self.how != "later")
        if bad and not self.before:
            self.before = weights(model)
        if not bad:
            return nn.functional.cross_entropy(model(x), y)
        if self.how == "input":
            return nn.functional.cross_entropy(model(x * float("nan")), y)
        if self.how == "loss":
            return nn.functional.cross_entropy(model(x), y) * float("inf")
        # The loss is finite and its gradient is not: the derivative of a root at zero.
        return nn.functional.cross_entropy(model(x), y) + (model.last.weight * 0).abs().sum().sqrt()


@pytest.mark.parametrize("how", ["input", "loss", "gradient"])
def test_the_weights_are_those_of_the_step_before(how: str) -> None:
    step = Spoils(how)
    run = run_loop(
        Normed(),
        classes(40),
        [(99, m.Stop(restore="last"))],
        training_step=step,
        epochs=2,
        batch_size=8,
        val_split=0.0,
    )
    assert [e.step for e in run.of(m.Paused)] == [BAD], "at once, not a frame later"
    assert run.step == BAD
    assert run.training.progress.updates == BAD - 1
    assert same(weights(run.model), step.before), "buffers included"
    (notice,) = run.of(m.Noticed)
    assert f"at step {BAD}" in notice.text
    assert "weights are those of the step before" in notice.text
    word = {"input": "first", "loss": "the loss is infinite", "gradient": "last"}[how]
    assert word in notice.text


def test_where_nobody_watches_the_run_fails() -> None:
    run = run_loop(
        Normed(),
        classes(40),
        training_step=Spoils("input"),
        epochs=2,
        batch_size=8,
        val_split=0.0,
        attended=False,
    )
    assert run.of(m.Paused) == []
    assert run.step == BAD
    assert run.training.request.outcome == "failed"
    assert "Linear 'first' is NaN" in (run.training.request.stop or "")
    assert run.training.request.restore == "last"


@pytest.mark.parametrize("best", [False, True])
def test_weights_that_no_setting_mends_are_called_that(best: bool) -> None:
    calls = 0

    def ruins(model: nn.Module, batch: Any) -> Tensor:
        nonlocal calls
        calls += model.training
        if calls == 10:
            with torch.no_grad():
                for weight in model.parameters():
                    weight.fill_(8e29)
        x, y = batch
        return nn.functional.cross_entropy(model(x), y)

    run = run_loop(
        network(),
        classes(40),
        [(99, m.Stop())],
        training_step=ruins,
        epochs=9,
        batch_size=8,
        val_split=0.2 if best else 0.0,
    )
    notice = run.of(m.Noticed)[-1]
    assert notice.topic == "not-finite-data", "the panel offers no other rate, and no clipping"
    assert "no setting can mend such weights" in notice.text
    assert "run the cell again with a lower learning rate." in notice.text.lower()
    assert ("Stop early, which brings back the best weights" in notice.text) == best
    assert "then resume" not in notice.text


class Rows(torch.utils.data.Dataset[Any]):
    """Nobody looks at all its samples beforehand; sample 17 has NaN in column 2."""

    def __init__(self, form: Any = lambda x, y: (x, y)) -> None:
        self.X, self.y = classes(40)
        self.X[17, 2] = float("nan")
        self.form = form

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return self.form(self.X[index], self.y[index])


def test_nan_in_the_data_is_named_as_such() -> None:
    run = run_loop(network(), None, train_data=Rows(), epochs=1, batch_size=8, attended=False)
    reason = run.training.request.stop or ""
    assert "The data itself holds NaN in sample 17, column 2" in reason
    assert all(torch.isfinite(value).all() for value in weights(run.model).values())


def test_the_sample_is_named_where_a_part_trains_and_batches_are_dicts() -> None:
    data = Rows(lambda x, y: {"x": x, "label": y})
    net = network()

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            output = self.net(x)
            assert isinstance(output, Tensor)
            return output

    run = run_loop(Named(), data, epochs=1, batch_size=8, val_split=0.05, attended=False)
    assert "NaN in sample 17, 'x', column 2" in (run.training.request.stop or "")


def test_bad_data_pauses_once_and_is_left_out_from_there_on() -> None:
    run = run_loop(network(), None, [(99, m.Resume())], train_data=Rows(), epochs=3, batch_size=8)
    assert len(run.of(m.Paused)) == 1
    assert (run.step, run.training.progress.updates) == (15, 12)
    (notice,) = run.of(m.Noticed)
    assert "sample 17" in notice.text and "Resume to leave out every such batch" in notice.text
    assert all(torch.isfinite(value).all() for value in weights(run.model).values())


def test_a_validation_that_gives_no_number_is_told_once_with_its_cause() -> None:
    settings: dict[str, Any] = {"train_data": classes(40), "epochs": 4, "batch_size": 8}
    run = run_loop(network(), None, val_data=Rows(), **settings)
    (notice,) = run.of(m.Noticed)
    assert "val_loss is NaN at step 5" in notice.text
    assert "The validation data itself holds NaN in sample 17, column 2" in notice.text
    assert run.training.progress.epoch == 4
    run = run_loop(network(), None, val_data=Rows(), early_stop="val_loss", patience=2, **settings)
    assert "no improvement" in run.history.notices["validation"].text
    assert "val_loss is not a finite number" in (run.training.request.stop or "")
    metrics = {"ratio": lambda outputs, targets: float("inf")}
    run = run_loop(network(), None, val_data=classes(16), metrics=metrics, **settings)
    text = run.history.notices["validation"].text
    assert "val_ratio is infinite" in text and "The validation data is finite" in text


def test_lowering_the_rate_and_resuming_goes_on() -> None:
    lower = m.Set(knob="lr", value=1e-4)
    run = run_loop(
        Normed(),
        classes(40),
        [(98, lower), (99, m.Resume())],
        training_step=Spoils("input"),
        epochs=2,
        batch_size=8,
        val_split=0.0,
        lr=0.1,
    )
    assert [e.step for e in run.of(m.Paused)] == [e.step for e in run.of(m.Resumed)] == [BAD]
    assert run.answer(lower).step == BAD
    assert (run.step, run.training.progress.updates) == (10, 9)
    assert run.history["lr"] == pytest.approx([0.1] * BAD + [1e-4] * 6)
    assert np.isfinite(run.history["loss"][BAD:]).all()


def test_the_record_shows_the_bad_loss() -> None:
    run = run_loop(
        Normed(),
        classes(40),
        [(99, m.Stop(restore="last"))],
        training_step=Spoils("input"),
        epochs=2,
        batch_size=8,
        val_split=0.0,
    )
    losses = run.history["loss"]
    assert np.isfinite(losses[: BAD - 1]).all()
    assert np.isnan(losses[BAD - 1])


def test_each_bad_step_pauses_again() -> None:
    run = run_loop(
        Normed(),
        classes(40),
        [(99, m.Resume()), (99, m.Resume())],
        training_step=Spoils("input"),
        epochs=1,
        batch_size=4,
        val_split=0.0,
    )
    # The first diagnosis runs the batch again, which is the step's fifth call.
    assert [e.step for e in run.of(m.Paused)] == [BAD]
    assert run.step == 10
    assert all(torch.isfinite(value).all() for value in weights(run.model).values())


def test_only_written_buffers_are_copied_and_put_back() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.register_buffer("constant", torch.arange(3))
    buffers = Buffers(model)
    assert buffers
    model(torch.randn(4, 2))
    buffers.keep()
    good = weights(model)
    model(torch.full((4, 2), float("nan")))
    buffers.restore()
    assert same(weights(model), good)
    assert not Buffers(nn.Linear(2, 2))


class Overflowing(torch.autograd.Function):
    """Passes its input on; the gradient is infinite."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> torch.Tensor:
        return slopes[0] * float("inf")


def overflowing(bad: range) -> Any:
    calls = iter(range(10**6))

    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        loss = nn.functional.cross_entropy(model(batch[0]).float(), batch[1])
        result = Overflowing.apply(loss) if next(calls) in bad else loss
        assert isinstance(result, torch.Tensor)
        return result

    return step


def fp16(step: Any, steps: int) -> Any:
    return run_loop(
        network(),
        classes(40),
        training_step=step,
        steps=steps,
        batch_size=8,
        val_split=0.0,
        precision="fp16",
        attended=False,
    )


def test_updates_that_fp16_skips_are_not_counted() -> None:
    run = fp16(overflowing(range(2, 5)), 10)
    assert (run.step, run.training.progress.updates) == (10, 7)
    assert run.training.request.outcome is None


def test_fp16_that_skips_every_update_ends_the_run() -> None:
    run = fp16(overflowing(range(10**6)), 100_000)
    assert run.training.request.outcome == "failed"
    assert "updates were skipped" in (run.training.request.stop or "")
    assert run.training.progress.updates == 0


def test_a_loss_that_is_not_finite_ends_an_fp16_run() -> None:
    step = overflowing(range(0))
    count = iter(range(10**6))
    run = fp16(
        lambda model, batch: step(model, batch) * (float("nan") if next(count) > 2 else 1), 99
    )
    assert run.training.request.outcome == "failed"
    assert (run.step, run.training.progress.updates) == (4, 3)
