"""A run as its owner holds it: commands and answers, the model, the end and beyond it."""

from __future__ import annotations

import gc
import signal
import threading
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nbtrain import messages as m
from nbtrain.errors import (
    CommandRejected,
    DataError,
    InvalidValue,
    RunFailed,
    UnknownName,
    UsageError,
)
from nbtrain.runs import registry
from nbtrain.runs import run as run_module
from nbtrain.store.catalog import Store
from nbtrain.store.lease import held
from tests.engine.harness import classes, network, same, values, weights
from tests.runs.harness import PATIENCE, Gate, begin, done, until


def paused(**settings: Any) -> Any:
    """A run that waits at some step."""
    run = begin(pace=2000.0, epochs=1000, **settings)
    run.pause()
    until(run, lambda: run.state == "paused")
    return run


# ── commands and their answers ────────────────────────────────────────────────────────────


def test_an_answer_tells_step_old_and_new() -> None:
    run = paused(lr=0.1)
    answer = run.set(lr=0.01)
    assert answer.step == run.history.step
    assert repr(answer) == f"run: lr 0.1 → 0.01 after step {answer.step}"
    assert [str(a) for a in run.set(l1=1e-4, l2=0.0)] == [
        f"run: l1 0 → 1.0e-4 after step {answer.step}",
        f"run: l2 0 → 0 after step {answer.step}",
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
    run.step(3)
    until(run, lambda: run.history.step == step + 3 and run.state == "paused")
    assert run.resume().step == step + 3


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


def test_a_run_that_cannot_measure_yet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "ANSWER_SECONDS", 0.05)
    gate = Gate(1)
    first = begin(name="first", training_step=gate)
    gate.arrive()
    with pytest.raises(CommandRejected, match="middle of a long step"):
        first.evaluate()
    with pytest.raises(CommandRejected, match="waits for its device"):
        begin(name="second").evaluate()
    gate.open.set()
    first.wait(PATIENCE)


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


def test_interrupting_the_wait_leaves_the_run_alive() -> None:
    gate = Gate(1)
    run = begin(training_step=gate)
    gate.arrive()
    main = threading.main_thread().ident
    assert main is not None

    def interrupted() -> None:
        threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()
        run.wait(PATIENCE)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert run.live
    gate.open.set()
    run.wait(PATIENCE)


# ── the queue ─────────────────────────────────────────────────────────────────────────────


def test_a_second_run_queues_behind_the_first() -> None:
    gate = Gate(1)
    first = begin(name="first", training_step=gate)
    gate.arrive()
    second = begin(name="second")
    assert second.state == "queued"
    assert second.history.behind == "first"
    assert [run.name for run in registry.live()] == ["first", "second"]
    gate.open.set()
    second.wait(PATIENCE)
    assert first.state == "completed"


def test_sharing_trains_beside_it() -> None:
    gate = Gate(1)
    first = begin(name="first", training_step=gate)
    gate.arrive()
    assert done(name="second", share=True).state == "completed"
    assert first.live
    gate.open.set()
    first.wait(PATIENCE)


def test_stopping_a_queued_run() -> None:
    gate = Gate(1)
    first = begin(name="first", training_step=gate)
    gate.arrive()
    model = network()
    second = begin(model, name="second")
    change = m.Set(knob="lr", value=0.5)
    second.send(change)
    second.stop()
    assert second.wait(PATIENCE).state == "stopped"
    assert second.history.reason == "stopped before it began"
    assert isinstance(second.history.answers[change.id], m.Rejected)
    assert type(model) is nn.Sequential
    gate.open.set()
    first.wait(PATIENCE)
    with pytest.raises(CommandRejected, match="run its cell again"):
        second.resume()


# ── the model ─────────────────────────────────────────────────────────────────────────────


def test_the_model_of_a_live_run_is_a_copy_as_of_a_step() -> None:
    run = paused()
    copied = run.model
    assert copied is not run._execution.task.model
    assert not copied.training
    before = weights(copied)
    run.step(2)
    until(run, lambda: run.state == "paused")
    assert same(weights(copied), before)
    with torch.no_grad():
        copied[0].weight.zero_()
    assert not same(weights(run.model), weights(copied))


def test_the_model_of_a_finished_run_is_the_users_own() -> None:
    model = network(0.3)
    run = done(model)
    assert run.model is model
    assert type(model) is nn.Sequential
    assert not model.training
    assert run.trained(model)


def test_calling_the_users_model_works_on_a_copy_and_warns_once() -> None:
    model = network(0.3)
    run = begin(model, name="digits", pace=2000.0, epochs=1000, val_split=0.0)
    until(run, lambda: run.history.step > 0)
    run.pause()
    with pytest.warns(UserWarning, match=r"digits\.model"):
        answer = model(torch.ones(2, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(model(torch.ones(2, 4)), answer), "and without dropout"
    with pytest.warns(UserWarning, match="was left to it"):
        model.eval()
    assert model.training
    run.stop()
    run.wait(PATIENCE)


def test_the_best_model() -> None:
    run = begin(epochs=2, pace=1e5)
    run.wait(PATIENCE)
    best = run.best_model
    assert best is not run.model
    assert same(weights(best), run._execution.training.best.state)


def test_there_is_no_best_model_before_a_validation() -> None:
    gate = Gate(1)
    run = begin(training_step=gate)
    gate.arrive()
    threading.Timer(0.0, gate.open.set).start()
    run.pause()
    if run.history.best is None:
        with pytest.raises(UsageError, match="evaluate"):
            run.best_model
    run.stop("last")


def test_predicting_classes_bits_and_values() -> None:
    X, y = classes(60)
    run = done(network(), (X, y), epochs=20, lr=0.02)
    answers = run.predict(X)
    assert answers.shape == y.shape
    assert not answers.is_floating_point()
    assert (answers == y).float().mean() > 0.8
    assert run.predict(X.numpy(), raw=True).shape == (60, 3)
    assert torch.equal(run.predict(X.double().numpy()), answers)
    assert torch.equal(run.predict(X.tolist()), answers)

    bits = (X[:, 0] > 0).float()
    run = done(nn.Linear(4, 1), (X, bits), epochs=60, lr=0.05)
    assert set(run.predict(X).unique().tolist()) <= {0, 1}
    assert (run.predict(X).flatten() == bits).float().mean() > 0.8

    probable = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid(), nn.Flatten(0))
    run = done(probable, (X, bits), loss=nn.BCELoss(), epochs=60, lr=0.05)
    assert (run.predict(X) == bits).float().mean() > 0.8

    run = done(nn.Linear(4, 1), values(60))
    assert run.predict(X).is_floating_point()
    assert run.predict(X).shape == (60, 1)


def test_predicting_from_several_inputs() -> None:
    from tests.engine.test_task import Two

    X, y = classes(40)
    inputs = {"left": X, "right": X[:, :2]}
    run = done(Two(), (inputs, y))
    assert run.predict(inputs).shape == (40,)
    assert torch.equal(run.predict({k: v.numpy() for k, v in inputs.items()}), run.predict(inputs))


@pytest.mark.parametrize(
    ("inputs", "word"),
    [(["a", "b"], "like the X"), (np.zeros((0, 4)), "no sample"), (3.0, "single number")],
)
def test_what_cannot_be_predicted(inputs: Any, word: str) -> None:
    run = done()
    with pytest.raises(DataError, match=word):
        run.predict(inputs)


def test_predicting_changes_nothing() -> None:
    model = network(0.5)
    run = paused(model=model)
    state, modes = weights(model), [module.training for module in model.modules()]
    before = torch.get_rng_state()
    run.predict(torch.zeros(3, 4))
    assert same(weights(model), state)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(before, torch.get_rng_state())


def test_weights_are_saved_where_asked(tmp_path: Path) -> None:
    from safetensors.torch import load_model

    run = paused()
    path = run.save(tmp_path / "deep" / "digits")
    assert path == tmp_path / "deep" / "digits.safetensors"
    model = network()
    load_model(model, path)
    assert same(weights(model), weights(run.model))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CommandRejected, match="cannot be written"):
        run.save(tmp_path / "file" / "digits")
    assert "save" in repr(run.save())
    assert run.path is not None
    assert list((run.path / "checkpoints").glob("step-*.safetensors"))


# ── the end and beyond it ─────────────────────────────────────────────────────────────────


def test_ten_more_epochs() -> None:
    run = done(epochs=2, val_split=0.0)
    run.set(epochs=12)
    run.wait(PATIENCE)
    assert run.history.epoch == 12
    whole = done(epochs=12, val_split=0.0)
    assert same(weights(run.model), weights(whole.model)), "as if it had never ended"
    assert (run.history["loss"] == whole.history["loss"]).all()


def test_going_on_after_a_stop_is_as_if_there_had_been_none() -> None:
    run = begin(epochs=8, pace=500.0, lr=0.3)
    until(run, lambda: run.history.epoch > 3)
    run.stop("best")
    run.wait(PATIENCE)
    assert run.state == "early-stopped"
    assert run.history.restored == run.history.best.step
    run.set(pace="off")
    run.resume()
    run.wait(PATIENCE)
    assert run.state == "completed"
    assert same(weights(run.model), weights(done(epochs=8, lr=0.3).model))


def test_what_the_user_did_to_the_best_weights_stays() -> None:
    run = begin(epochs=50, pace=500.0, lr=1.0)
    until(run, lambda: bool(run.history.best) and run.history.step > run.history.best.step + 1)
    run.stop("best")
    run.wait(PATIENCE)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.fill_(0.0)
    run.set(lr=0.0, pace="off")
    run.resume()
    run.wait(PATIENCE)
    assert all((parameter == 0).all() for parameter in run.model.parameters())


def test_one_step_after_the_end_takes_one() -> None:
    run = begin(epochs=100, pace=500.0)
    until(run, lambda: run.history.step > 2)
    run.stop("last")
    run.wait(PATIENCE)
    step = run.history.step
    run.step()
    until(run, lambda: run.state == "paused")
    assert run.history.step == step + 1


def test_a_finished_run_answers_what_it_cannot_do() -> None:
    run = done(val_split=0.0)
    with pytest.raises(CommandRejected, match="set epochs higher"):
        run.resume()
    with pytest.raises(CommandRejected, match="has finished"):
        run.pause()
    with pytest.raises(CommandRejected, match="has finished"):
        run.stop()
    with pytest.raises(CommandRejected, match="val_data"):
        run.evaluate()
    assert run.set(lr=0.5).step == run.history.step
    assert run.state == "completed"
    run.undo()
    assert run.history.knobs["lr"] == 0.001


def test_a_finished_run_can_be_measured_and_saved() -> None:
    run = done()
    metrics = run.evaluate()
    assert metrics["val_loss"] == pytest.approx(float(run.history["val_loss"][-1]))
    run.save()
    assert run.state == "completed"
    assert type(run.model) is nn.Sequential


def test_a_pause_while_a_finished_run_is_measured_is_refused() -> None:
    class Slow:
        ended = False
        reached, open = threading.Event(), threading.Event()

        def __call__(self, outputs: Tensor, targets: Tensor) -> float:
            if self.ended:
                self.reached.set()
                assert self.open.wait(PATIENCE)
            return 0.0

    metric = Slow()
    run = done(metrics={"own": metric})
    metric.ended = True
    measure, pause = m.Evaluate(), m.Pause()
    run.send(measure)
    assert metric.reached.wait(PATIENCE)
    run.send(pause)
    metric.open.set()
    until(run, lambda: pause.id in run.history.answers)
    assert isinstance(run.history.answers[measure.id], m.Applied)
    answer = run.history.answers[pause.id]
    assert isinstance(answer, m.Rejected)
    assert "has finished" in answer.reason
    assert run.state == "completed"
    assert not any(isinstance(e, m.Paused) for e in run._execution.folder.journal.read().events)


def test_what_cannot_happen_never_reaches_the_journal() -> None:
    run = done()
    execution = run._execution
    before = len(execution.folder.journal.read().events)
    with pytest.raises(ValueError, match="Paused cannot happen"):
        execution._emit(m.Paused(**execution.training.place))
    assert len(execution.folder.journal.read().events) == before


def test_an_error_after_the_end_leaves_the_run_as_it_ended() -> None:
    class Breaks:
        broken = False

        def __call__(self, outputs: Tensor, targets: Tensor) -> float:
            if self.broken:
                raise RuntimeError("the metric broke")
            return 0.0

    metric = Breaks()
    run = done(metrics={"own": metric})
    metric.broken = True
    with pytest.raises(CommandRejected, match="the metric broke"):
        run.evaluate()
    assert run.state == "completed"
    metric.broken = False
    assert run.evaluate()["val_own"] == 0.0
    assert done(name="another").state == "completed"


def test_a_failed_run_does_not_go_on() -> None:
    def step(model: Any, batch: Any) -> Tensor:
        raise ValueError("no")

    run = begin(training_step=step)
    with pytest.raises(RunFailed):
        run.wait(PATIENCE)
    for ask in (run.resume, run.evaluate, lambda: run.set(epochs=50)):
        with pytest.raises(CommandRejected, match="run its cell again"):
            ask()


def test_keeping_both_goes_on_beside_the_new_one() -> None:
    old = begin(name="digits", epochs=100, pace=500.0)
    until(old, lambda: old.history.step > 2)
    old.send(m.Stop(restore="last", early=False))
    old.wait(PATIENCE)
    assert old.state == "stopped"
    gate = Gate(1)
    new = begin(name="digits", training_step=gate)
    gate.arrive()
    old.send(m.Resume(share=True))
    until(old, lambda: old.live)
    old.set(pace="off")
    old.wait(PATIENCE)
    assert new.live
    assert old.history.epoch == 100
    gate.open.set()
    new.wait(PATIENCE)


def test_a_job_for_the_ended_run_leaves_the_one_that_goes_on_alone() -> None:
    """A command waits behind the new run for the old one's trainer, which *Keep both* leaves."""
    old = begin(name="digits", epochs=100, pace=500.0)
    until(old, lambda: old.history.step > 2)
    old.send(m.Stop(restore="last", early=False))
    old.wait(PATIENCE)
    gate = Gate(1)
    new = begin(name="digits", training_step=gate)
    gate.arrive()
    late = m.Set(knob="lr", value=0.5)
    old.send(late)
    old.send(m.Resume(share=True))
    until(old, lambda: old.live and late.id in old.history.answers)
    gate.open.set()
    new.wait(PATIENCE)
    done(name="behind")
    assert old.live
    assert type(old._execution.task.model) is not nn.Sequential, "still the run's"
    assert old.path is not None
    assert held(old.path)
    old.set(pace="off")
    old.wait(PATIENCE)
    assert old.history.epoch == 100


def test_a_finished_run_does_not_take_a_model_that_another_trains() -> None:
    model = network()
    first = begin(model, name="first", epochs=100, pace=500.0)
    until(first, lambda: first.history.step > 2)
    first.stop("last")
    first.wait(PATIENCE)
    gate = Gate(1)
    second = begin(model, name="second", training_step=gate, share=True)
    gate.arrive()
    with pytest.raises(CommandRejected, match="'second' is training this model"):
        first.resume()
    gate.open.set()
    second.wait(PATIENCE)


# ── failures ──────────────────────────────────────────────────────────────────────────────


class Mistake(Exception):
    """The user's own."""


def broken_step(model: nn.Module, batch: Any) -> Tensor:
    big = torch.zeros(1000)
    HELD.append(weakref.ref(big))
    raise Mistake("in my step")


HELD: list[weakref.ref[Tensor]] = []


def test_the_users_exception_is_the_runs_error() -> None:
    model = network(0.2)
    run = begin(model, training_step=broken_step)
    with pytest.raises(RunFailed, match="in my step") as raised:
        run.wait(PATIENCE)
    assert isinstance(run.error, Mistake)
    assert raised.value.__cause__ is run.error
    assert run.state == "failed"
    assert run.history.error.endswith("Mistake: in my step")
    lines = (run.history.traceback or "").splitlines()
    assert "in broken_step" in lines[1], "it begins in the user's own frame"
    assert "nbtrain/" not in (run.history.traceback or "")
    assert type(model) is nn.Sequential
    assert done(model).state == "completed", "the kernel lives on"


def test_what_the_failed_frames_held_is_let_go() -> None:
    run = begin(training_step=broken_step)
    with pytest.raises(RunFailed):
        run.wait(PATIENCE)
    gc.collect()
    assert HELD[-1]() is None


def test_an_error_inside_pytorch_begins_at_the_users_forward() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                x = x[:, :2]
            return self.layer(x)

    run = begin(Wrong())
    with pytest.raises(RunFailed):
        run.wait(PATIENCE)
    assert "in forward" in (run.history.traceback or "").splitlines()[1]
    assert "self.layer(x)" in (run.history.traceback or "").splitlines()[2]


def test_leaving_the_interpreter_from_a_step_only_fails_the_run() -> None:
    def step(model: Any, batch: Any) -> Tensor:
        raise SystemExit(3)

    run = begin(training_step=step)
    with pytest.raises(RunFailed):
        run.wait(PATIENCE)
    assert isinstance(run.error, SystemExit)


def test_out_of_memory_says_what_to_change() -> None:
    def step(model: Any, batch: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.50 GiB. GPU 0")

    run = begin(training_step=step, batch_size=8)
    with pytest.raises(RunFailed) as raised:
        run.wait(PATIENCE)
    for word in ("7.50 GiB more were wanted", "holds", "it is 8", "--precision bf16"):
        assert word in str(raised.value)
    assert isinstance(run.error.__cause__, torch.OutOfMemoryError)


def test_a_loss_that_is_no_number_fails_where_nobody_watches() -> None:
    def step(model: Any, batch: Any) -> Tensor:
        return model(batch[0]).sum() * float("nan")

    before = weights(network())
    run = begin(training_step=step)
    with pytest.raises(RunFailed, match="the loss is NaN") as raised:
        run.wait(PATIENCE)
    assert run.error is not None
    assert raised.value.__cause__ is run.error
    assert same(weights(run.model), before)


def test_a_loss_that_is_no_number_pauses_where_somebody_does() -> None:
    class Once(Gate):
        def __call__(self, model: nn.Module, batch: Any) -> Tensor:
            loss = super().__call__(model, batch)
            return loss * float("nan") if self.calls == 3 and torch.is_grad_enabled() else loss

    run = begin(training_step=Once(), panel=True)
    until(run, lambda: run.state == "paused")
    assert "not-finite" in run.history.notices
    assert run.history.step == 3
    run.set(lr=1e-4)
    run.resume()
    assert run.wait(PATIENCE).state == "completed"


# ── what is on the disk ───────────────────────────────────────────────────────────────────


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


def test_a_run_tells_what_it_is() -> None:
    run = done()
    text = repr(run)
    for part in ("run@1", "completed", "epoch 2/2", "best at step"):
        assert part in text


def test_markup_in_names_stays_text() -> None:
    name = "<img src=x onerror=alert(1)>"
    run = done(metrics={name: lambda o, t: 1.0})
    assert name in run.history.names
    assert f"val_{name}" in run.history.names
