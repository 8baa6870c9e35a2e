"""Whose model is it: the run's while it trains, the user's in the end."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from nbtrain.engine.draws import RunDropout
from nbtrain.engine.ownership import Ownership, check_free, plain_copy
from nbtrain.errors import ModelError
from tests.engine.harness import network, same, weights


class Own(nn.Module):
    """A model of the user's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.drop = nn.Dropout(0.5)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.drop(self.layer(x))


@contextmanager
def held(model: nn.Module, owner: str = "digits") -> Iterator[Ownership]:
    ownership = Ownership(model, owner, plain_copy)
    ownership.take()
    try:
        yield ownership
    finally:
        ownership.release()


def elsewhere(function: Callable[[], Any]) -> Any:
    """``function()`` on another thread."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(20)
    assert results, "the other thread raised"
    return results[0]


def test_a_call_from_elsewhere_works_on_a_copy_and_says_so() -> None:
    model = Own()
    said: list[str] = []
    with held(model) as ownership, ownership.here():
        ownership.notify = said.append
        answer = elsewhere(lambda: model(torch.ones(1, 4)))
        assert model.calls == 0
        assert torch.equal(answer, model.layer(torch.ones(1, 4))), "without dropout"
        model(torch.ones(1, 4))
        assert model.calls == 1
    assert len(said) == 1
    assert "digits.model" in said[0]


@pytest.mark.parametrize(
    "convert",
    [
        lambda model: model.double(),
        lambda model: model.half(),
        lambda model: model.to("meta"),
        lambda model: model.to(torch.bfloat16),
        lambda model: model.encoder.double(),
        lambda model: model.encoder[1].double(),
        lambda model: nn.Sequential(model).double(),
    ],
)
def test_elsewhere_its_weights_are_not_converted(convert: Callable[[Normed], Any]) -> None:
    model = Normed()
    before = weights(model)

    def try_it() -> str:
        with pytest.raises(ModelError) as caught:
            convert(model)
        return str(caught.value)

    with held(model) as ownership, ownership.here():
        text = elsewhere(try_it)
        assert "digits.stop()" in text and "digits.model" in text
        assert same(weights(model), before)
        assert elsewhere(lambda: model.float().to("cpu")) is model, "where they are already"
        model.double()
        assert model.head.weight.dtype == torch.float64, "the run's own thread may"
    assert elsewhere(lambda: model.float()).head.weight.dtype == torch.float32


@pytest.mark.parametrize(
    "change",
    [
        lambda model, state: model.load_state_dict(state),
        lambda model, state: model.load_state_dict(state, assign=True),
        lambda model, state: model.head.load_state_dict({"weight": X[:2, :3], "bias": X[0, :2]}),
        lambda model, state: nn.ModuleDict({"a": model}).load_state_dict(
            {"a." + name: value for name, value in state.items()}
        ),
        lambda model, state: model.zero_grad(),
        lambda model, state: model.encoder.requires_grad_(False),
        lambda model, state: model.share_memory(),
    ],
)
def test_elsewhere_a_step_under_way_is_not_changed(change: Callable[..., Any]) -> None:
    model = Normed()
    other = {name: value + 1 for name, value in weights(model).items()}
    model(X).sum().backward()
    before = weights(model)

    def try_it() -> str:
        with pytest.raises(ModelError) as caught:
            change(model, other)
        return str(caught.value)

    with held(model) as ownership, ownership.here():
        text = elsewhere(try_it)
        assert "digits.stop()" in text and "digits.model" in text
        assert same(weights(model), before)
        assert all(w.grad is not None and w.requires_grad for w in model.parameters())
        assert not any(w.is_shared() for w in model.parameters())
        change(model, other)  # the run's own thread may
    elsewhere(lambda: model.load_state_dict(other))
    assert same(weights(model), other)


def test_elsewhere_no_tool_puts_other_weights_in_its_place() -> None:
    model, said = Normed(), list[str]()
    zeros = {name: torch.zeros_like(value) for name, value in model.named_parameters()}

    def functional() -> str:
        with pytest.raises(ModelError) as caught:
            torch.func.functional_call(model, zeros, X)
        return str(caught.value)

    class Step(nn.Module):
        """A step of the run's own that puts others there while a cell asks."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Any:
            return elsewhere(lambda: model(x))

    with held(model) as ownership, ownership.here():
        ownership.notify = said.append
        text = elsewhere(functional)
        assert "digits.stop()" in text and "digits.model" in text and not said
        assert all(isinstance(w, nn.Parameter) for w in model.parameters())
        assert not torch.func.functional_call(model, zeros, X).any(), "the run's own thread may"
        others = {f"model.{name}": value for name, value in zeros.items()}
        torch.func.functional_call(Step(), others, X)
        assert len(said) == 1


class Normed(nn.Module):
    """An encoder with statistics, and methods of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        self.head = nn.Linear(3, 2)
        self.scale = 1.0

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encode(x))

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


LOOKS: dict[str, Callable[[Normed], Any]] = {
    "call": lambda model: model(X),
    "forward": lambda model: model.forward(X),
    "method": lambda model: model.encode(X),
    "layer": lambda model: model.encoder(X),
    "layer of a layer": lambda model: model.encoder[1](X[:, :3]),
    "layer of a slice": lambda model: model.encoder[:1](X),
    "state_dict": lambda model: model.state_dict()["encoder.1.running_mean"].add_(1.0),
    "state_dict of a layer": lambda model: model.encoder.state_dict()["1.running_var"].add_(1.0),
    "deepcopy": lambda model: copy.deepcopy(model)(X),
    "copy": lambda model: copy.copy(model)(X),
    "pickle": lambda model: pickle.loads(pickle.dumps(model.encoder))(X),
}
X = torch.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize("look", LOOKS)
def test_nothing_from_elsewhere_reaches_the_model_in_training(look: str) -> None:
    model, copied, said = Normed(), list[nn.Module](), list[str]()
    before = weights(model)

    def snapshot(module: nn.Module) -> nn.Module:
        copied.append(plain_copy(module))
        return copied[-1]

    with held(model) as ownership, ownership.here():
        ownership.snapshot, ownership.notify = snapshot, said.append
        elsewhere(lambda: LOOKS[look](model))
        assert same(weights(model), before)
        assert len(copied) == 1, "all of it is as of one step boundary"
        quiet = look in ("state_dict", "state_dict of a layer", "deepcopy", "copy", "pickle")
        assert len(said) == (0 if quiet else 1)
        assert all("digits.model" in text for text in said)
        assert model.encode(X).requires_grad
        assert not same(weights(model), before), "the trainer's own calls do reach it"
        assert model.state_dict()["head.bias"].data_ptr() == model.head.bias.data_ptr()
        assert len(copied) == 1


def test_what_only_tells_of_the_model_asks_nobody() -> None:
    model = Normed()
    with held(model) as ownership:
        ownership.snapshot = ownership.notify = pytest.fail
        assert elsewhere(lambda: repr(model)) == repr(Normed())
        model.scale = 2.0
        assert "scale=2.0" in repr(model)


def test_layers_that_a_step_takes_apart_are_ordinary() -> None:
    model = network()
    with held(model) as ownership, ownership.here():
        part = model[:2]
        assert type(part) is nn.Sequential
    assert type(part[0]) is nn.Linear


def test_a_layer_that_leaves_the_model_is_the_users_again_in_the_end() -> None:
    model = network()
    first = model[0]
    with held(model) as ownership, ownership.here():
        model[0] = nn.Linear(4, 8)
    assert type(first) is type(model[0]) is nn.Linear


def test_a_class_that_somebody_puts_over_a_layer_stays() -> None:
    model = network()
    with held(model) as ownership, ownership.here():
        nn.utils.parametrizations.weight_norm(model[0])
        model(torch.ones(2, 4))
    assert nn.utils.parametrize.is_parametrized(model[0])
    assert model(torch.ones(2, 4)).shape == (2, 3)


def test_a_layer_without_a_state_may_be_in_two_live_runs() -> None:
    drop = nn.Dropout(0.5)
    a, b = nn.Sequential(nn.Linear(2, 2), drop), nn.Sequential(nn.Linear(2, 2), drop)
    with held(b, "second") as ownership:
        with held(a, "first"):
            assert type(drop) is RunDropout
        assert type(drop) is RunDropout
        with ownership.here():
            b(torch.ones(1, 2))
    assert type(drop) is nn.Dropout


def test_statistics_are_not_shared_by_two_live_runs() -> None:
    norm = nn.BatchNorm1d(2, affine=False)
    a, b = nn.Sequential(nn.Linear(2, 2), norm), nn.Sequential(nn.Linear(2, 2), norm)
    with held(a, "first"), pytest.raises(ModelError, match="'first'"):
        check_free(b)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are not forked here")
def test_a_forked_worker_calls_the_model_itself() -> None:
    model = network()

    class Encoded(Dataset[Tensor]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Tensor:
            check_free(model)
            assert type(model[0]) is nn.Linear
            with torch.no_grad():
                return model[0](torch.ones(4))  # type: ignore[no-any-return]

    def nobody(module: nn.Module) -> nn.Module:
        raise AssertionError("asked for a copy in a worker")

    with held(model) as ownership:
        ownership.snapshot = nobody
        loader = DataLoader(
            Encoded(), batch_size=2, num_workers=1, multiprocessing_context="fork", timeout=60
        )
        assert next(iter(loader)).shape == (2, 8)


def test_switching_the_mode_from_elsewhere_is_left_to_the_run() -> None:
    model = Own()
    said: list[str] = []
    with held(model) as ownership, ownership.here():
        ownership.notify = said.append
        assert elsewhere(model.eval) is model
        assert model.training
        assert model.drop.training
        model.eval()
        assert not model.training
    assert len(said) == 1
    assert "digits" in said[0]


def test_the_class_is_the_original_before_and_after() -> None:
    model = Own()
    with held(model):
        assert isinstance(model, Own)
        assert type(model).__name__ == "Own"
        assert repr(model) == repr(Own())
    assert type(model) is Own
    assert type(model.drop) is nn.Dropout


def test_a_class_is_let_go_with_its_models() -> None:
    class Local(Own):
        pass

    seen = weakref.ref(Local)
    model: Any = Local()
    with held(model) as ownership, ownership.here():
        model(torch.ones(1, 4))
    del Local, model, ownership
    gc.collect()  # ours, which was the last to hold it
    gc.collect()
    assert seen() is None


def test_releasing_twice_does_nothing_more() -> None:
    model = Own()
    with held(model) as ownership:
        ownership.release()
    assert type(model) is Own


@pytest.mark.parametrize("make", [Own, lambda: network(0.3), lambda: nn.Dropout(0.1)])
def test_copies_and_pickles_of_a_live_model_are_the_users_own(make: Any) -> None:
    model = make()
    stored = io.BytesIO()
    with held(model):
        others = [copy.deepcopy(model), copy.copy(model), plain_copy(model)]
        others.append(pickle.loads(pickle.dumps(model)))
        torch.save(model, stored)
    stored.seek(0)
    others.append(torch.load(stored, weights_only=False))
    for other in others:
        assert [type(a) for a in other.modules()] == [type(b) for b in model.modules()]
        assert not any(isinstance(module, RunDropout) for module in other.modules())
        assert same(weights(other), weights(model))


class Stateful(nn.Module):
    """Pickles in a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.cache = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "cache"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.cache = threading.Lock()


class Reduced(Stateful):
    """Makes itself anew."""

    def __reduce__(self) -> Any:
        return type(self), ()


def make(cls: type[nn.Module]) -> nn.Module:
    return cls()


class Made(Stateful):
    """Has a function make it."""

    def __reduce__(self) -> Any:
        return make, (type(self),)


class Copied(Stateful):
    """Copies itself."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        other.cache = threading.Lock()
        return other


@pytest.mark.parametrize("where", [elsewhere, lambda function: function()])
@pytest.mark.parametrize("cls", [Stateful, Reduced, Made])
def test_a_pickle_of_a_live_model_is_of_the_users_class(
    cls: type[nn.Module], where: Callable[[Callable[[], Any]], Any]
) -> None:
    model = cls()
    with held(model) as ownership, ownership.here():
        stored = where(lambda: pickle.dumps(model))
    assert type(pickle.loads(stored)) is cls


@pytest.mark.parametrize("cls", [Stateful, Reduced, Made, Copied])
def test_a_pickle_of_the_users_own_making_is_respected(cls: type[nn.Module]) -> None:
    model = cls()
    with held(model):
        other = plain_copy(model)
        assert type(copy.deepcopy(model).layer) is nn.Linear
    assert type(other) is cls
    assert other.cache is not model.cache


def test_two_live_runs_never_share_parameters() -> None:
    shared = nn.Linear(2, 2)
    a, b = nn.Sequential(shared), nn.Sequential(nn.ReLU(), shared)
    with held(a, "first"):
        with pytest.raises(ModelError) as raised:
            Ownership(b, "second", plain_copy).take()
        assert "'first' is training this model" in str(raised.value)
        assert "copy.deepcopy(model)" in str(raised.value)
        assert type(b) is nn.Sequential, "nothing was taken"
    with held(b, "second"):
        pass


def test_a_copy_has_no_gradients_and_its_own_memory() -> None:
    model = Own()
    model(torch.ones(1, 4)).sum().backward()
    other = plain_copy(model)
    assert other.layer.weight.grad is None
    assert model.layer.weight.grad is not None
    assert other.layer.weight.data_ptr() != model.layer.weight.data_ptr()


def test_shared_weights_stay_shared_in_a_copy() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    other = plain_copy(model)
    assert other[1].weight is other[0].weight


def test_tensors_with_a_graph_can_be_copied() -> None:
    class Keeps(Own):
        def forward(self, x: Tensor) -> Tensor:
            self.last = super().forward(x)
            self.state = (self.last, [self.last.sum()])
            self.named = {"last": self.last}
            return self.last

    model = Keeps()
    model(torch.ones(1, 4))
    other = plain_copy(model)
    assert torch.equal(other.last, model.last)
    assert not other.state[1][0].requires_grad


def test_a_run_of_a_compiled_or_scripted_model_is_left_unguarded() -> None:
    with pytest.warns(DeprecationWarning, match="jit"):
        scripted = torch.jit.script(nn.Linear(2, 2))
    kind = type(scripted)
    with held(scripted):
        assert type(scripted) is kind


def test_a_class_that_looks_after_its_subclasses_is_not_told_of_ours() -> None:
    class Registered(Own):
        known: list[str] = []  # noqa: RUF012

        def __init_subclass__(cls, *, name: str) -> None:
            cls.known.append(name)

    model = Registered()
    with held(model):
        assert type(model) is Registered
        with pytest.raises(ModelError):
            check_free(model)
    check_free(model)
    assert Registered.known == []


def test_what_cannot_be_taken_is_not_held() -> None:
    class Strict(type):
        def __new__(cls, name: str, bases: Any, namespace: Any) -> Any:
            if name == "Guarded":
                raise TypeError("no subclasses")
            return super().__new__(cls, name, bases, namespace)

    class Final(Own, metaclass=Strict):
        pass

    model = Final()
    with pytest.raises(TypeError, match="no subclasses"):
        Ownership(model, "digits", plain_copy).take()
    assert type(model.drop) is nn.Dropout
    check_free(model)
