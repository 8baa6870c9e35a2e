"""Checkpoints: whole files, no pickle, tied weights, and a disk that is full."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from nbtrain import messages as m
from nbtrain.engine import checkpoint
from nbtrain.engine.checkpoint import load_weights
from nbtrain.engine.control import Script
from tests.engine.harness import classes, network, run_loop, same, values, weights
from tests.engine.test_optimizers import Tied


def go(folder: Path, commands: Any = (), **settings: Any) -> Any:
    settings = {"epochs": 2, "batch_size": 8, "val_split": 0.0, **settings}
    return run_loop(network(0.2), classes(40), commands, folder=folder, **settings)


def test_what_was_written_can_be_loaded(tmp_path: Path) -> None:
    run = go(tmp_path / "checkpoints", [(10, m.Save())])
    written = [e for e in run.of(m.Checkpointed) if e.why == "asked"]
    assert same(load_weights(tmp_path / written[0].file), weights(run.model))


def test_it_holds_where_the_run_is(tmp_path: Path) -> None:
    go(tmp_path, [(7, m.Save())], scheduler="cosine", early_stop="loss", early_mode="max")
    with safe_open(tmp_path / "step-00000007.safetensors", framework="pt") as file:
        names = set(file.keys())
        rest = json.loads(file.metadata()["nbtrain"])
    assert {"model.0.weight", "optimizer.0.exp_avg", "draws.cpu"} <= names
    assert (rest["step"], rest["epoch"], rest["position"], rest["samples"]) == (7, 1, 16, 56)
    assert rest["knobs"]["epochs"] == 2
    assert rest["schedule"]["factor"] == 1.0
    assert (rest["early"]["monitor"], rest["early"]["mode"]) == ("loss", "max")
    assert rest["optimizer"]["groups"][0]["betas"] == [0.9, 0.999]


def test_tied_weights_are_stored_once_and_loaded_as_two(tmp_path: Path) -> None:
    X, _ = values(40)
    run = run_loop(Tied(), (X, X), [(1, m.Save())], folder=tmp_path, steps=1, val_split=0.0)
    path = tmp_path / "step-00000001.safetensors"
    with safe_open(path, framework="pt") as file:
        assert "model.decode.weight" not in set(file.keys())
    state = load_weights(path)
    model = Tied()
    model.load_state_dict(state)
    assert same(weights(model), weights(run.model))


def test_odd_tensors_are_stored(tmp_path: Path) -> None:
    model = network()
    model.register_buffer("empty", torch.zeros(0))
    model.register_buffer("view", torch.arange(12.0).reshape(3, 4).t()[1:])
    model.register_buffer("flag", torch.tensor(True))
    run = run_loop(
        model,
        classes(40),
        [(1, m.Save())],
        folder=tmp_path,
        steps=1,
        val_split=0.0,
        training_step=lambda model, batch: nn.functional.cross_entropy(
            nn.Sequential.forward(model, batch[0]), batch[1]
        ),
    )
    assert same(load_weights(tmp_path / "step-00000001.safetensors"), weights(run.model))


def test_the_newest_is_replaced_and_none_is_left_half(tmp_path: Path) -> None:
    run = go(tmp_path)
    names = [e.file for e in run.of(m.Checkpointed)]
    assert set(names) == {f"{tmp_path.name}/newest.safetensors"}
    assert [p.name for p in tmp_path.iterdir()] == ["newest.safetensors"]


@pytest.mark.parametrize(("every", "count"), [(1, 1), (2, 1), (3, 0), ("off", 0)])
def test_interval_checkpoints_come_as_often_as_asked_for(
    tmp_path: Path, every: Any, count: int
) -> None:
    run = go(tmp_path, checkpoint_every=every)
    written = [e for e in run.of(m.Checkpointed) if e.why == "interval"]
    assert min(1, len(written)) == count, "more only where they cost little of the training"


def test_the_best_weights_are_on_the_disk_with_the_next_interval_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_APART", 0.0)
    monkeypatch.setattr(checkpoint, "_SHARE", 1e6)
    there: list[tuple[int, dict[str, torch.Tensor]]] = []

    class Reader(Script):
        def emit(self, event: m.Event) -> None:
            super().emit(event)
            if isinstance(event, m.Checkpointed) and event.why == "best":
                there.append((event.step, load_weights(tmp_path / "best.safetensors")))

    run = go(tmp_path, control=Reader(), val_split=0.2, epochs=3)
    assert [step for step, _ in there] == [e.step for e in run.of(m.Validated) if e.best]
    assert there[0][0] == 4, "as soon as the first epoch has ended"
    assert same(there[-1][1], run.training.best.state)


def test_a_full_disk_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    save = m.Save()
    run = go(tmp_path, [(3, save)])
    assert run.step == 10
    notice = run.history.notices["checkpoint"]
    assert "No space left on device" in notice.text
    assert "Training goes on" in notice.text
    assert "could not be written" in run.reason(save)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    run = go(tmp_path / "file" / "checkpoints")
    assert run.step == 10
    assert "checkpoint" in run.history.notices


def test_what_the_library_says_of_a_full_disk_is_no_error_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **keywords: Any) -> None:
        raise checkpoint.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    run = go(tmp_path)
    assert run.step == 10
    assert "No space left" in run.history.notices["checkpoint"].text


def test_saving_in_memory_is_refused_with_what_to_do() -> None:
    save = m.Save()
    run = run_loop(network(), classes(40), [(1, save)], epochs=1)
    assert "run.save(path)" in run.reason(save)


def test_a_full_memory_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(checkpoint, "state_of", full)
    save = m.Save()
    run = go(tmp_path, [(3, save)])
    assert run.step == 10
    assert "out of memory" in run.history.notices["checkpoint"].text
    assert "could not be written" in run.reason(save)
