"""What is typed is what runs: random ``%%train`` lines become runs with exactly these options."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nbtrain import options, spec
from nbtrain.errors import UsageError
from nbtrain.runs import train

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def rates() -> st.SearchStrategy[float]:
    return st.floats(0.0, 0.9, allow_nan=False).map(lambda x: round(x, 3))


GOOD: dict[str, st.SearchStrategy[Any]] = {
    "--lr": st.floats(1e-6, 0.1).map(lambda x: f"{x:.3g}"),
    "--momentum": rates(),
    "--weight-decay": st.sampled_from(["off", "0.01", "1e-4"]),
    "--batch-size": st.sampled_from(["full", "1", "7", "24", "100"]),
    "--clip-grad-norm": st.sampled_from(["off", "1", "0.5"]),
    "--epochs": st.integers(1, 3),
    "--steps": st.sampled_from(["off", "1", "5"]),
    "--dropout": st.sampled_from(["off", "on", "0.3"]),
    "--dropout.1": rates(),
    "--l1": st.sampled_from(["off", "1e-5"]),
    "--l2": st.sampled_from(["off", "1e-5"]),
    "--label-smoothing": st.sampled_from(["off", "0.1"]),
    "--early-stop": st.sampled_from(["off", "val_loss", "val_accuracy", "loss"]),
    "--early-mode": st.sampled_from(["auto", "min", "max"]),
    "--patience": st.integers(1, 5),
    "--min-delta": st.sampled_from(["off", "0.001"]),
    "--optimizer": st.sampled_from(["adam", "adamw", "sgd", "nesterov", "rmsprop", "nadam"]),
    "--scheduler": st.sampled_from(["off", "cosine", "linear", "step", "one-cycle", "plateau"]),
    "--loss": st.sampled_from(["cross-entropy"]),
    "--val-split": st.sampled_from(["0.25", "0.5"]),
    "--seed": st.integers(0, 2**40),
    "--device": st.sampled_from(["cpu", "auto"]),
    "--checkpoint-every": st.sampled_from(["off", "1", "2"]),
}
BAD = st.sampled_from(
    [
        "--lrr 1",
        "--lr -1",
        "--lr x",
        "--epochs 0",
        "--dropout 1.5",
        "--optimizer sdg",
        "--wat",
        "--lr",
    ]
)


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, dict[str, str], bool]:
    names = draw(st.lists(st.sampled_from(sorted(GOOD)), unique=True, max_size=6))
    typed = {name: str(draw(GOOD[name])) for name in names}
    if typed.get("--optimizer") == "nesterov" and float(typed.get("--momentum", 0.9)) == 0:
        typed["--momentum"] = "0.9"  # without it there is no Nesterov momentum
    words = [f"{name} {value}" for name, value in typed.items()]
    bad = draw(st.booleans()) and draw(st.booleans())
    if bad:
        words.insert(draw(st.integers(0, len(words))), draw(BAD))
    return " ".join(["r", *words]), typed, bad


@settings(
    max_examples=400 if os.environ.get("FULL") else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(lines())
def test_a_line_becomes_a_run_with_exactly_its_options(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[str, dict[str, str], bool]
) -> None:
    line, typed, bad = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBTRAIN_HOME", str(tmp_path_factory.getbasetemp() / "store"))
        if bad:
            with pytest.raises(UsageError):
                spec.parse(line, eval)
            return
        parsed = spec.parse(line, eval)
        full = {**options.defaults(), **parsed.options, "panel": False}
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 2))
        run = train.launch(
            {"model": model, "data": (X, Y)},
            full,
            tuple(parsed.options),
            "r",
            bound=frozenset({"model", "data"}),
        )
        run.wait(60)
    for word, text in typed.items():
        name = word if "." in word else options.find(word[2:]).name
        name = name.removeprefix("--")
        wanted = options.find(name).check(text)
        assert run.spec.options[name] == wanted, word
        if name in ("lr", "momentum", "weight_decay") and "--scheduler" not in typed:
            assert run.history.knobs[name] == pytest.approx(wanted), word
        elif name in ("batch_size", "epochs", "patience", "early_stop", "l1", "l2"):
            assert run.history.knobs[name] == wanted, word
    samples = run.history.samples
    if ("--steps" not in typed or typed["--steps"] == "off") and run.state == "completed":
        epochs = int(typed.get("--epochs", 10))
        share = 1 - float(typed.get("--val-split", 0.2))
        assert samples == pytest.approx(epochs * 24 * share, abs=epochs * 2)
