"""The panels of a kernel's runs: what they keep, and what they let go."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import comm
import pytest
import torch
from comm.base_comm import BaseComm
from torch import nn

from nbtrain import messages as m
from nbtrain.errors import UsageError
from nbtrain.runs import registry
from nbtrain.runs.train import train
from nbtrain.store.catalog import Store
from nbtrain.ui import notebook
from nbtrain.ui import writer as writers


class SilentComm(BaseComm):
    """A comm to nobody."""

    def publish_msg(self, *_: Any, **keys: Any) -> None:
        """Nobody listens."""


@pytest.fixture(autouse=True)
def panels(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[dict[str, Any]]:
    store = Store(tmp_path)
    monkeypatch.setattr(registry, "store", lambda: store)
    monkeypatch.setattr(registry, "_kept", [])
    monkeypatch.setattr(comm, "create_comm", SilentComm)
    monkeypatch.setenv("NBTRAIN_PANEL", "full")
    made: dict[str, Any] = {}
    monkeypatch.setattr(notebook, "_panels", made)
    yield made
    for panel in made.values():
        writers.writer.remove(panel)
        writers.painter.remove(panel._pictures)


def test_a_replaced_runs_model_goes_though_its_panel_stays(panels: dict[str, Any]) -> None:
    data = torch.randn(16, 4), torch.arange(16) % 2
    models = []
    for _ in range(10):
        model = nn.Linear(4, 2)
        models.append(weakref.ref(model))
        run = train(model, data, name="again", epochs=1, wait=True)
        notebook.panel(run)
    del run, model
    assert len(panels) == 10
    # Three that ended before the last one began, and that one.
    assert [kept() is not None for kept in models] == [False] * 6 + [True] * 4
    first = next(iter(panels.values()))
    with pytest.raises(UsageError, match="no longer in memory"):
        first._send(m.Resume())


def test_the_panel_of_a_past_run_shows_it_and_takes_no_commands(panels: dict[str, Any]) -> None:
    run = train(nn.Linear(4, 2), (torch.randn(16, 4), torch.arange(16) % 2), epochs=1, wait=True)
    past = registry.store().find("run").history()
    notebook.show_past(past)
    (panel,) = panels.values()
    content, _ = panel.feed.snapshot()
    assert content["view"]["readonly"] is True
    assert content["view"]["progress"]["step"] == run.history.step
    with pytest.raises(UsageError, match="no longer in memory"):
        panel._send(m.Resume())
