"""Binding what a cell leaves, and every mistake we could think of: one clear message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from nbtrain.errors import DataError, InvalidValue, ModelError, UnknownName, UsageError
from tests.engine.harness import classes, make_task, network, run_loop, values


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (None, ["no `model`", "nn.Sequential"]),
        (nn.Linear, ["class Linear", "model = Linear("]),
        (lambda x: x, ["is a function", "nn.Module"]),
        (3, ["is a int"]),
    ],
)
def test_a_model_that_is_none(model: Any, words: list[str]) -> None:
    with pytest.raises(ModelError) as raised:
        make_task(model, classes())
    assert all(word in str(raised.value) for word in words), raised.value


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (nn.Linear(5, 3), classes(), ["expects 5 features", "has 4", "nn.Linear(4, 3)"]),
        (
            nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(9, 3)),
            classes(),
            ["model.2", "nn.Linear(8, 3)"],
        ),
        (
            nn.Linear(64, 3),
            (np.zeros((6, 8, 8), dtype="float32"), np.arange(6) % 3),
            ["hold just as many", "nn.Flatten()"],
        ),
        (
            nn.Linear(10, 3),
            (np.zeros((6, 8, 8), dtype="float32"), np.arange(6) % 3),
            ["nn.Flatten(), nn.Linear(64, 3)"],
        ),
        (
            nn.Conv2d(1, 3, 3),
            (np.zeros((6, 8, 8), dtype="float32"), np.arange(6) % 3),
            ["(samples, channels, height, width)", "reshape"],
        ),
        (
            nn.Conv2d(1, 3, 3),
            (np.zeros((6, 3, 8, 8), dtype="float32"), np.arange(6) % 3),
            ["expects 1 channels", "gets 3"],
        ),
        (nn.Linear(4, 2), classes(), ["classes 0 to 2", "3 outputs"]),
        (nn.Linear(4, 3).double(), classes(), ["float64 weights", "float32", "torch.float64"]),
        (
            nn.Linear(4, 3).bfloat16(),
            (classes()[0].double(), classes()[1]),
            ["bfloat16 weights, but gets float32", "--precision bf16", "torch.as_tensor(X)"],
        ),
    ],
)
def test_shapes_and_types_that_do_not_fit(model: Any, data: Any, words: list[str]) -> None:
    with pytest.raises(ModelError) as raised:
        make_task(model, data)
    assert all(word in str(raised.value) for word in words), raised.value


def test_a_batch_that_the_model_cannot_read_is_described() -> None:
    def samples(*keys: str) -> Any:
        values = {"x": torch.ones(4), "z": torch.ones(2), "text": "two words", "label": 1}
        return [{key: values[key] for key in keys} for _ in range(6)]

    with pytest.raises(DataError, match=r"'text': words, 'label'.*tokenizer"):
        make_task(network(), samples("text", "label"), val_split=0)
    with pytest.raises(ModelError, match=r"Linear at model.0.*'x': a tensor of shape \(2, 4\)"):
        make_task(network(), samples("x", "z", "label"), val_split=0)
    with pytest.raises(ModelError, match=r"CrossEntropyLoss fails.*shape \(2, 3\)"):
        make_task(network(), classes(), loss=nn.CrossEntropyLoss(torch.ones(5)))


def test_an_error_in_the_users_own_code_is_left_as_it_is() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        make_task(nn.Sequential(Broken()), classes())


def test_data_without_targets() -> None:
    with pytest.raises(UsageError, match="no targets"):
        make_task(network(), classes()[0])


def test_no_data() -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        make_task(network())


@pytest.mark.parametrize(
    ("settings", "kind", "word"),
    [
        ({"early_stop": "val_acuracy"}, UnknownName, "val_accuracy"),
        ({"early_stop": "val_loss", "val_split": 0.0}, InvalidValue, "--val-split"),
        ({"label_smoothing": 0.1, "loss": nn.NLLLoss()}, InvalidValue, "cross-entropy only"),
        ({"optimizer": "adam2"}, UnknownName, "adam"),
        ({"loss": "mse"}, ModelError, "3 numbers"),
        ({"loss": nn.CrossEntropyLoss}, ModelError, "the class CrossEntropyLoss"),
        ({"loss": lambda o, t: (o - 1).square()}, ModelError, "must give one number"),
        ({"loss": lambda o, t: 3.0}, ModelError, "must give one number"),
        ({"metrics": {"mae": 3}}, ModelError, "'mae' is a int"),
        ({"metrics": 3}, ModelError, "'metric' is a int"),
        ({"metrics": nn.L1Loss}, ModelError, "functions of"),
        ({"dropout.9": 0.1}, UnknownName, "no dropout layer '9'"),
        ({"dropout": {"9": 0.1}}, UnknownName, "no dropout layer '9'"),
        ({"training_step": 3}, ModelError, "def training_step"),
        ({"training_step": lambda model: 3}, ModelError, "two arguments"),
        (
            {"training_step": lambda model, batch: 3, "validation_step": lambda model: 3},
            ModelError,
            "`validation_step` must take two",
        ),
        (
            {"training_step": lambda model, batch: 3, "loss": nn.MSELoss()},
            UsageError,
            "both a `loss` and a `training_step`",
        ),
        ({"training_step": lambda model, batch: 3, "loss": "mse"}, UsageError, "both a `loss`"),
        (
            {"training_step": lambda model, batch: 3, "label_smoothing": 0.1},
            InvalidValue,
            "cross-entropy only",
        ),
    ],
)
def test_mistakes_of_the_cell(settings: dict[str, Any], kind: type[Exception], word: str) -> None:
    with pytest.raises(kind, match=word):
        make_task(network(0.1), classes(), **settings)


def test_what_is_missing_is_told_in_words_that_fit_a_script_too() -> None:
    X, y = classes()
    for model, settings in (
        (None, {"data": (X, y)}),
        (network(), {}),
        (network(), {"data": (X, y), "early_stop": "val_loss", "val_split": 0}),
        (Pair(), {"data": (X, y)}),
        (Pair(), {"data": (X, y), "loss": "mse"}),
    ):
        with pytest.raises(UsageError) as raised:
            make_task(model, **settings)
        assert "cell" not in str(raised.value)


class Pair(nn.Module):
    """Gives two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner(x), x


def test_dropout_without_a_dropout_layer() -> None:
    with pytest.raises(ModelError, match=r"nn\.Dropout\(\)"):
        make_task(nn.Linear(4, 3), classes(), dropout=0.1)


def test_a_loader_of_the_users_own_batches_keeps_its_size() -> None:
    data = torch.utils.data.TensorDataset(*classes())
    loader = torch.utils.data.DataLoader(data, batch_sampler=[[0, 1], [2, 3]])
    with pytest.raises(InvalidValue, match="--batch-size cannot be set here"):
        make_task(network(), None, train_data=loader, batch_size=4)


@pytest.mark.parametrize(
    ("step", "word"),
    [
        (lambda model, batch: None, "returned nothing"),
        (lambda model, batch: model(batch[0]).sum().item(), "returned a float"),
        (lambda model, batch: model(batch[0]), "shape"),
        (lambda model, batch: model(batch[0]).sum().detach(), "does not depend on any weight"),
        (lambda model, batch: {"accuracy": 1.0}, "without 'loss'"),
        (lambda model, batch: {"loss": model(batch[0]).sum(), "names": ["a"]}, "'names' is a list"),
        (
            lambda model, batch: {"loss": model(batch[0]).sum(), "each": model(batch[0])},
            "'each' is a tensor of shape",
        ),
    ],
)
def test_a_training_step_that_returns_no_loss(step: Any, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        run_loop(network(), classes(), training_step=step, epochs=1)


@pytest.mark.parametrize(
    ("metric", "word"),
    [(lambda o, t: o, "shape"), (lambda o, t: None, "nothing"), (lambda o, t: "high", "a str")],
)
def test_a_metric_that_is_no_number(metric: Any, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        run_loop(network(), classes(), metrics={"odd": metric}, epochs=1)


def test_metrics_in_every_form() -> None:
    def mae(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - targets).abs().mean()

    model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    for metrics in (mae, [mae], {"mae": mae}, {"mae": lambda o, t: float(mae(o, t))}):
        history = run_loop(model, values(), metrics=metrics, epochs=2).history
        assert len(history["mae"]) == history.step
        assert len(history["val_mae"]) == 2


def test_a_metric_with_a_state_of_its_own() -> None:
    class Largest:
        """As torchmetrics has them."""

        def __init__(self) -> None:
            self.reset()

        def reset(self) -> None:
            self.value = 0.0

        def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
            self.value = max(self.value, float(targets.max()))

        def compute(self) -> float:
            return self.value

        def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> float:
            self.update(outputs, targets)
            return float(targets.max())

    X, y = values()
    model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    history = run_loop(model, (X, y), metrics={"top": Largest()}, epochs=1, val_split=0.5).history
    assert history["val_top"][0] <= float(y.max())
    assert np.isfinite(history["top"]).all()


class Two(nn.Module):
    """Takes two inputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.a(left) + self.b(right)


class OneDict(Two):
    """Takes a dict of two inputs."""

    def forward(self, both: dict[str, torch.Tensor]) -> torch.Tensor:
        return super().forward(**both)


@pytest.mark.parametrize(("model", "form"), [(Two, dict), (Two, tuple), (OneDict, dict)])
def test_models_of_several_inputs(model: Any, form: type) -> None:
    X, y = classes(40)
    inputs: Any = {"left": X, "right": X[:, :2]}
    run = run_loop(model(), (tuple(inputs.values()) if form is tuple else inputs, y), epochs=1)
    assert run.training.progress.updates == 1


def test_the_notes_tell_what_was_inferred() -> None:
    task, _ = make_task(network(), classes())
    assert task.notes[0] == "Cross-entropy, because the targets are 3 integer classes."
    assert "Adam, because no optimizer was asked for." in task.notes
    task, _ = make_task(network(), classes(), training_step=lambda model, batch: 0)
    assert task.notes[0] == "The loss is what training_step returns."


def test_what_was_not_fully_read_is_not_counted() -> None:
    class Lazy(Dataset[Any]):
        def __len__(self) -> int:
            return 90

        def __getitem__(self, index: int) -> Any:
            return torch.ones(4), 2 if index == 31 else index % 2

    class Streamed(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([Lazy()[index] for index in range(90)])

    for data in (Lazy(), Streamed()):
        task, _ = make_task(network(), data)
        assert task.notes[0] == (
            "Cross-entropy, because the targets are integer classes, at least 2 of them."
        )
    X, y = classes()
    task, _ = make_task(network(), (X, (y > 1).long() * 2), val_split=0.98)
    assert task.notes[0] == "Cross-entropy, because the targets are 3 integer classes."
    bits = [(torch.ones(4), torch.tensor([float(index == 31)])) for index in range(90)]
    task, _ = make_task(network(out=1), bits)
    assert "every target looked at is 0 or 1" in task.notes[0]


def test_the_dry_run_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    model[1].eval()
    before = torch.get_rng_state()
    make_task(model, classes())
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert not model[1].training
    assert int(model[1].num_batches_tracked) == 0
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_lazy_layers_get_their_shape() -> None:
    run = run_loop(nn.Sequential(nn.LazyLinear(3)), classes(), epochs=1)
    assert run.model[0].in_features == 4


def test_a_compiled_model_is_trained() -> None:
    trained = run_loop(torch.compile(network(), backend="eager"), classes(), epochs=2)
    assert trained.step > 0


def test_a_compiled_block_is_trained() -> None:
    model = network()
    model[0] = torch.compile(model[0], backend="eager")
    trained = run_loop(model, classes(), epochs=2)
    assert trained.step > 0


def test_a_compiled_model_that_does_not_fit_names_its_layer() -> None:
    with pytest.raises(ModelError, match=r"Linear at model\.0 expects 5 features"):
        make_task(torch.compile(network(features=5), backend="eager"), classes())


def test_a_step_that_counts_in_a_global_is_left_as_it_is() -> None:
    cell: dict[str, Any] = {"nn": nn, "n": 0}
    exec(
        "def count():\n    global n\n    n += 1\n"
        "def training_step(model, batch):\n    count()\n"
        "    return nn.functional.cross_entropy(model(batch[0]), batch[1])\n",
        cell,
    )
    task, _ = make_task(network(), classes(), training_step=cell["training_step"])
    assert any("training_step writes the global n" in note for note in task.notes)
    run = run_loop(network(), classes(), training_step=cell["training_step"], steps=3)
    assert cell["n"] >= run.step == 3
