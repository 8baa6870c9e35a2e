"""Starting runs: what they reach, and that equal specs make equal runs."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

from nbtrain import messages as m
from nbtrain import options
from nbtrain.data.randomness import OwnRandomness
from nbtrain.errors import InvalidValue, ModelError, RunFailed, UnknownName, UsageError
from nbtrain.runs import presenter, registry
from nbtrain.runs.run import Run
from nbtrain.runs.train import fingerprint, launch, seeded, train
from nbtrain.spec import parse
from tests.engine.harness import classes, network, same, values, weights
from tests.runs.harness import PATIENCE, Gate, begin, done, until

# ── the first example ─────────────────────────────────────────────────────────────────────

SEEDS = (0, 1, 2, 3, 4)
SPLIT = 42
EXAMPLE = Path(__file__).parents[2] / "examples" / "01_first_run.ipynb"


@pytest.mark.parametrize("seed", SEEDS)
def test_digits_reaches_97_percent_with_the_settings_of_the_first_example(seed: int) -> None:
    cells = [cell.source for cell in nbformat.read(EXAMPLE, as_version=4).cells]
    magic, _, body = next(c for c in cells if c.startswith("%%train")).partition("\n")
    typed = parse(magic.removeprefix("%%train"), eval).options | {"seed": seed, "pace": None}
    namespace: dict[str, Any] = {}
    with seeded(seed):
        exec(body, namespace)
    X, y = namespace["data"]
    X_train, X_val, y_train, y_val = train_test_split(
        X, y, test_size=0.2, stratify=y, random_state=SPLIT
    )
    namespace |= {"train_data": (X_train, y_train), "val_data": (X_val, y_val)}
    del namespace["data"]
    bound = frozenset({"model", "train_data", "val_data"})
    full = {**options.defaults(), **typed, "panel": False}
    run = launch(namespace, full, tuple(typed), "digits", bound=bound).wait(PATIENCE)
    assert run.outcome == "completed"
    right = (run.predict(X_val).numpy() == y_val).mean()
    assert right >= 0.97, f"seed {seed}: {right:.4f}"
    assert run.history["val_accuracy"][-1] >= 0.97


# ── equal specs make equal runs ───────────────────────────────────────────────────────────


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 8, num_layers=2, dropout=0.3, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x.unsqueeze(1).expand(-1, 3, -1))[0][:, -1])


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.dropout(self.a(x).relu(), 0.3, self.training))


class Encoder(nn.Module):
    """A variational autoencoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(4, 4), nn.Linear(2, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log = self.encode(x).chunk(2, 1)
        return self.decode(mean + torch.randn_like(mean) * (log / 2).exp()), mean, log


def elbo(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    x = batch[0]
    out, mean, log = model(x)
    prior = -0.5 * (1 + log - mean**2 - log.exp()).mean()
    return {"loss": F.mse_loss(out, x) + prior, "prior": prior}


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


def attention() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 4)),
        nn.TransformerEncoderLayer(4, 2, 8, dropout=0.3, batch_first=True),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "mlp": (mlp, {}),
    "lstm": (Recurrent, {}),
    "transformer": (attention, {}),
    "vae": (Encoder, {"training_step": elbo}),
    "functional": (Functional, {}),
}


def made(kind: str) -> nn.Module:
    """The same model every time. Its cell has the main thread, so nobody draws beside it."""
    with seeded(5):
        return MODELS[kind][0]()


def trained(kind: str, model: nn.Module | None = None, **more: Any) -> Run:
    settings = MODELS[kind][1]
    model = made(kind) if model is None else model
    return done(model, classes(96), seed=5, epochs=4, name=kind, **settings, **more)


@contextmanager
def others_draw() -> Iterator[None]:
    """Another thread draws from every global generator, as fast as it can."""
    ends, begun = threading.Event(), threading.Event()

    def draw() -> None:
        while not ends.is_set():
            torch.randn(10)
            np.random.rand(10)
            random.random()
            torch.manual_seed(3)
            begun.set()

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        assert begun.wait(PATIENCE)
        yield
    finally:
        ends.set()
        thread.join(PATIENCE)


@pytest.mark.parametrize("kind", MODELS)
def test_two_runs_of_one_spec_are_equal_whatever_else_goes_on(kind: str) -> None:
    alone = trained(kind)
    before = fingerprint(alone.model)
    again = trained(kind)
    assert fingerprint(again.model) == before
    assert again.spec == alone.spec

    model = made(kind)
    with others_draw():
        beside = begin(mlp(), classes(96), name="beside", epochs=100_000, share=True)
        disturbed = trained(kind, model)
        assert beside.live
        beside.stop()
    assert fingerprint(disturbed.model) == before
    assert (disturbed.history["loss"] == alone.history["loss"]).all()


@pytest.mark.parametrize("kind", MODELS)
def test_a_run_leaves_the_global_generators_alone(kind: str) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    trained(kind)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all()


@pytest.mark.parametrize("kind", MODELS)
def test_looking_pausing_and_pace_change_nothing(kind: str) -> None:
    plain = fingerprint(trained(kind, pace=100_000.0).model)
    settings = MODELS[kind][1]
    gate = Gate()
    run = begin(made(kind), classes(96), seed=5, epochs=4, name=kind, pace=200.0, **settings)
    run.pause()
    run.evaluate()
    run.model(torch.zeros(2, 4))
    run.predict(torch.zeros(2, 4)) if kind != "vae" else None
    run.step(2)
    run.evaluate()
    run.resume()
    run.set(pace="off")
    run.wait(PATIENCE)
    assert fingerprint(run.model) == plain
    assert gate.calls == 0


def test_another_seed_makes_another_run() -> None:
    a, b = (done(network(0.3), seed=seed) for seed in (1, 2))
    assert fingerprint(a.model) != fingerprint(b.model)
    assert a.spec != b.spec


def test_the_fingerprint_sees_every_bit() -> None:
    model = network()
    before = fingerprint(model)
    assert before == fingerprint(network())
    with torch.no_grad():
        model[0].bias[0].nextafter_(torch.tensor(9.0)) if hasattr(
            torch.Tensor, "nextafter_"
        ) else model[0].bias[0].add_(1e-7)
    assert fingerprint(model) != before


def test_seeding_puts_everything_back() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    with seeded(2**40):
        first = torch.rand(1), random.random(), np.random.rand()
    with seeded(2**40):
        assert first == (torch.rand(1), random.random(), np.random.rand())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all()


def test_a_cell_sees_its_own_generators_while_another_run_fetches() -> None:
    over = threading.Event()

    def fetch() -> None:
        own = OwnRandomness(1)
        while not over.is_set():
            with own:
                random.random()

    def draws() -> list[float]:
        return [random.random() + np.random.rand() for _ in range(5000)]

    with seeded(3):
        expected = draws()
    other = threading.Thread(target=fetch)
    other.start()
    try:
        for _ in range(5):
            with seeded(3):
                assert draws() == expected
    finally:
        over.set()
        other.join(10)


# ── the front door ────────────────────────────────────────────────────────────────────────


def test_it_returns_at_the_end_in_a_script() -> None:
    run = train(network(), classes(40), epochs=1)
    assert run.state == "completed"
    assert run.name == "run"
    assert run.history.reason == "the epoch is done"


@pytest.mark.parametrize("acts", [True, False])
def test_a_run_that_is_waited_for_pauses_where_a_panel_can_act(acts: bool) -> None:
    gate = Gate()

    class Watching(presenter.Silent):
        def show(self, run: Run) -> None:
            if acts:
                until(run, lambda: run.state == "paused")
                run.send(m.Stop(restore="last"))

    watching = Watching()
    watching.acts = acts
    presenter.register(watching)
    try:
        settings: dict[str, Any] = {"epochs": 1, "wait": True, "name": "bad"}
        settings["training_step"] = lambda model, batch: gate(model, batch) * float("nan")
        if acts:
            run = train(network(), classes(40), **settings)
            assert run.history.outcome == "early-stopped"
        else:
            with pytest.raises(RunFailed, match="loss is NaN"):
                train(network(), classes(40), **settings)
    finally:
        presenter.register(None)


def test_it_returns_at_once_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Run] = []

    class Watching:
        waits = False

        def show(self, run: Run) -> None:
            shown.append(run)

        def panel(self, run: Run) -> Any:
            return "the panel"

    presenter.register(Watching())
    try:
        gate = Gate(1)
        run = train(network(), classes(40), epochs=1, training_step=gate)
        assert run.live
        assert shown == [run]
        assert run.panel == "the panel"
        gate.open.set()
        run.wait(PATIENCE)
        quiet = train(network(), classes(40), epochs=1, panel=False)
        assert shown == [run]
        quiet.wait(PATIENCE)
    finally:
        presenter.register(None)


@pytest.mark.parametrize(
    ("settings", "kind", "word"),
    [
        ({"lrr": 0.1}, UnknownName, "lr"),
        ({"lr": -1}, InvalidValue, "from 0"),
        ({"name": "not a name"}, UsageError, "not a name"),
        ({"optimizer": "adm"}, UnknownName, "adam"),
        ({"device": "cuda:99"}, UsageError, "cuda:99"),
        ({"device": "gpu"}, UnknownName, "gpu"),
        ({"wait": "yes"}, InvalidValue, "true or false"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    settings: dict[str, Any], kind: type[Exception], word: str
) -> None:
    with pytest.raises(kind, match=word):
        train(network(), classes(40), **settings)
    assert registry.live() == []


def test_names_of_losses_and_optimizers_go_the_way_of_options() -> None:
    run = done(nn.Linear(4, 1), values(40), loss="huber", optimizer="sgd", scheduler="linear")
    assert run.spec.options["loss"] == "huber"
    assert {"loss", "optimizer", "scheduler"} <= set(run.spec.given)


def test_the_spec_tells_what_bit_equality_hangs_on() -> None:
    spec = done().spec
    assert spec.weights == fingerprint(network())
    assert spec.data
    assert {"torch", "processor", "threads", "default_dtype", "deterministic"} <= set(
        spec.environment
    )


def test_the_next_run_of_a_name_has_the_next_number() -> None:
    first, second = done(name="digits"), done(name="digits")
    assert (first.number, second.number) == (1, 2)
    assert registry.find("digits") is second
    assert registry.find("digits@1") is first


def test_training_on_from_an_earlier_run_is_noted() -> None:
    model = network()
    done(model, name="first")
    second = done(model, name="second")
    first, *others = second.history.notes
    assert "learned from first@1" in first, "before what was inferred"
    assert others


def test_the_latest_run_that_taught_the_model_is_named() -> None:
    model = network()
    done(model, name="first")
    done(model, name="second")
    third = done(model, name="third")
    assert [note for note in third.history.notes if "learned" in note] == [
        "The model learned from second@1 for 8 steps; training goes on from there."
    ]


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ("", "`model`, `train_data` and `val_data` come from an earlier cell."),
        ("model = 1", "`train_data` and `val_data` come from an earlier cell."),
        ("train_data = val_data = 1", "`model` comes from an earlier cell."),
        ("model = train_data = val_data = 1", None),
    ],
)
def test_what_an_earlier_cell_bound_is_told(source: str, note: str | None) -> None:
    namespace = {"model": network(), "train_data": classes(40), "val_data": classes(20)}
    settings = {**options.defaults(), "epochs": 1, "panel": False}
    run = launch(namespace, settings, (), "cell", source=source)
    run.wait(PATIENCE)
    told = [note for note in run.history.notes if "earlier cell" in note]
    assert told == ([] if note is None else [note])


def test_python_has_no_earlier_cells() -> None:
    assert not any("earlier cell" in note for note in done().history.notes)


def test_a_cell_binds_what_it_leaves(store: Any) -> None:
    X, y = classes(40)
    stale = nn.MSELoss()
    namespace = {"model": network(), "data": (X, y), "loss": stale, "unrelated": 3}
    settings = {**options.defaults(), "epochs": 1, "panel": False}
    run = launch(namespace, settings, ("epochs",), "cell", source="data = X, y")
    run.wait(PATIENCE)
    assert run.history.metrics["accuracy"] == "max", "the loss of another cell does not count"
    assert run.spec.source == "data = X, y"


@pytest.mark.parametrize(
    ("source", "samples"), [("data = 1", 32), ("train_data = 1", 20), ("model = 1", None)]
)
def test_data_that_this_cell_bound_counts(source: str, samples: int | None) -> None:
    namespace = {"model": network(), "data": classes(40), "train_data": classes(20)}
    settings = {**options.defaults(), "epochs": 1, "panel": False}
    if samples is None:
        with pytest.raises(UsageError, match="both given"):
            launch(namespace, settings, (), "cell", source=source)
        return
    run = launch(namespace, settings, (), "cell", source=source)
    run.wait(PATIENCE)
    assert run.history.epoch_samples == samples


def test_a_model_that_another_run_trains_is_refused() -> None:
    model, gate = network(), Gate(1)
    first = begin(model, name="first", training_step=gate)
    gate.arrive()
    with pytest.raises(ModelError, match="'first' is training this model"):
        begin(model, name="second", share=True)
    gate.open.set()
    first.wait(PATIENCE)
    assert begin(model, name="second").wait(PATIENCE).number == 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_on_the_cpu(precision: str) -> None:
    run = done(network(), precision=precision, epochs=3, lr=0.01)
    losses = run.history["loss"]
    assert run.state == "completed"
    assert losses[-1] < losses[0]
    assert next(run.model.parameters()).dtype == torch.float32


def test_workers_of_a_loader_are_gone_in_the_end() -> None:
    import multiprocessing

    X, y = classes(64)
    rows = [(x, t) for x, t in zip(X, y, strict=True)]
    loader = torch.utils.data.DataLoader(rows, batch_size=4, num_workers=2)  # type: ignore[arg-type]
    gate = Gate(3)
    run = begin(None, None, train_data=loader, training_step=gate, epochs=2)
    gate.arrive()
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    gate.open.set()
    run.stop()
    run.wait(PATIENCE)
    assert run.outcome == "early-stopped"
    for worker in workers:
        worker.join(PATIENCE)
        assert not worker.is_alive()
    until(run, lambda: run.history.state == "finished")


def test_a_frozen_norm_stays_frozen() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    model[1].eval()
    before = weights(model[1])
    run = done(model)
    after = weights(run.model[1])
    assert torch.equal(before["running_mean"], after["running_mean"])
    assert not same(before, after), "its weights are trained"
