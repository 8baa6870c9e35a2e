"""A run's randomness is its own, and equals plain PyTorch's for the same state."""

from __future__ import annotations

import copy
import functools
import io
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nbtrain import messages as m
from nbtrain.engine.draws import Draws, RunDropout, current, derive
from nbtrain.engine.ownership import Ownership, plain_copy
from nbtrain.errors import ModelError
from tests.engine.harness import classes, run_loop, same, weights

X = torch.linspace(-2, 2, 24).reshape(4, 6)
IMAGES = torch.linspace(-1, 1, 2 * 3 * 5 * 5).reshape(2, 3, 5, 5)

OPERATIONS: dict[str, Callable[[], Tensor]] = {
    "rand": lambda: torch.rand(3, 2),
    "rand_like": lambda: torch.rand_like(X),
    "randn": lambda: torch.randn(5),
    "randn_like": lambda: torch.randn_like(X),
    "randint": lambda: torch.randint(10, (7,)),
    "randint low": lambda: torch.randint(3, 10, (7,)),
    "randint_like": lambda: torch.randint_like(X, 10),
    "randperm": lambda: torch.randperm(9),
    "normal": lambda: torch.normal(0.0, 1.0, (4,)),
    "normal of tensors": lambda: torch.normal(X, X.abs()),
    "normal of a tensor": lambda: torch.normal(X, 2.0),
    "normal_": lambda: torch.empty(5).normal_(),
    "uniform_": lambda: torch.empty(5).uniform_(),
    "exponential_": lambda: torch.empty(5).exponential_(),
    "log_normal_": lambda: torch.empty(5).log_normal_(),
    "cauchy_": lambda: torch.empty(5).cauchy_(),
    "geometric_": lambda: torch.empty(5).geometric_(0.3),
    "random_": lambda: torch.empty(5, dtype=torch.int64).random_(),
    "random_ to": lambda: torch.empty(5).random_(8),
    "random_ from": lambda: torch.empty(5).random_(3, 8),
    "bernoulli": lambda: torch.bernoulli(X.sigmoid()),
    "bernoulli of p": lambda: torch.bernoulli(X, 0.3),
    "bernoulli_": lambda: torch.empty(5).bernoulli_(0.3),
    "bernoulli_ of a tensor": lambda: torch.empty(4, 6).bernoulli_(X.sigmoid()),
    "multinomial": lambda: torch.multinomial(X.exp(), 3),
    "poisson": lambda: torch.poisson(X.exp()),
    "dropout": lambda: F.dropout(X, 0.4),
    "dropout in place": lambda: F.dropout(X.clone(), 0.4, inplace=True),
    "alpha_dropout": lambda: F.alpha_dropout(X, 0.4, training=True),
    "feature_alpha_dropout": lambda: F.feature_alpha_dropout(IMAGES, 0.4, training=True),
    "dropout1d": lambda: F.dropout1d(IMAGES[0], 0.4),
    "dropout2d": lambda: F.dropout2d(IMAGES, 0.4),
    "rrelu": lambda: F.rrelu(X, training=True),
    "gumbel_softmax": lambda: F.gumbel_softmax(X),
    "attention": lambda: F.scaled_dot_product_attention(IMAGES, IMAGES, IMAGES, dropout_p=0.3),
    "initialisation": lambda: nn.init.trunc_normal_(torch.empty(6)),
    "distribution": lambda: torch.distributions.Normal(X, 1.0).rsample(),
    "gamma": lambda: torch.distributions.Gamma(X.exp(), 1.0).sample(),
    "dirichlet": lambda: torch.distributions.Dirichlet(X.exp()).sample(),
    "binomial": lambda: torch.distributions.Binomial(5, X.sigmoid()).sample(),
    "fractional_max_pool": lambda: F.fractional_max_pool2d(IMAGES, 2, output_size=2),
}


def drawn_from(draws: Draws) -> torch.Generator:
    return draws.generator(torch.device("cpu"))


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_bit_equal_and_leaves_the_global_state(name: str) -> None:
    operation, draws = OPERATIONS[name], Draws(7)
    before = torch.get_rng_state()
    with draws.here(), draws.routed():
        first, second = operation(), operation()
    after = torch.get_rng_state()
    assert torch.equal(before, after)
    assert draws.foreign
    assert not draws.unroutable
    with torch.random.fork_rng([]):
        torch.set_rng_state(drawn_from(Draws(7)).get_state())
        assert torch.equal(first, operation())
        assert torch.equal(second, operation())


@pytest.mark.parametrize("name", ["lstm", "gru", "attention", "transformer"])
def test_layers_that_draw_are_bit_equal_also_backward(name: str) -> None:
    torch.manual_seed(0)
    layer: nn.Module = {
        "lstm": lambda: nn.LSTM(6, 4, num_layers=2, dropout=0.5),
        "gru": lambda: nn.GRU(6, 4, num_layers=2, dropout=0.5),
        "attention": lambda: nn.MultiheadAttention(6, 2, dropout=0.5),
        "transformer": lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.5),
    }[name]()

    def gradients() -> list[Tensor]:
        layer.zero_grad()
        inputs = X.reshape(2, 2, 6)
        out = layer(inputs, inputs, inputs) if name == "attention" else layer(inputs)
        (out if isinstance(out, Tensor) else out[0]).square().sum().backward()
        return [p.grad.clone() for p in layer.parameters() if p.grad is not None]

    draws = Draws(3)
    before = torch.get_rng_state()
    with draws.here(), draws.routed():
        ours = gradients()
    assert torch.equal(before, torch.get_rng_state())
    torch.set_rng_state(drawn_from(Draws(3)).get_state())
    assert all(torch.equal(a, b) for a, b in zip(ours, gradients(), strict=True))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dropout_takes_the_generator_itself(dtype: torch.dtype, inplace: bool) -> None:
    layer = RunDropout(0.3, inplace=inplace)
    draws = Draws(5)
    x = X.to(dtype)
    with draws.here():
        ours = layer(x.clone())
    assert not draws.foreign
    torch.set_rng_state(drawn_from(Draws(5)).get_state())
    assert torch.equal(ours, F.dropout(x, 0.3))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_of_nothing_or_everything(p: float) -> None:
    with Draws(1).here():
        assert torch.equal(RunDropout(p)(X), F.dropout(X, p))


def test_dropout_outside_of_a_run_and_in_evaluation_is_pytorchs() -> None:
    layer = RunDropout(0.5)
    torch.manual_seed(2)
    ours = layer(X)
    torch.manual_seed(2)
    assert torch.equal(ours, F.dropout(X, 0.5))
    with Draws(1).here():
        assert torch.equal(layer.eval()(X), X)


def test_a_generator_of_the_users_own_is_left_alone() -> None:
    draws = Draws(1)
    with draws.routed():
        ours = torch.randn(3, generator=torch.Generator().manual_seed(4))
    assert torch.equal(ours, torch.randn(3, generator=torch.Generator().manual_seed(4)))


def test_what_draws_without_a_generator_is_named() -> None:
    draws = Draws(1)
    with draws.routed():
        nn.LSTM(2, 2, num_layers=2)(torch.zeros(1, 1, 2))
    assert not draws.unroutable


def test_drawing_aside_leaves_no_trace() -> None:
    plain, disturbed = Draws(9), Draws(9)
    results = []
    for draws in (plain, disturbed):
        with draws.here(), draws.routed():
            torch.rand(3)
        if draws is disturbed:
            with draws.here(), draws.aside("validate", 1):
                first = torch.rand(4)
            with draws.here(), draws.aside("validate", 1):
                assert torch.equal(first, torch.rand(4)), "the same place draws the same"
            with draws.here(), draws.aside("validate", 2):
                assert not torch.equal(first, torch.rand(4))
        with draws.here(), draws.routed():
            results.append(torch.rand(3))
    assert torch.equal(*results)


def test_the_state_says_where_the_generators_are() -> None:
    draws = Draws(1)
    with draws.routed():
        torch.rand(3)
        state = {k: v.clone() for k, v in draws.state().items()}
        first = torch.rand(3)
        draws.generator(torch.device("cpu")).set_state(state["cpu"])
        assert torch.equal(first, torch.rand(3))
    before = {name: state[name] for name in ("python", "numpy")}
    with draws.here():
        assert same({name: draws.state()[name] for name in before}, before)
        random.gauss(0, 1), np.random.randn()
    after = draws.state()
    assert not any(torch.equal(after[name], before[name]) for name in before)
    kept = [after[name][-1:].view(torch.float64).item() for name in ("python", "numpy")]
    with draws.here():  # the second of a pair of normal numbers
        assert [random.gauss(0, 1), np.random.randn()] == kept


def test_seeds_differ_by_every_word() -> None:
    assert len({derive(0), derive(1), derive(0, "a"), derive(0, "b"), derive(0, "a", 1)}) == 5


def test_copies_and_pickles_are_plain_dropout() -> None:
    layer = RunDropout(0.25)
    for other in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(other) is nn.Dropout
        assert other.p == 0.25


def test_a_saved_model_opens_without_nbtrain() -> None:
    stored = io.BytesIO()
    torch.save(nn.Sequential(RunDropout(0.25)), stored)
    code = """
import io, sys, torch
model = torch.load(io.BytesIO(sys.stdin.buffer.read()), weights_only=False)
assert type(model[0]) is torch.nn.Dropout and model[0].p == 0.25
assert not any(name.startswith("nbtrain") for name in sys.modules)
"""
    done: Any = subprocess.run(
        [sys.executable, "-c", code], input=stored.getvalue(), capture_output=True, timeout=100
    )
    assert done.returncode == 0, done.stderr.decode()


class Drops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, self.training)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 8, num_layers=2, dropout=0.5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x[:, None])[0][:, 0]  # type: ignore[no-any-return]


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "dropout": nn.Dropout,
    "function": Drops,
    "lstm": Recurrent,
    "alpha": nn.AlphaDropout,
}


class Checkpointed(nn.Module):
    """Two regions, of which ``again`` calls each, and the second holds another one."""

    def __init__(self, make: Callable[[], nn.Module], again: Callable[..., Tensor] | None) -> None:
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            self.first = nn.Sequential(nn.Linear(4, 8), make(), nn.Linear(8, 8), make())
            self.inner = nn.Sequential(nn.Linear(8, 8), make())
            self.last = nn.Linear(8, 3)
        self.again = again

    def second(self, x: Tensor) -> Tensor:
        x = F.dropout(x, 0.2, self.training)
        x = self.call(self.inner, x) if self.training else self.inner(x)
        return self.last(F.dropout(x, 0.2, self.training))  # type: ignore[no-any-return]

    def call(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return function(x) if self.again is None else self.again(function, x)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.second(self.first(x))
        x.requires_grad_(True)
        return self.call(self.second, self.call(self.first, x))


@contextmanager
def drawing_elsewhere() -> Iterator[None]:
    """Within, another thread draws from PyTorch's generator without a pause."""
    ended, begun = threading.Event(), threading.Event()

    def draw() -> None:
        while not ended.is_set():
            torch.randn(3)
            begun.set()

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        assert begun.wait(20)
        yield
    finally:
        ended.set()
        thread.join(20)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # PyTorch's
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_that_are_computed_again_draw_what_they_drew(layer: str, reentrant: bool) -> None:
    again = functools.partial(checkpoint, use_reentrant=reentrant)
    models = [Checkpointed(LAYERS[layer], how) for how in (None, again, again)]

    def run() -> dict[str, Tensor]:
        run = run_loop(models.pop(0), classes(40), epochs=3, batch_size=8)
        return {**weights(run.model), "draws": run.training.draws.state()["cpu"]}

    plain, before = run(), torch.get_rng_state()
    assert same(run(), plain)
    assert torch.equal(torch.get_rng_state(), before)
    with drawing_elsewhere():
        assert same(run(), plain)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # PyTorch's
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("layer", [nn.Dropout, Drops])
def test_draws_that_are_not_to_be_repeated_are_refused_not_wrong(
    layer: Callable[..., nn.Module], reentrant: bool
) -> None:
    again = functools.partial(checkpoint, use_reentrant=reentrant, preserve_rng_state=False)
    with pytest.raises(ModelError, match="preserve_rng_state=False"):
        run_loop(Checkpointed(layer, again), classes(40), epochs=1)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # PyTorch's
def test_a_pytorch_that_tells_of_no_backward_pass_trains_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again = functools.partial(checkpoint, use_reentrant=True)
    models = [Checkpointed(nn.Dropout, again) for _ in range(2)]
    trained = run_loop(models[0], classes(40), epochs=1).model
    monkeypatch.delattr(torch._C, "_current_graph_task_id")
    assert same(weights(run_loop(models[1], classes(40), epochs=1).model), weights(trained))


@pytest.mark.parametrize("reentrant", [False, True])
def test_dropout_that_another_model_has_too_is_pytorchs_there(reentrant: bool) -> None:
    drop = nn.Dropout(0.5)
    other = nn.Sequential(nn.Linear(4, 8), drop)
    again = functools.partial(checkpoint, use_reentrant=reentrant)
    x = torch.ones(2, 4, requires_grad=True)

    def gradients(call: Callable[..., Any]) -> dict[str, Tensor]:
        torch.manual_seed(3)
        other.zero_grad()
        call(other, x).sum().backward()
        return {name: w.grad.clone() for name, w in other.named_parameters() if w.grad is not None}

    plain = gradients(lambda module, x: module(x))
    ownership = Ownership(nn.Sequential(nn.Linear(4, 8), drop), "test", plain_copy)
    ownership.take()
    try:
        assert type(drop) is RunDropout
        assert plain and same(gradients(again), plain)
    finally:
        ownership.release()


def test_draws_that_begin_late_are_repeated_too() -> None:
    class Late(Checkpointed):
        steps = 0

        def forward(self, x: Tensor) -> Tensor:
            self.steps += self.training
            return super().forward(x) if self.steps > 1 else self.last(self.first[0](x))

    def run(again: Callable[..., Tensor] | None) -> dict[str, Tensor]:
        model = Late(nn.Identity, again)
        with torch.random.fork_rng([]):
            torch.manual_seed(5)
            run_loop(model, classes(40), steps=2, batch_size=8)
        return weights(model)

    assert same(run(functools.partial(checkpoint, use_reentrant=False)), run(None))


def test_regions_without_draws_need_no_state() -> None:
    again = functools.partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 3))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: Tensor) -> Tensor:
            return again(self.layers, x)  # type: ignore[no-any-return]

    assert run_loop(Model(), classes(40), epochs=1, dropout="off").step == 1


def test_a_model_that_seeds_for_itself_gets_the_same_numbers_at_each_step() -> None:
    drawn: list[Tensor] = []

    def seeded() -> float:
        with torch.random.fork_rng([]):
            torch.manual_seed(3)
            drawn.append(torch.randn(3))
        drawn.append(torch.randn(3))
        return 0.0

    model = Noisy(seeded)
    before = torch.get_rng_state()
    run_loop(model, classes(), epochs=2, batch_size=16, val_split=0.0)
    assert torch.equal(torch.get_rng_state(), before)
    expected = torch.randn(3, generator=torch.Generator().manual_seed(3))
    assert all(torch.equal(noise, expected) for noise in drawn[::2])
    assert len({tuple(noise.tolist()) for noise in drawn[1::2]}) == 8


def test_pytorchs_functions_are_its_own_before_and_after() -> None:
    def functions() -> list[Any]:
        names = ("get_rng_state", "set_rng_state", "manual_seed")
        return [getattr(module, name) for module in (torch, torch.random) for name in names]

    before = functions()
    with Draws(1).here(), Draws(2).here(), drawing_elsewhere():
        state = torch.get_rng_state()
        torch.set_rng_state(state)
    assert functions() == before


def test_functions_that_somebody_puts_around_ours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Draws(1), Draws(2)
    with first.here():
        ours = torch.manual_seed

        def theirs(seed: int) -> torch.Generator:
            return ours(seed)

        monkeypatch.setattr(torch, "manual_seed", theirs)
    assert torch.manual_seed is theirs
    before = torch.get_rng_state()
    with second.here(), second.routed():
        torch.manual_seed(4)
        drawn = torch.randn(3)
    assert torch.equal(drawn, torch.randn(3, generator=torch.Generator().manual_seed(4)))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.manual_seed is theirs


class Noisy(nn.Module):
    """Adds noise from the ``start``-th training step on."""

    def __init__(self, draw: Callable[[], Any], start: int = 0) -> None:
        super().__init__()
        self.layer, self.draw, self.left = nn.Linear(4, 3), draw, start

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.left -= 1
            if self.left < 0:
                return self.layer(x + float(self.draw()))  # type: ignore[no-any-return]
        return self.layer(x)  # type: ignore[no-any-return]


def notices(draw: Callable[[], Any], start: int = 0) -> list[str]:
    settings = {"epochs": 3, "batch_size": 8, "val_split": 0.0}
    run = run_loop(Noisy(draw, start), classes(), **settings)
    return [event.text for event in run.of(m.Noticed) if event.topic == "draws"]


def test_draws_from_the_start_are_no_news() -> None:
    assert notices(lambda: torch.randn(())) == []


def test_draws_that_begin_late_are_routed_at_the_next_epoch_and_told() -> None:
    (text,) = notices(lambda: torch.randn(()), start=3)
    assert "found at step 9" in text and "may not repeat" in text


def by_name() -> float:
    return float(np.random.randn()) + random.gauss(0, 1)


def seed_all() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def noisy_run(draw: Callable[[], float], **settings: Any) -> Any:
    """Noise in the steps of a run, and none in the pass that is tried before it."""
    torch.manual_seed(1)
    model = Noisy(lambda: draw() if current() else 0.0)
    return run_loop(model, classes(), batch_size=8, **settings)


def test_what_a_step_draws_from_python_and_numpy_is_the_runs_own() -> None:
    noisy_run(by_name, epochs=1)  # what is imported with the first run may draw
    seed_all()
    users = random.getstate(), np.random.get_state()[1].tolist()
    first = noisy_run(by_name, epochs=2)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == users
    random.random(), np.random.rand(5)
    second = noisy_run(by_name, epochs=2)
    assert same(weights(first.model), weights(second.model))
    assert not same(weights(first.model), weights(noisy_run(lambda: 0.0, epochs=2).model))
    assert [event for event in first.of(m.Noticed) if event.topic == "draws"] == []


def test_what_others_draw_from_python_and_numpy_meanwhile_is_theirs() -> None:
    drawn: list[float] = []

    def draw() -> float:
        here = by_name()
        other = threading.Thread(target=lambda: drawn.append(by_name()))
        other.start()
        other.join()
        return here

    seed_all()
    expected = [by_name() for _ in range(8)]
    seed_all()
    disturbed = noisy_run(draw, epochs=1, val_split=0.0)
    calm = noisy_run(by_name, epochs=1, val_split=0.0)
    assert drawn == expected
    assert same(weights(disturbed.model), weights(calm.model))


def test_a_validation_leaves_the_steps_their_draws_from_python_and_numpy() -> None:
    class Always(Noisy):
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x + float(self.draw()))  # type: ignore[no-any-return]

    def train(commands: Any = ()) -> Any:
        torch.manual_seed(1)
        data = {"train_data": classes(), "val_data": classes(seed=1)}
        return run_loop(Always(by_name), None, commands, epochs=2, batch_size=8, **data)

    often = train([(step, m.Evaluate()) for step in (2, 5, 9)])
    assert same(weights(often.model), weights(train().model))


@pytest.mark.parametrize(("draw", "owner"), [(np.random.rand, "NumPy"), (random.random, "Python")])
def test_a_global_generator_that_is_not_pytorchs_is_told_once(
    draw: Callable[[], Any], owner: str
) -> None:
    (text,) = notices(draw)
    assert f"{owner}'s global generator past the functions of its module" in text


def test_a_cell_that_draws_meanwhile_is_not_taken_for_the_step() -> None:
    drawn = iter([random.random])
    assert notices(lambda: next(drawn, lambda: 0.0)()) == []


def test_a_cell_that_draws_all_the_time_is_not_taken_for_the_step() -> None:
    def meanwhile() -> float:
        other = threading.Thread(target=by_name)
        other.start()
        other.join()
        return 0.0

    assert notices(meanwhile) == []


def test_what_takes_no_generator_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw() -> float:
        current().unroutable.add("attention")  # type: ignore[union-attr]
        current().news = True  # type: ignore[union-attr]
        return 0.0

    text, *_ = notices(draw)
    assert "draws by attention" in text and "does not repeat" in text
