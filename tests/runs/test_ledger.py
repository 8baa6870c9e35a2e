"""What a run leaves behind: its journal, its history, its log."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from nbtrain import options
from nbtrain.errors import CommandRejected
from nbtrain.runs.train import launch
from nbtrain.store.catalog import Store
from tests.engine.harness import classes, network
from tests.runs.harness import PATIENCE, Gate, begin, done, until


def test_the_journal_folds_to_the_history_of_the_live_run() -> None:
    run = begin(epochs=20, pace=2000.0)
    run.set(lr=0.5)
    run.pause()
    run.undo()
    run.evaluate()
    run.resume()
    run.wait(PATIENCE)
    stored = Store.locate().find("run").history()
    live = run.history
    assert stored.problems == ()
    for name in ("id", "state", "outcome", "reason", "step", "samples", "updates", "epoch"):
        assert getattr(stored, name) == getattr(live, name), name
    assert stored.knobs == live.knobs
    assert stored.actions == live.actions
    assert stored.best == live.best
    assert stored.names == live.names
    for name in live.names:
        assert np.array_equal(stored[name], live[name], equal_nan=True), name
    assert stored.spec == live.spec


def test_an_unwritable_store_lets_the_run_live_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NBTRAIN_HOME", str(tmp_path / "file" / "store"))
    run = done()
    assert run.path is None
    assert "in memory" in run.history.notices["store"].text
    assert "NBTRAIN_HOME" in run.history.notices["store"].text
    with pytest.raises(CommandRejected, match=r"run\.save\(path\)"):
        run.save()
    assert done().number == 2


def test_a_disk_that_is_full_is_told_and_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    gate = Gate(2)
    run = begin(training_step=gate, epochs=100, pace=1000.0)
    gate.arrive()

    def full(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        gate.open.set()
        until(run, lambda: "store" in run.history.notices)
        step = run.history.step
        until(run, lambda: run.history.step > step + 5)
    assert "No space left" in run.history.notices["store"].text
    assert "in memory" in run.history.notices["store"].text
    run.stop()
    run.wait(PATIENCE)


# ── what is written ───────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("always:careful")
def test_prints_of_a_step_go_to_its_log_only(capsys: pytest.CaptureFixture[str]) -> None:
    def step(model: Any, batch: Any) -> Tensor:
        print("hello from the step")
        warnings.warn("careful", stacklevel=1)
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    run = done(training_step=step, epochs=1)
    print("hello from the cell")
    text = run.log.text
    assert "hello from the step" in text
    assert "careful" in text
    assert capsys.readouterr().out == "hello from the cell\n"


def test_markup_in_names_stays_text() -> None:
    name = "<img src=x onerror=alert(1)>"
    run = done(metrics={name: lambda o, t: 1.0})
    assert name in run.history.names
    assert f"val_{name}" in run.history.names


def test_a_cell_too_long_to_store_is_told(store: Path) -> None:
    namespace = {"model": network(), "data": classes(40)}
    settings = {**options.defaults(), "epochs": 1, "panel": False}
    source = "model = data = 1  # " + "x" * (9 * 2**20)
    run = launch(namespace, settings, (), "cell", source=source)
    run.wait(PATIENCE)
    assert "A Created of" in run.history.notices["store"].text
    assert run.spec.source == source
    stored = Store.locate().find("cell").history()
    assert stored.problems == ()
    assert stored.state == "finished"
    assert stored.spec is not None
    assert stored.spec.source.endswith("left out)")
