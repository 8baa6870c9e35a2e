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
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from nbtrain.errors import CommandRejected, DataError, ModelError, UsageError
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


def test_an_interrupted_wait_for_the_model_asks_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*arguments: Any, **settings: Any) -> Any:
        raise KeyboardInterrupt

    gate, copied = Gate(1), threading.Event()
    run = begin(training_step=gate)
    gate.arrive()
    monkeypatch.setattr("nbtrain.runs.access.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run._execution.access.between_steps(copied.set)
    gate.open.set()
    run.wait(PATIENCE)
    assert not copied.is_set()


def test_the_best_model() -> None:
    run = begin(epochs=2, pace=1e5)
    run.wait(PATIENCE)
    best = run.best_model
    assert best is not run.model
    assert same(weights(best), run._execution.training.best.state)


def test_without_validation_data_nothing_advises_to_evaluate() -> None:
    run = done(val_split=0.0)
    with pytest.raises(UsageError, match=r"--early-stop loss .*run\.model") as caught:
        run.best_model
    assert "evaluate" not in str(caught.value)
    run = done(val_split=0.0, early_stop="loss")
    assert run.best_model is not None
    assert repr(run).endswith(f"best at step {run.history.best.step}>")


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
    [
        (["a", "b"], "hold words"),
        (np.zeros((0, 4)), "no sample"),
        (3.0, "single number"),
        (np.zeros(4), r"one sample alone.*inputs\[None\]"),
        ([1.0, 2.0, 3.0, 4.0], r"\[inputs\]"),
        (np.zeros((3, 5)), "has 5 numbers.*trained on rows of 4"),
        ({"a": np.zeros((3, 4)), "b": np.zeros((3, 4))}, "takes one array.*'a', 'b'"),
        ((np.zeros((3, 4)),) * 3, "3 of them"),
    ],
)
def test_what_cannot_be_predicted(inputs: Any, word: str) -> None:
    run = done()
    with pytest.raises(DataError, match=word):
        run.predict(inputs)


def test_a_pair_a_dict_a_dataset_and_a_loader_are_predicted_like_their_features() -> None:
    X, y = classes(60)
    run = done(network(), (X, y))
    answers = run.predict(X)
    pairs = TensorDataset(X, y)

    class Slow(Dataset[Any]):
        def __len__(self) -> int:
            return len(X)

        def __getitem__(self, index: int) -> Any:
            return {"x": X[index].double(), "text": "words", "label": int(y[index])}

    for given in (
        (X, y),
        (X.numpy(), y.numpy()),
        {"x": X.numpy()},
        {"x": X, "label": y},
        [row.numpy() for row in X],
        list(X),
        pairs,
        Subset(pairs, range(60)),
        TensorDataset(X),
        Slow(),
        [(x, 0) for x in X],
        DataLoader(pairs, batch_size=7, shuffle=True),
        DataLoader(Slow(), batch_size=7),
    ):
        assert torch.equal(run.predict(given), answers), given


def test_frames_are_predicted_without_a_warning() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = classes(60)
    frame = pandas.DataFrame(X.numpy(), columns=list("abcd"))
    run = done(network(), (frame.assign(label=y.numpy()), "label"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = run.predict(frame)
        assert torch.equal(run.predict(list(X.numpy())), answers)
    whole = frame.round().astype(int)
    assert torch.equal(run.predict(whole), run.predict(whole.astype("float64")))
    with pytest.raises(DataError, match="one sample alone"):
        run.predict(frame.iloc[0])
    with pytest.raises(DataError, match="Drop the column"):
        run.predict(frame.assign(label=y.numpy()))
    with pytest.raises(DataError, match="'word'"):
        run.predict(frame.assign(word="a"))


def test_a_hugging_face_dataset_is_predicted() -> None:
    datasets = pytest.importorskip("datasets")
    X, y = classes(60)
    data = datasets.Dataset.from_dict({"x": X.tolist(), "label": y.tolist()})
    run = done(network(), data)
    assert torch.equal(run.predict(data), run.predict(X))
    assert torch.equal(run.predict(data.remove_columns("label")), run.predict(X))


class Several(nn.Module):
    """Gives a tuple or a dict, with a mean that has no rows."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.inner, self.form = network(), form

    def forward(self, x: torch.Tensor) -> Any:
        out = self.inner(x)
        return self.form(out)


def test_several_outputs_are_joined_in_their_form() -> None:
    X, y = classes(60)
    many = X.repeat(40, 1)  # more than one batch

    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        out = model(batch[0])
        return (out["a"] if isinstance(out, dict) else out[0]).square().mean()

    run = done(Several(lambda out: (out, [out.sum(1)])), (X, y), training_step=step)
    out, (total,) = run.predict(many)
    assert out.shape == (2400, 3)
    assert torch.allclose(total, out.sum(1))
    run = done(Several(lambda out: {"a": out, "b": None}), (X, y), training_step=step)
    answer = run.predict(many)
    assert answer["a"].shape == (2400, 3)
    assert answer["b"] is None
    run = done(Several(lambda out: (out, out.mean())), (X, y), training_step=step)
    assert run.predict(X)[1].ndim == 0
    with pytest.raises(ModelError, match=r"output\[1\].*no row a sample"):
        run.predict(many)
    with pytest.raises(ModelError, match=r"expects 4 features.*has 5"):
        run.predict(torch.zeros(3, 5))


def test_what_a_model_of_several_inputs_cannot_predict() -> None:
    from tests.engine.test_task import Two

    X, y = classes(40)
    inputs = {"left": X, "right": X[:, :2]}
    run = done(Two(), (inputs, y))
    answers = run.predict(inputs)
    assert torch.equal(run.predict((inputs, y)), answers)
    for given, word in (
        ({"left": X}, "lack 'right'"),
        ({**inputs, "top": X}, "not trained on 'top'"),
        (X, "takes a dict with 'left', 'right'"),
        ({"left": X, "right": X[:3, :2]}, "differ in length"),
    ):
        with pytest.raises(DataError, match=word):
            run.predict(given)
    run = done(Two(), ((X, X[:, :2]), y))
    assert run.predict((X, X[:, :2])).shape == (40,)
    assert run.predict(TensorDataset(X, X[:, :2])).shape == (40,)
    assert run.predict(TensorDataset(X, X[:, :2], y)).shape == (40,)
    assert run.predict(((X, X[:, :2]), y)).shape == (40,)
    with pytest.raises(DataError, match="takes 2 arrays"):
        run.predict(X)


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
    from safetensors.torch import load_file, load_model

    run = paused()
    path = run.save(tmp_path / "deep" / "digits")
    assert path == tmp_path / "deep" / "digits.safetensors"
    model = network()
    load_model(model, path)
    assert same(weights(model), weights(run.model))
    for name in ("digits.pt", "digits.pth"):
        path = run.save(tmp_path / name)
        assert path == tmp_path / name
        other = network()
        other.load_state_dict(torch.load(path, weights_only=True))
        assert same(weights(other), weights(run.model))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CommandRejected, match="cannot be written"):
        run.save(tmp_path / "file" / "digits")
    with pytest.raises(CommandRejected, match="cannot be written"):
        run.save(tmp_path / "file" / "digits.pt")
    assert "save" in repr(run.save())
    assert run.path is not None
    (asked,) = (run.path / "checkpoints").glob("step-*.safetensors")
    state = {n[6:]: x for n, x in load_file(asked).items() if n.startswith("model.")}
    other = network()
    other.load_state_dict(state)
    assert same(weights(other), weights(run.model))
