"""Optimizers by name and from the cell, frozen and shared parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR, OneCycleLR, StepLR

from nbtrain import messages as m
from nbtrain import options
from nbtrain.engine.task import bind
from nbtrain.errors import ModelError, UnknownName, UsageError
from tests.engine.harness import classes, make_task, network, run_loop, same, values, weights

NAMES = options.OPTIONS["optimizer"].words


def go(model: Any = None, commands: Any = (), **settings: Any) -> Any:
    settings = {"epochs": 2, "batch_size": 8, "val_split": 0.0, **settings}
    return run_loop(network() if model is None else model, classes(40), commands, **settings)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_by_name_trains_and_can_be_steered(name: str) -> None:
    commands: list[Any] = [
        (2, m.Set(knob="lr", value=0.01)),
        (3, m.Set(knob="momentum", value=0.5)),
        (4, m.Set(knob="weight_decay", value=0.1)),
        (6, m.Set(knob="momentum", value=0.8)),
    ]
    commands.append((7, m.Undo(action=commands[-1][1].id)))
    run = go(commands=commands, optimizer=name)
    assert run.training.progress.updates == 10
    group = run.training.optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(0.01)
    assert group["weight_decay"] == 0.1
    if name in ("adagrad", "adadelta"):
        assert "has no momentum" in run.reason(commands[1][1])
    else:
        assert group.get("momentum", group.get("betas", (0,))[0]) == 0.5
    assert not same(weights(run.model), weights(network()))


def test_the_names_are_those_of_pytorch() -> None:
    kinds = {name: type(go(optimizer=name, steps=1).training.optimizer) for name in NAMES}
    assert kinds["adamw"] is torch.optim.AdamW
    assert kinds["nesterov"] is kinds["sgd"] is torch.optim.SGD
    nesterov = go(optimizer="nesterov", steps=1).training.optimizer.param_groups[0]
    assert nesterov["nesterov"]
    assert nesterov["momentum"] == 0.9


def test_nesterov_needs_some_momentum() -> None:
    command = m.Set(knob="momentum", value=0.0)
    assert "above 0" in go(commands=[(1, command)], optimizer="nesterov").reason(command)


def test_typed_settings_reach_the_optimizer() -> None:
    group = go(optimizer="sgd", lr=0.2, momentum=0.7, weight_decay=0.3).training.optimizer
    group = group.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.2, 0.7, 0.3)
    adam = go(momentum=0.5).training.optimizer.param_groups[0]
    assert adam["betas"] == (0.5, 0.999)


def test_an_optimizer_of_the_cells() -> None:
    model = network()
    optimizer = torch.optim.SGD(
        [
            {"params": model[0].parameters(), "weight_decay": 0.2},
            {"params": model[3].parameters(), "lr": 0.01, "weight_decay": 0.0},
        ],
        lr=0.1,
    )
    command = m.Set(knob="weight_decay", value=0.4)
    run = go(model, [(2, command)], optimizer=optimizer, lr=0.5)
    assert run.training.optimizer is optimizer
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.5, 0.05])
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.4, 0.0]
    assert run.answer(command).old == 0.2


def test_a_function_that_makes_one() -> None:
    run = go(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.3))
    assert run.history["lr"][0] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (lambda: torch.optim.SGD(network().parameters()), "another model"),
        (lambda: 3, "is a int"),
    ],
)
def test_what_does_not_train_this_model_is_refused(given: Any, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        go(optimizer=given())


def test_a_function_that_makes_none_is_refused() -> None:
    with pytest.raises(ModelError, match="returned a int"):
        go(optimizer=lambda parameters: 3)


def test_lbfgs_is_refused() -> None:
    model = network()
    for given in (
        torch.optim.LBFGS(model.parameters()),
        torch.optim.LBFGS,
        lambda parameters: torch.optim.LBFGS(parameters),
    ):
        with pytest.raises(ModelError, match="LBFGS evaluates the loss several times"):
            make_task(model, classes(40), optimizer=given)


class Needy(torch.optim.SGD):
    """An optimizer whose rate has no default."""

    def __init__(self, parameters: Any, rate: float, *, decay: float) -> None:
        super().__init__(parameters, lr=rate, weight_decay=decay)


@pytest.mark.parametrize(
    ("name", "given", "advice"),
    [
        ("optimizer", Needy, r"lambda parameters: Needy\(parameters, rate=…, decay=…\)"),
        ("scheduler", StepLR, r"lambda optimizer: StepLR\(optimizer, step_size=…\)"),
        ("scheduler", OneCycleLR, r"lambda optimizer: OneCycleLR\(optimizer, max_lr=…\)"),
        ("optimizer", lambda: None, "with the parameters alone"),
    ],
)
def test_a_class_that_needs_more_is_refused_at_once(name: str, given: Any, advice: str) -> None:
    with pytest.raises(ModelError, match=advice):
        make_task(network(), classes(40), **{name: given})


def test_a_class_that_needs_no_more_is_taken() -> None:
    run = go(optimizer=torch.optim.RMSprop, scheduler=LinearLR)
    assert isinstance(run.training.optimizer, torch.optim.RMSprop)


def test_a_word_in_the_cell_is_taken() -> None:
    given = {"model": network(), "data": classes(40), "optimizer": "sgd", "scheduler": "cosine"}
    task = bind("test", given, options.defaults(), frozenset())
    assert (task.options["optimizer"], task.options["scheduler"]) == ("sgd", "cosine")
    assert task.optimizer is task.scheduler is None
    assert not any("Adam" in note for note in task.notes)
    with pytest.raises(UnknownName, match="sgd"):
        bind("test", {**given, "optimizer": "sdg"}, options.defaults(), frozenset())
    with pytest.raises(UsageError, match="both an `optimizer` in the cell and an --optimizer"):
        bind("test", given, {**options.defaults(), "optimizer": "adam"}, frozenset({"optimizer"}))


def test_nesterov_without_momentum_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match="--optimizer sgd"):
        make_task(network(), classes(40), optimizer="nesterov", momentum=0.0)


@pytest.mark.parametrize("given", [True, False])
def test_a_model_with_everything_frozen_is_refused(given: bool) -> None:
    model = network().requires_grad_(False)
    settings = {"optimizer": torch.optim.SGD(model.parameters())} if given else {}
    with pytest.raises(ModelError, match="no parameter to train"):
        go(model, **settings)


@pytest.mark.parametrize("name", ["adagrad", "adadelta"])
def test_momentum_that_an_optimizer_has_not_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="no momentum"):
        go(optimizer=name, momentum=0.5)
    model = network()
    with pytest.raises(ModelError, match="no momentum"):
        go(model, optimizer=torch.optim.Adagrad(model.parameters()), momentum=0.5)


def test_frozen_parameters_stay() -> None:
    model = network()
    model[0].requires_grad_(False)
    before = weights(model)
    run = go(model, [(2, m.Set(knob="l2", value=0.1))], weight_decay=0.1)
    after = weights(run.model)
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["3.weight"], after["3.weight"])


def test_penalties_and_clipping_are_about_what_the_optimizer_trains() -> None:
    model = network()
    run = go(
        model,
        optimizer=torch.optim.SGD(model[3].parameters(), lr=0.1),
        l2=0.5,
        clip_grad_norm=0.5,
    )
    assert torch.equal(run.model[0].weight, network()[0].weight)
    assert {id(p) for p in run.training.parameters} == {id(p) for p in model[3].parameters()}


class Tied(nn.Module):
    """Encoder and decoder share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(4, 4)
        self.decode = nn.Linear(4, 4)
        self.decode.weight = self.encode.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(x))


def test_shared_parameters_are_trained_once_and_stay_shared() -> None:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model, plain = Tied(), None
        torch.manual_seed(0)
        plain = Tied()
    X, _ = values(40)
    run = run_loop(
        model, (X, X), epochs=2, batch_size="full", val_split=0.0, optimizer="sgd", lr=0.1
    )
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.mse_loss(plain(X), X).backward()
        optimizer.step()
    assert model.decode.weight is model.encode.weight
    assert run.of(m.Started)[0].parameters == 16 + 8
    torch.testing.assert_close(model.encode.weight, plain.encode.weight)


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("extra", [{}, {"weight_decay": 0.1}])
def test_the_update_has_the_bits_of_pytorchs(name: str, extra: dict[str, float]) -> None:
    run = go(epochs=5, batch_size="full", optimizer=name, lr=0.01, **extra)
    model = network()
    make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    optimizer = make(model.parameters(), lr=0.01, fused=True, **extra)
    order = [run.training.task.data.train.epoch(e, batch_size=40) for e in range(5)]
    for batches in order:
        ((x, t), _), *_ = list(batches)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), t).backward()
        optimizer.step()
    assert same(weights(run.model), weights(model))
