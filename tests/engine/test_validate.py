"""Measuring the validation data, without a trace in the training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nbtrain import messages as m
from tests.engine.harness import classes, network, run_loop, same, weights


def test_the_means_are_over_samples_not_batches() -> None:
    X, y = classes(2000)
    run = run_loop(
        network(), train_data=(X[:40], y[:40]), val_data=(X[:1100], y[:1100]), epochs=1, lr=0.0
    )
    with torch.no_grad():
        outputs = network()(X[:1100])
    (event,) = run.of(m.Validated)
    expected = nn.functional.cross_entropy(outputs, y[:1100])
    assert event.metrics["val_loss"] == pytest.approx(float(expected), rel=1e-5)
    right = (outputs.argmax(1) == y[:1100]).float().mean()
    assert event.metrics["val_accuracy"] == pytest.approx(float(right))


def test_a_validation_step_of_the_users() -> None:
    grads: list[bool] = []
    modes: list[bool] = []

    def step(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        return {"loss": nn.functional.cross_entropy(model(batch[0]), batch[1])}

    def validation_step(model: nn.Module, batch: Any) -> dict[str, Any]:
        grads.append(torch.is_grad_enabled())
        modes.append(model.training)
        return {"val_loss": model(batch[0]).sum() * 0 + 7, "f1": 0.5}

    run = run_loop(
        network(0.5), classes(40), training_step=step, validation_step=validation_step, epochs=1
    )
    (event,) = run.of(m.Validated)
    assert event.metrics == {"val_loss": 7.0, "val_f1": 0.5}
    assert grads == modes == [False]


def test_what_a_validation_draws_is_its_own_and_the_same_each_time() -> None:
    class Noisy(nn.Module):
        """Draws in evaluation too, and keeps what it drew."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network(0.3)
            self.drawn: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            noise = torch.randn(1)
            if not self.training:
                self.drawn.append(noise)
            return self.inner(x) + noise

    def go(*commands: Any) -> Any:
        run = run_loop(Noisy(), classes(40), commands, epochs=2, batch_size=8)
        return run.model

    plain, asked = go(), go((3, m.Evaluate()))
    assert len(asked.drawn) == len(plain.drawn) + 1
    assert same(weights(plain), weights(asked))
    assert torch.equal(plain.drawn[-1], asked.drawn[-1]), "a place's own draws"
    assert torch.equal(go().drawn[-1], plain.drawn[-1])


def test_modes_are_put_back_one_by_one() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    model[1].eval()
    run_loop(model, classes(40), epochs=1)
    assert [module.training for module in model.modules()] == [True, True, False]


def test_measuring_leaves_buffers_alone() -> None:
    X, y = classes(40)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    with torch.random.fork_rng([]):
        other = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    other.load_state_dict(model.state_dict())
    a = run_loop(model, train_data=(X, y), epochs=2, batch_size=8)
    b = run_loop(other, train_data=(X, y), val_data=(X * 9, y), epochs=2, batch_size=8)
    assert same(weights(a.model), weights(b.model))


@pytest.mark.parametrize("val_split", [0.0, 0.25])
def test_a_metric_with_a_state_begins_anew_each_epoch(val_split: float) -> None:
    class Seen:
        """How many samples it has seen."""

        count = 0

        def update(self, outputs: Tensor, targets: Tensor) -> None:
            self.count += len(outputs)

        def compute(self) -> int:
            return self.count

        def reset(self) -> None:
            self.count = 0

        def __call__(self, outputs: Tensor, targets: Tensor) -> int:
            self.update(outputs, targets)
            return self.count

    settings = {"epochs": 3, "batch_size": 8, "val_split": val_split}
    run = run_loop(network(), classes(32), metrics={"seen": Seen()}, **settings)
    each = list(range(8, int(32 * (1 - val_split)) + 1, 8))
    assert run.history["seen"].tolist() == each * 3
