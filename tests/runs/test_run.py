"""A run as its owner holds it: commands, their answers, and waiting for it."""

from __future__ import annotations

import signal
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nbtrain import messages as m
from nbtrain.errors import CommandRejected, InvalidValue, UnknownName, UsageError
from nbtrain.runs import run as run_module
from tests.runs.harness import PATIENCE, Gate, begin, done, paused, until


def test_an_answer_tells_step_old_and_new() -> None:
    run = paused(lr=0.1)
    answer = run.set(lr=0.01)
    assert answer.step == run.history.step
    assert repr(answer) == f"run: lr 0.1 → 0.01 after step {answer.step}"
    assert [str(a) for a in run.set(l1=1e-4, l2=0.0)] == [
        f"run: l1 off → 1.0e-4 after step {answer.step}",
        f"run: l2 off → off after step {answer.step}",
    ]
    assert "undo" not in repr(run.undo())
    assert run.history.knobs["l1"] == 1e-4


def test_numbers_of_numpy_and_torch_are_taken() -> None:
    run = paused()
    run.set(lr=np.float32(0.5), patience=torch.tensor(3))
    assert run.history.knobs["lr"] == 0.5
    assert run.history.knobs["patience"] == 3


@pytest.mark.parametrize(
    ("knobs", "kind", "word"),
    [
        ({"lrr": 1}, UnknownName, "lr"),
        ({"lr": -1}, InvalidValue, "from 0"),
        ({"seed": 1}, UnknownName, "fixed when the run starts"),
        ({}, UsageError, "Name a knob"),
        ({"lr": np.zeros(3)}, UsageError, "one number"),
        ({"dropout.9": 0.1}, UnknownName, "dropout layer"),
    ],
)
def test_what_can_be_checked_at_once_is(
    knobs: dict[str, Any], kind: type[Exception], word: str
) -> None:
    run = paused()
    before = run.history.version
    with pytest.raises(kind, match=word):
        run.set(**knobs)
    assert run.history.version == before


def test_nothing_is_set_where_one_of_several_is_wrong() -> None:
    run = paused(lr=0.1)
    with pytest.raises(InvalidValue):
        run.set(lr=0.5, l1=-1)
    assert run.history.knobs["lr"] == 0.1


def test_a_refusal_is_raised_with_its_reason() -> None:
    run = paused()
    with pytest.raises(CommandRejected, match="paused already"):
        run.pause()
    with pytest.raises(UnknownName, match="best"):
        run.stop(restore="first")
    with pytest.raises(UnknownName, match="rebase"):
        run.set(lr=0.1, schedule="keep")


def test_one_step_is_one_step() -> None:
    run = paused()
    step = run.history.step
    assert repr(run.step(3)) == f"run: 3 steps after step {step}"
    until(run, lambda: run.history.step == step + 3 and run.state == "paused")
    assert run.resume().step == step + 3


@pytest.mark.parametrize("count", ["3", 2.5, 0, -1, True, None])
def test_what_is_no_number_of_steps_is_refused_before_it_is_sent(count: Any) -> None:
    run = paused()
    with pytest.raises(InvalidValue, match="no number of steps"):
        run.step(count)
    with pytest.raises(InvalidValue, match=r"count|steps cannot be taken"):
        run.send(m.OneStep(count=count))
    assert run.state == "paused"
    assert run.step(np.int64(1)).event


@pytest.mark.parametrize(
    ("setting", "asked", "kept"),
    [(True, None, "best"), (False, None, "last"), (True, "last", "last"), (False, "best", "best")],
)
def test_stopping_follows_the_runs_own_setting_unless_a_word_says_otherwise(
    setting: bool, asked: m.Restore | None, kept: str
) -> None:
    run = begin(epochs=500, pace=500.0, restore_best=setting)
    until(run, lambda: bool(run.history.best) and run.history.step > run.history.best.step)
    assert f"with the {kept} weights" in repr(run.stop(asked))


def test_evaluate_gives_the_metrics_of_now() -> None:
    run = paused()
    step = run.history.step
    metrics = run.evaluate()
    assert set(metrics) == {"val_loss", "val_accuracy"}
    assert run.history.steps("val_loss")[-1] == step
    with torch.no_grad():
        X, y = next(iter(run._execution.task.data.val.epoch(0, batch_size=99)))[0]
        loss = nn.functional.cross_entropy(run.model(X), y)
    assert metrics["val_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_a_run_that_cannot_measure_yet_says_so_and_measures_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_module, "ANSWER_SECONDS", 0.05)
    gate = Gate(1)
    first = begin(name="first", training_step=gate)
    gate.arrive()
    assert "middle of a long step" in repr(first.evaluate())
    second = begin(name="second")
    assert "waits for its device" in repr(second.evaluate())
    gate.open.set()
    second.wait(PATIENCE)
    for run in (first, second):
        assert [a.action for a in run.history.actions] == ["Evaluate"], "it was only sent"


def test_a_copy_of_a_command_acts_once() -> None:
    run = paused(lr=0.1)
    command = m.Set(knob="lr", value=0.5)
    for _ in range(3):
        run.send(command)
    run.evaluate()
    assert len([a for a in run.history.actions if a.knob == "lr"]) == 1


def test_commands_before_the_start_act_at_the_start() -> None:
    gate = Gate(1)
    first = begin(name="first", training_step=gate)
    second = begin(name="second", lr=0.1)
    answer = second.set(lr=0.5)
    assert answer.step is None
    assert "waits for its device" in repr(answer)
    gate.open.set()
    second.wait(PATIENCE)
    first.wait(PATIENCE)
    assert (second.history["lr"] == 0.5).all()


def test_a_run_tells_what_it_is() -> None:
    run = done()
    text = repr(run)
    for part in ("run@1", "completed", "epoch 2/2", "best at step"):
        assert part in text


# ── waiting ───────────────────────────────────────────────────────────────────────────────


def test_waiting_has_an_end_and_leaves_the_run_alive() -> None:
    gate = Gate(1)
    run = begin(training_step=gate)
    gate.arrive()
    with pytest.raises(TimeoutError, match="still running"):
        run.wait(0.01)
    assert run.live
    gate.open.set()
    assert run.wait(PATIENCE) is run


@pytest.mark.parametrize("ask", [lambda run: run.wait(PATIENCE), lambda run: run.set(lr=0.5)])
def test_interrupting_the_wait_leaves_the_run_alive(ask: Any) -> None:
    gate = Gate(1)
    run = begin(training_step=gate)
    gate.arrive()
    main = threading.main_thread().ident
    assert main is not None

    def interrupted() -> None:
        threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()
        ask(run)

    with pytest.raises(KeyboardInterrupt) as raised:
        interrupted()
    assert run.live
    (line,) = raised.value._render_traceback_()
    assert "Only the wait was interrupted: run is running at step 0" in line
    gate.open.set()
    run.wait(PATIENCE)
