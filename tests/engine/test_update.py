"""The quick update is the optimizer's own, to the bit."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from nbtrain import messages as m
from nbtrain.engine.ownership import check_free
from nbtrain.engine.update import Trained, update_of
from nbtrain.errors import ModelError
from tests.engine.harness import classes, run_loop


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def adam(model: nn.Module) -> Optimizer:
    return Adam(model.parameters(), lr=1e-2, fused=True)


def adamw(model: nn.Module) -> Optimizer:
    first, last = list(model.parameters())[:2], list(model.parameters())[2:]
    groups = [{"params": first, "lr": 1e-2}, {"params": last, "weight_decay": 0.3}]
    return AdamW(groups, lr=3e-2, fused=True)


def decayed(model: nn.Module) -> Optimizer:
    return Adam(model.parameters(), lr=1, betas=(0.5, 0.7), weight_decay=0.1, fused=True)


def unfused(model: nn.Module) -> Optimizer:
    return Adam(model.parameters(), lr=1e-2)


def sgd(model: nn.Module) -> Optimizer:
    return SGD(model.parameters(), lr=1e-2, momentum=0.9, fused=True)


class Pair:
    """The same network twice: one updated by the optimizer, one by `update_of`."""

    def __init__(self, make: Callable[[nn.Module], Optimizer]) -> None:
        self.models = [network(), network()]
        self.optimizers = [make(model) for model in self.models]
        self.updates = [self.optimizers[0].step, update_of(self.optimizers[1])]
        self.trained = Trained(self.optimizers[1], self.models[1])
        self.batches = torch.Generator().manual_seed(1)

    def step(self, count: int = 5) -> None:
        for _ in range(count):
            if self.trained.look():
                self.updates[1] = update_of(self.optimizers[1])
            inputs = torch.randn(16, 4, generator=self.batches)
            for model, optimizer, update in zip(
                self.models, self.optimizers, self.updates, strict=True
            ):
                optimizer.zero_grad()
                model(inputs).square().mean().backward()
                update()

    def each(self, change: Callable[[Any, Any], object]) -> None:
        for model, optimizer in zip(self.models, self.optimizers, strict=True):
            change(model, optimizer)

    def check(self) -> None:
        one, other = self.models
        for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(mine, theirs)
        states = [optimizer.state_dict()["state"] for optimizer in self.optimizers]
        for index in states[0]:
            for key, value in states[0][index].items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][index][key]))


@pytest.mark.parametrize("make", [adam, adamw, decayed, unfused, sgd])
def test_equals_the_optimizers_own_step(make: Callable[[nn.Module], Optimizer]) -> None:
    pair = Pair(make)
    pair.step(20)
    pair.check()


def test_follows_settings_that_change() -> None:
    def slower(_: nn.Module, optimizer: Any) -> None:
        for group in optimizer.param_groups:
            group.update(lr=1e-4, betas=(0.8, 0.9), weight_decay=0.5)

    pair = Pair(adam)
    pair.step()
    pair.each(slower)
    pair.step()
    pair.check()


def test_follows_a_loaded_state() -> None:
    pair = Pair(adamw)
    pair.step()
    kept = [copy.deepcopy(optimizer.state_dict()) for optimizer in pair.optimizers]
    pair.step()
    for optimizer, state in zip(pair.optimizers, kept, strict=True):
        optimizer.load_state_dict(state)
    pair.step()
    pair.check()


def test_leaves_out_a_layer_that_is_frozen_and_takes_it_back() -> None:
    pair = Pair(adam)
    pair.step()
    pair.each(lambda model, _: model[0].requires_grad_(False))
    pair.step()
    pair.each(lambda model, _: model[0].requires_grad_(True))
    pair.step()
    pair.check()


def test_calls_the_users_hooks() -> None:
    seen: list[str] = []
    pair = Pair(adam)
    pair.step()
    pair.optimizers[1].register_step_post_hook(lambda *_: seen.append("hook"))
    pair.step(3)
    assert seen == ["hook"] * 3
    pair.check()


def test_updates_parameters_that_join_a_group() -> None:
    def join(model: Any, optimizer: Any) -> None:
        optimizer.param_groups[0]["params"].extend(model[2].parameters())

    pair = Pair(lambda model: Adam(model[0].parameters(), lr=1e-2, fused=True))  # type: ignore[index]
    pair.step()
    pair.each(join)
    before = pair.models[1][2].weight.detach().clone()
    pair.step()
    assert not torch.equal(before, pair.models[1][2].weight)
    pair.check()


@pytest.mark.parametrize("after", [0, 5])
def test_calls_a_step_that_somebody_put_in_the_place_of_adams(
    after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    pair = Pair(adam)
    pair.step(after)
    own = Adam.step

    @functools.wraps(own)
    def step(self: Any, *args: Any) -> object:
        seen.append(self)
        return own(self, *args)

    monkeypatch.setattr(Adam, "step", step)
    pair.step(3)
    assert seen.count(pair.optimizers[1]) == 3
    pair.check()


def test_a_pytorch_without_the_kernel_keeps_its_own_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "_fused_adam_")
    optimizer = adam(network())
    assert update_of(optimizer) == optimizer.step


def test_what_joins_or_takes_the_place_of_another_is_noticed_once() -> None:
    model: Any = network()
    optimizer = Adam(model[0].parameters())
    trained = Trained(optimizer, model)
    assert not trained.look()
    optimizer.add_param_group({"params": model[2].parameters()})
    assert [trained.look(), trained.look()] == [True, False]
    optimizer.param_groups[0]["params"][1] = other = nn.Parameter(torch.zeros(8))
    assert [trained.look(), trained.look()] == [True, False]
    assert trained.parameters[1] is other
    del optimizer.param_groups[1]
    assert [trained.look(), trained.look()] == [True, False]


def test_clearing_lets_go_of_every_gradient() -> None:
    model, scale = network(), nn.Parameter(torch.ones(1))
    optimizer = Adam([*list(model.parameters())[:2], scale])
    (model(torch.ones(2, 4)) * scale).sum().backward()
    Trained(optimizer, model).clear()
    assert [w.grad for w in (*model.parameters(), scale)] == [None] * 5


def test_a_step_that_met_others_weights_says_so() -> None:
    entered, released = threading.Event(), threading.Event()
    model, threads = network(), list[threading.Thread]()

    class Around(nn.Module):
        """A module of another cell that the model is a part of."""

        def __init__(self) -> None:
            super().__init__()
            self.part = model

        def forward(self) -> None:
            entered.set()
            released.wait(20)

    def training_step(model: Any, batch: Any) -> Any:
        if not threads:
            zeros = {f"part.{name}": torch.zeros_like(w) for name, w in model.named_parameters()}
            target = functools.partial(torch.func.functional_call, Around(), zeros, ())
            threads.append(threading.Thread(target=target))
            threads[0].start()
            assert entered.wait(20)
        return model(batch[0]).square().mean()

    try:
        with pytest.raises(ModelError, match=r"functional_call.*depend on any weight"):
            run_loop(model, classes(), training_step=training_step, epochs=1)
    finally:
        released.set()
        threads[0].join(20)


class Thawed(nn.Module):
    """A network whose first layer joins the training at the third step."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(2)
            self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        self.optimizer = Adam(self.head.parameters(), lr=1e-2, fused=True)
        self.settings, self.steps = settings, 0

    def forward(self, x: Any) -> Any:
        if self.training:
            self.steps += 1
            if self.steps == 3:
                self.optimizer.add_param_group({"params": self.body.parameters(), **self.settings})
        return self.head(torch.tanh(self.body(x)))


def thaw(commands: Any = (), settings: Any = None, **options: Any) -> tuple[Thawed, Any]:
    model = Thawed(**(settings or {}))
    options = {"batch_size": 8, "val_split": 0.0, "steps": 8, **options}
    return model, run_loop(model, classes(), commands, optimizer=model.optimizer, **options)


def test_parameters_that_join_train_as_in_a_plain_loop() -> None:
    model, run = thaw(clip_grad_norm=0.5, l2=0.1)
    other = Thawed()
    for batch, _ in run.training.task.data.train.epoch(0, batch_size=8):
        loss = nn.functional.cross_entropy(other(batch[0]), batch[1])
        weights = [w for group in other.optimizer.param_groups for w in group["params"]]
        loss = loss + 0.1 * sum(w.square().sum() for w in weights)
        other.optimizer.zero_grad()
        other.body.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 0.5)
        other.optimizer.step()
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    assert not torch.equal(model.body.weight, Thawed().body.weight)


def test_groups_that_join_follow_the_knobs() -> None:
    commands = [(4, m.Set(knob="lr", value=4e-2)), (5, m.Set(knob="weight_decay", value=0.2))]
    commands.append((6, m.Set(knob="momentum", value=0.5)))
    model, run = thaw(commands, {"lr": 1e-3, "weight_decay": 0.1})
    assert not run.of(m.Rejected)
    first, joined = model.optimizer.param_groups
    assert (first["lr"], joined["lr"]) == (4e-2, pytest.approx(4e-3))
    assert joined["weight_decay"] == 0.2
    assert joined["betas"] == (0.5, 0.999)


def test_groups_that_join_follow_the_schedule() -> None:
    model, run = thaw(settings={"lr": 1e-3}, scheduler="linear", steps=8)
    first, joined = model.optimizer.param_groups
    assert first["lr"] < 1e-2
    rates = run.history["lr"]
    assert joined["lr"] == pytest.approx(1e-3 * first["lr"] / rates[2], rel=1e-4)


def test_a_group_that_joins_in_a_way_of_its_own_keeps_it() -> None:
    pair = Pair(lambda model: Adam(model[0].parameters(), lr=1e-2, fused=True))
    pair.step()
    pair.each(
        lambda model, optimizer: optimizer.add_param_group(
            {"params": model[2].parameters(), "amsgrad": True}
        )
    )
    pair.step()
    pair.check()


def test_parameters_that_join_are_the_runs_own() -> None:
    seen: list[str] = []

    class Growing(Thawed):
        def forward(self, x: Any) -> Any:
            out = super().forward(x)
            if self.training and self.steps == 3:
                self.extra = nn.Linear(3, 3)
                self.optimizer.add_param_group({"params": self.extra.parameters()})
            if self.steps == 5:
                with pytest.raises(ModelError, match="training this model"):
                    check_free(self.extra)
                seen.append(type(copy.deepcopy(self.extra)).__name__)
            return self.extra(out) if self.steps > 3 else out

    model = Growing()
    run_loop(model, classes(), optimizer=model.optimizer, batch_size=8, epochs=1, val_split=0.0)
    assert seen == ["Linear"]
    assert type(model.extra) is nn.Linear
    check_free(model)
