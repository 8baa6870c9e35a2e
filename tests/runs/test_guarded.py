"""The model of a live run, seen from other cells: as of a step boundary, in every state."""

from __future__ import annotations

import copy
import threading
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.engine.harness import network, same, weights
from tests.runs.harness import PATIENCE, Gate, begin, done, until


class Twins(nn.Module):
    """Two weights that every step moves alike."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(2000))
        self.second = nn.Parameter(torch.zeros(2000))

    def forward(self, x: Tensor) -> Tensor:
        return (self.first + self.second)[:3] + x[:, :3]


def test_weights_taken_while_it_runs_are_those_of_one_step() -> None:
    model = Twins()
    run = begin(model, epochs=100_000, val_split=0.0, optimizer="sgd")
    until(run, lambda: run.history.step > 0)
    seen = set()
    for _ in range(20):
        for state in (model.state_dict(), copy.deepcopy(model).state_dict()):
            assert torch.equal(state["first"], state["second"])
            seen.add(float(state["first"].sum()))
    assert run.state == "running"
    run.stop()
    assert len(seen) > 2
    assert model.state_dict()["first"].data_ptr() == model.first.data_ptr()


def looks(model: Any) -> list[dict[str, Tensor]]:
    """The weights, and those of a copy and of the copies that calls went to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(torch.ones(2, 4))
        model[0](torch.ones(2, 4))
    return [model.state_dict(), weights(copy.deepcopy(model))]


def test_a_queued_a_paused_and_an_ended_run_let_others_look() -> None:
    gate = Gate(3)
    first, second = network(0.3), network(0.3)
    ahead = begin(first, name="ahead", training_step=gate)
    behind = begin(second, name="behind", epochs=1000, pace=2000.0)
    assert behind.state == "queued"
    assert all(same(state, weights(second)) for state in looks(second))
    gate.arrive()
    gate.open.set()
    ahead.wait(PATIENCE)
    assert all(same(state, weights(first)) for state in looks(first))
    until(behind, lambda: behind.state == "running")
    behind.pause()
    assert all(same(state, weights(behind.model)) for state in looks(second))
    behind.stop()
    assert all(same(state, weights(second)) for state in looks(second))
    assert [type(module) for module in second.modules()] == [
        type(module) for module in network(0.3).modules()
    ]


def test_statistics_are_the_runs_alone() -> None:
    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

    alone = weights(done(model(), epochs=5).model)
    watched = model()
    gate = Gate(2)
    run = begin(watched, epochs=5, training_step=gate)
    gate.arrive()
    threading.Timer(0.0, gate.open.set).start()
    with pytest.warns(UserWarning, match="is training this model"):
        watched[1](torch.full((4, 8), 100.0))
    run.wait(PATIENCE)
    assert same(weights(watched), alone)


def test_layers_of_an_ended_run_train_in_another() -> None:
    body = nn.Linear(4, 8)
    done(nn.Sequential(body, nn.Linear(8, 3)))
    done(nn.Sequential(body, nn.ReLU(), nn.Linear(8, 3)))
    assert type(body) is nn.Linear
    assert body(torch.ones(1, 4)).shape == (1, 8)
