"""The model of a run, live and ended."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nbtrain.errors import CommandRejected, DataError, UsageError
from tests.engine.harness import classes, network, same, values, weights
from tests.runs.harness import PATIENCE, Gate, begin, done, paused, until


def test_the_model_of_a_live_run_is_a_copy_as_of_a_step() -> None:
    run = paused()
    copied = run.model
    assert copied is not run._execution.task.model
    assert not copied.training
    before = weights(copied)
    run.step(2)
    until(run, lambda: run.state == "paused")
    assert same(weights(copied), before)
    with torch.no_grad():
        copied[0].weight.zero_()
    assert not same(weights(run.model), weights(copied))


def test_the_model_of_a_finished_run_is_the_users_own() -> None:
    model = network(0.3)
    run = done(model)
    assert run.model is model
    assert type(model) is nn.Sequential
    assert not model.training
    assert run.trained(model)


def test_calling_the_users_model_works_on_a_copy_and_warns_once() -> None:
    model = network(0.3)
    run = begin(model, name="digits", pace=2000.0, epochs=1000, val_split=0.0)
    until(run, lambda: run.history.step > 0)
    run.pause()
    with pytest.warns(UserWarning, match=r"digits\.model"):
        answer = model(torch.ones(2, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(model(torch.ones(2, 4)), answer), "and without dropout"
    with pytest.warns(UserWarning, match="was left to it"):
        model.eval()
    assert model.training
    run.stop()
    run.wait(PATIENCE)


def test_the_best_model() -> None:
    run = begin(epochs=2, pace=1e5)
    run.wait(PATIENCE)
    best = run.best_model
    assert best is not run.model
    assert same(weights(best), run._execution.training.best.state)


def test_there_is_no_best_model_before_a_validation() -> None:
    gate = Gate(1)
    run = begin(training_step=gate)
    gate.arrive()
    threading.Timer(0.0, gate.open.set).start()
    run.pause()
    if run.history.best is None:
        with pytest.raises(UsageError, match="evaluate"):
            run.best_model
    run.stop("last")


def test_predicting_classes_bits_and_values() -> None:
    X, y = classes(60)
    run = done(network(), (X, y), epochs=20, lr=0.02)
    answers = run.predict(X)
    assert answers.shape == y.shape
    assert not answers.is_floating_point()
    assert (answers == y).float().mean() > 0.8
    assert run.predict(X.numpy(), raw=True).shape == (60, 3)
    assert torch.equal(run.predict(X.double().numpy()), answers)
    assert torch.equal(run.predict(X.tolist()), answers)

    bits = (X[:, 0] > 0).float()
    run = done(nn.Linear(4, 1), (X, bits), epochs=60, lr=0.05)
    assert set(run.predict(X).unique().tolist()) <= {0, 1}
    assert (run.predict(X).flatten() == bits).float().mean() > 0.8

    probable = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid(), nn.Flatten(0))
    run = done(probable, (X, bits), loss=nn.BCELoss(), epochs=60, lr=0.05)
    assert (run.predict(X) == bits).float().mean() > 0.8

    run = done(nn.Linear(4, 1), values(60))
    assert run.predict(X).is_floating_point()
    assert run.predict(X).shape == (60, 1)


def test_predicting_from_several_inputs() -> None:
    from tests.engine.test_task import Two

    X, y = classes(40)
    inputs = {"left": X, "right": X[:, :2]}
    run = done(Two(), (inputs, y))
    assert run.predict(inputs).shape == (40,)
    assert torch.equal(run.predict({k: v.numpy() for k, v in inputs.items()}), run.predict(inputs))


@pytest.mark.parametrize(
    ("inputs", "word"),
    [(["a", "b"], "like the X"), (np.zeros((0, 4)), "no sample"), (3.0, "single number")],
)
def test_what_cannot_be_predicted(inputs: Any, word: str) -> None:
    run = done()
    with pytest.raises(DataError, match=word):
        run.predict(inputs)


def test_predicting_changes_nothing() -> None:
    model = network(0.5)
    run = paused(model=model)
    state, modes = weights(model), [module.training for module in model.modules()]
    before = torch.get_rng_state()
    run.predict(torch.zeros(3, 4))
    assert same(weights(model), state)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(before, torch.get_rng_state())


def test_weights_are_saved_where_asked(tmp_path: Path) -> None:
    from safetensors.torch import load_model

    run = paused()
    path = run.save(tmp_path / "deep" / "digits")
    assert path == tmp_path / "deep" / "digits.safetensors"
    model = network()
    load_model(model, path)
    assert same(weights(model), weights(run.model))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CommandRejected, match="cannot be written"):
        run.save(tmp_path / "file" / "digits")
    assert "save" in repr(run.save())
    assert run.path is not None
    assert list((run.path / "checkpoints").glob("step-*.safetensors"))
