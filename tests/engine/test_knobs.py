"""Dropout while training: off and on, one rate, a rate a layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nbtrain import messages as m
from nbtrain.engine.knobs import Dropout
from nbtrain.errors import CommandRejected
from tests.engine.harness import classes, make_task, network, run_loop, same, values, weights


def two(a: float = 0.1, b: float = 0.5) -> nn.Sequential:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(a), nn.Linear(8, 3), nn.Dropout(b))


def test_one_switch_for_all_remembers_the_rates() -> None:
    model = two()
    dropout = Dropout(model)
    assert dropout.value == {"1": 0.1, "3": 0.5}
    dropout.set(0.0)
    assert dropout.value == 0.0
    assert (model[1].p, model[3].p) == (0.0, 0.0)
    dropout.set("on")
    assert (model[1].p, model[3].p) == (0.1, 0.5)
    dropout.set(0.3)
    assert dropout.value == 0.3
    dropout.set({"1": 0.2})
    assert dropout.value == {"1": 0.2, "3": 0.3}


def test_every_kind_of_layer_with_a_rate() -> None:
    model = nn.ModuleDict(
        {
            "plain": nn.Dropout(0.1),
            "maps": nn.Dropout2d(0.2),
            "alpha": nn.AlphaDropout(0.3),
            "rnn": nn.LSTM(2, 2, num_layers=2, dropout=0.4),
            "attention": nn.MultiheadAttention(2, 1, dropout=0.5),
            "single": nn.GRU(2, 2),
        }
    )
    dropout = Dropout(model)
    assert list(dropout.rates) == ["plain", "maps", "alpha", "rnn", "attention"]
    dropout.set(0.6)
    assert model["rnn"].dropout == model["attention"].dropout == model["maps"].p == 0.6


def test_a_layer_in_two_places_is_one() -> None:
    layer = nn.Dropout(0.1)
    assert list(Dropout(nn.Sequential(layer, nn.ReLU(), layer)).rates) == ["0"]
    assert list(Dropout(nn.Dropout(0.2)).rates) == ["model"]


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(CommandRejected, match=r"'7'.*dropout\.1, dropout\.3"):
        Dropout(two()).set({"7": 0.1})


@pytest.mark.parametrize(
    ("knob", "value", "rates", "old", "new"),
    [
        ("dropout", "off", (0.0, 0.0), {"1": 0.1, "3": 0.5}, 0.0),
        ("dropout", 0.25, (0.25, 0.25), {"1": 0.1, "3": 0.5}, 0.25),
        ("dropout", {"3": 0.1}, (0.1, 0.1), {"1": 0.1, "3": 0.5}, 0.1),
        ("dropout.3", 0.7, (0.1, 0.7), 0.5, 0.7),
        ("dropout.3", "off", (0.1, 0.0), 0.5, 0.0),
    ],
)
def test_dropout_is_set_and_undone(
    knob: str, value: Any, rates: tuple[float, float], old: Any, new: Any
) -> None:
    command, undo = m.Set(knob=knob, value=value), m.Undo()
    seen: list[tuple[float, float]] = []
    model = two()

    def training_step(model: Any, batch: Any) -> Tensor:
        seen.append((model[1].p, model[3].p))
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    run = run_loop(
        model,
        classes(40),
        [(2, command), (4, undo)],
        training_step=training_step,
        epochs=1,
        batch_size=8,
        val_split=0.0,
    )
    assert seen == [(0.1, 0.5)] * 2 + [rates] * 2 + [(0.1, 0.5)]
    answer = run.answer(command)
    assert isinstance(answer, m.Applied)
    assert (answer.old, answer.new) == (old, new)
    assert run.history.knobs["dropout.3"] == 0.5


@pytest.mark.parametrize(
    "commands",
    [
        [m.Set(knob="dropout.1", value=0.6)],
        [m.Set(knob="dropout", value=0.1)],
        [m.Set(knob="dropout", value="off"), m.Set(knob="dropout.1", value=0.6)],
        [m.Set(knob="dropout", value="off"), m.Set(knob="dropout.1", value=0.6), m.Undo()],
        [m.Set(knob="dropout.1", value=0.6), m.Set(knob="dropout", value="off"), m.Undo()],
        [m.Set(knob="dropout", value="off"), m.Set(knob="dropout", value=0.2), m.Undo()],
    ],
)
def test_the_history_knows_every_rate_that_a_command_changed(commands: list[Any]) -> None:
    run = run_loop(two(), classes(40), list(enumerate(commands)), epochs=1, batch_size=8)
    assert run.history.knobs == run.training.knobs.values


def test_undoing_a_layer_switches_dropout_off_again() -> None:
    commands = [m.Set(knob="dropout", value="off"), m.Set(knob="dropout.1", value=0.6), m.Undo()]
    run = run_loop(two(), classes(40), list(enumerate(commands)), epochs=1, batch_size=8)
    assert (run.model[1].p, run.model[3].p) == (0.0, 0.0)
    assert run.training.knobs.dropout.rates == {"1": 0.1, "3": 0.5}


def test_dropout_off_then_on() -> None:
    run = run_loop(
        two(),
        classes(40),
        [(1, m.Set(knob="dropout", value="off")), (2, m.Set(knob="dropout", value="on"))],
        epochs=1,
        batch_size=8,
        val_split=0.0,
    )
    assert (run.model[1].p, run.model[3].p) == (0.1, 0.5)
    assert run.history.knobs["dropout"] == {"1": 0.1, "3": 0.5}


def test_typed_dropout_acts_from_the_first_step() -> None:
    assert run_loop(two(), classes(), epochs=1, dropout=0.4).model[1].p == 0.4
    assert run_loop(two(), classes(), epochs=1, dropout="off").model[3].p == 0.0
    model = run_loop(two(), classes(), epochs=1, **{"dropout.3": 0.4}).model
    assert (model[1].p, model[3].p) == (0.1, 0.4)


class Recurrent(nn.Module):
    """Its dropout draws from PyTorch's own generator, unless somebody re-routes it."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.rnn = nn.LSTM(4, 8, num_layers=2, dropout=0.0)
            self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x.unsqueeze(0))[0].squeeze(0))


def test_a_layer_that_begins_to_draw_draws_from_the_run() -> None:
    def go() -> dict[str, Tensor]:
        command = m.Set(knob="dropout", value=0.5)
        run = run_loop(
            Recurrent(), classes(40), [(2, command)], epochs=1, batch_size=4, val_split=0.0
        )
        assert run.training.draws.foreign
        return weights(run.model)

    before = torch.get_rng_state()
    first = go()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1234)
    assert same(first, go())


def test_full_batches_of_a_stream_are_refused() -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return zip(*values(40), strict=True)

    command, ends = m.Set(knob="batch_size", value="full"), m.Set(knob="epochs", value=1)
    run = run_loop(
        nn.Linear(4, 1),
        None,
        [(2, command), (7, ends)],
        train_data=Stream(),
        batch_size=8,
        epochs=3,
    )
    assert "stream" in run.reason(command)
    assert run.step == 7, "and a stream's epoch ends where the plan does"
    with pytest.raises(ValueError, match="--batch-size full"):
        make_task(nn.Linear(4, 1), None, train_data=Stream(), batch_size="full")


def test_the_loaders_own_batch_size_is_the_knobs_value() -> None:
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*classes(40)), batch_size=10
    )
    run = run_loop(network(), None, train_data=loader, epochs=1)
    assert run.history.knobs["batch_size"] == 10
    assert run.step == 4
    assert run_loop(network(), None, train_data=loader, epochs=1, batch_size=5).step == 8
