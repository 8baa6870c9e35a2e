"""Which loss fits the targets, and what is said where none does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nbtrain.engine import losses
from nbtrain.engine.losses import Loss, from_cell, infer, named
from nbtrain.errors import ModelError, UnknownName

INTEGERS = torch.tensor([0, 1, 2, 1])
FLOATS = torch.tensor([0.5, -1.0, 2.0, 3.0])
BITS = torch.tensor([0.0, 1.0, 1.0, 0.0])


def right(loss: Loss, outputs: Tensor, targets: Tensor) -> float:
    measure = losses.accuracy(loss.kind)
    assert measure is not None
    return float(measure(*loss.scores(outputs, targets)))


@pytest.mark.parametrize(
    ("shape", "targets", "name"),
    [
        ((4, 3), INTEGERS, "cross-entropy"),
        ((4,), FLOATS, "mse"),
        ((4, 1), FLOATS, "mse"),
        ((4,), FLOATS.unsqueeze(1), "mse"),
        ((4, 2), torch.randn(4, 2), "mse"),
        ((4,), BITS, "bce"),
        ((4, 1), BITS, "bce"),
        ((4, 1), BITS.long(), "bce"),
        ((4,), BITS.long(), "bce"),
        ((4, 2), BITS.long(), "cross-entropy"),
        ((4, 1), BITS.bool(), "bce"),
        ((4, 5), torch.ones(4, 5), "bce"),
        ((4, 3, 7), torch.zeros(4, 7, dtype=torch.int64), "cross-entropy"),
        ((4, 7, 3), torch.zeros(4, 7, dtype=torch.int64), "cross-entropy"),
        ((4, 3, 5, 5), torch.zeros(4, 5, 5, dtype=torch.int64), "cross-entropy"),
        ((4, 3), INTEGERS.unsqueeze(1), "cross-entropy"),
        ((4, 3), INTEGERS.to(torch.int32), "cross-entropy"),
        ((4, 3), torch.tensor([0, 1, 2, -100]), "cross-entropy"),
    ],
)
def test_the_loss_follows_from_the_targets(
    shape: tuple[int, ...], targets: Tensor, name: str
) -> None:
    loss = infer(torch.randn(shape), targets, targets)
    assert loss.name == name
    assert loss.note.endswith(".")
    if targets.dtype == torch.int32:
        targets = targets.long()
    assert loss(torch.randn(shape), targets).ndim == 0


@pytest.mark.parametrize(
    ("shape", "targets", "words"),
    [
        ((4, 2), INTEGERS, ["classes 0 to 2", "2 outputs", "3 outputs"]),
        ((4, 1), INTEGERS, ["1 output", "3 outputs", "--loss mse"]),
        ((4,), INTEGERS, ["1 output", "--loss mse"]),
        ((4, 3), INTEGERS - 1, ["negative", "from 0"]),
        ((4, 1), torch.tensor([-1, 1, -1, 1]), ["negative"]),
        ((4, 3), torch.eye(3).long()[INTEGERS], ["one-hot", "argmax"]),
        ((4, 3), FLOATS, ["3 numbers for each sample", "a single number"]),
        ((4, 3), torch.randn(4, 2), ["3 numbers", "2 numbers"]),
        ((4, 10), BITS, ["10 numbers", "a single number"]),
        ((4, 2, 2), torch.randn(4, 3), ["shape (2, 2)", "3 numbers"]),
    ],
)
def test_what_does_not_fit_is_said_in_one_message(
    shape: tuple[int, ...], targets: Tensor, words: list[str]
) -> None:
    with pytest.raises(ModelError) as raised:
        infer(torch.randn(shape), targets, targets)
    assert all(word in str(raised.value) for word in words), raised.value


@pytest.mark.parametrize(
    ("outputs", "targets"), [((torch.zeros(2), torch.zeros(2)), FLOATS), (FLOATS, ["a", "b"])]
)
def test_what_is_no_tensor_needs_a_loss_of_the_users(outputs: Any, targets: Any) -> None:
    with pytest.raises(ModelError, match="training_step"):
        infer(outputs, targets, None)


def test_classes_are_counted_over_all_targets() -> None:
    with pytest.raises(ModelError, match="classes 0 to 9"):
        infer(torch.randn(2, 5), torch.tensor([0, 1]), torch.arange(10))


@pytest.mark.parametrize(
    ("name", "shape", "targets"),
    [
        ("cross-entropy", (4, 3), INTEGERS),
        ("nll", (4, 3), INTEGERS),
        ("mse", (4, 1), FLOATS),
        ("mae", (4,), FLOATS),
        ("huber", (4,), FLOATS),
        ("bce", (4,), BITS),
    ],
)
def test_losses_by_name(name: str, shape: tuple[int, ...], targets: Tensor) -> None:
    loss = named(name, torch.randn(shape), targets)
    assert "as asked" in loss.note
    assert loss(torch.randn(shape), targets).ndim == 0


@pytest.mark.parametrize(
    ("name", "shape", "targets", "word"),
    [
        ("cross-entropy", (4, 3), FLOATS, "integer targets"),
        ("mse", (4, 3), FLOATS, "3 numbers"),
        ("nll", (4, 2), INTEGERS, "3 outputs"),
    ],
)
def test_a_named_loss_that_does_not_fit(
    name: str, shape: tuple[int, ...], targets: Tensor, word: str
) -> None:
    with pytest.raises(ModelError, match=word):
        named(name, torch.randn(shape), targets)


def test_a_loss_of_the_cells() -> None:
    outputs = torch.randn(4, 3)
    assert from_cell("mae", FLOATS, FLOATS).name == "L1Loss"
    assert from_cell(nn.CrossEntropyLoss(label_smoothing=0.1), outputs, INTEGERS).smooths
    assert from_cell(F.cross_entropy, outputs, INTEGERS).kind == "classes"
    assert from_cell(F.binary_cross_entropy_with_logits, BITS, BITS).kind == "binary"
    assert from_cell(lambda o, t: o.sum(), outputs, INTEGERS).kind == "values"
    with pytest.raises(ModelError, match="integer targets"):
        from_cell(nn.CrossEntropyLoss(), outputs, FLOATS)
    with pytest.raises(ModelError, match="3 numbers"):
        from_cell(nn.MSELoss(), outputs, FLOATS)


@pytest.mark.parametrize(
    ("given", "word"),
    [(nn.MSELoss, "the class MSELoss"), (3, "a int"), ("mean", "cross-entropy, bce")],
)
def test_what_is_no_loss_is_refused(given: Any, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        from_cell(given, FLOATS, FLOATS)


def test_a_column_against_a_row_is_not_broadcast() -> None:
    loss = infer(FLOATS.unsqueeze(1), FLOATS, None)
    assert float(loss(FLOATS.unsqueeze(1), FLOATS)) == 0.0
    assert float(loss(FLOATS, FLOATS.unsqueeze(1))) == 0.0


def test_a_function_of_the_users_gets_what_the_model_gives() -> None:
    shapes: list[tuple[int, ...]] = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        shapes.append((tuple(outputs.shape), tuple(targets.shape)))
        return outputs.mean()

    from_cell(loss, None, None)(torch.zeros(4, 1), torch.zeros(4))
    assert shapes == [((4, 1), (4,))]


def test_accuracy_of_classes_in_every_shape() -> None:
    loss = infer(torch.randn(4, 3), INTEGERS, INTEGERS)
    outputs = F.one_hot(INTEGERS, 3).float()
    assert right(loss, outputs, INTEGERS) == 1.0
    assert right(loss, outputs, INTEGERS.unsqueeze(1)) == 1.0
    assert right(loss, outputs.roll(1, 1), INTEGERS) == 0.0
    pictures = torch.zeros(2, 3, 5, 5)
    pictures[:, 1] = 1
    assert right(loss, pictures, torch.ones(2, 5, 5, dtype=torch.int64)) == 1.0
    sequences = torch.zeros(2, 7, 3)
    sequences[..., 2] = 1
    assert right(loss, sequences, torch.full((2, 7), 2)) == 1.0
    assert right(loss, outputs, outputs) == 1.0, "class probabilities"


def test_accuracy_of_logits_and_of_probabilities() -> None:
    logits = torch.tensor([-1.0, 2.0, 0.3, -0.2])
    assert right(infer(logits, BITS, BITS), logits, BITS) == 1.0
    probabilities = logits.sigmoid()
    assert right(from_cell(nn.BCELoss(), probabilities, BITS), probabilities, BITS) == 1.0
    own = from_cell(F.binary_cross_entropy, probabilities, BITS)
    assert right(own, probabilities, BITS) == 1.0


def test_an_unknown_metric_names_the_nearest() -> None:
    error = losses.unknown_metric("val_los", ["loss", "val_loss"])
    assert isinstance(error, UnknownName)
    assert error.nearest == "val_loss"
