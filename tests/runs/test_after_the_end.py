"""What a finished run still does: going on, being measured, answering."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from nbtrain import messages as m
from nbtrain.errors import CommandRejected, RunFailed, UsageError
from nbtrain.runs.train import train
from nbtrain.store.lease import held
from tests.engine.harness import classes, network, same, weights
from tests.runs.harness import PATIENCE, Gate, begin, done, until


def test_ten_more_epochs() -> None:
    run = done(epochs=2, val_split=0.0)
    run.set(epochs=12)
    run.wait(PATIENCE)
    assert run.history.epoch == 12
    whole = done(epochs=12, val_split=0.0)
    assert same(weights(run.model), weights(whole.model)), "as if it had never ended"
    assert (run.history["loss"] == whole.history["loss"]).all()


def test_ten_more_steps() -> None:
    run = done(epochs=2)
    step = run.history.step
    run.set(steps=step + 10)
    run.wait(PATIENCE)
    assert run.history.step == step + 10
    run.undo()
    assert run.state == "completed"
    assert run.history.step == step + 10


def test_more_epochs_after_so_many_steps() -> None:
    run = done(epochs=2, steps=3, val_split=0.0)
    run.set(epochs=4)
    run.wait(PATIENCE)
    assert run.history.epoch == 4
    assert run.history.knobs["steps"] is None


def test_fewer_epochs_than_are_done_are_those_that_are_done() -> None:
    run = done(epochs=4)
    answer = run.set(epochs=3)
    assert "4 epochs are done already" in repr(answer)
    assert run.history.epochs == 4


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


def test_a_run_whose_model_got_other_layers_goes_on_and_ends() -> None:
    run = begin(epochs=50, pace=500.0, lr=1.0)
    until(run, lambda: bool(run.history.best) and run.history.step > run.history.best.step + 1)
    run.stop("best")
    run.wait(PATIENCE)
    run.model[0] = nn.Sequential(run.model[0])
    run.set(lr=0.0, pace="off")
    run.resume()
    run.wait(PATIENCE)
    assert run.state == "completed"
    with pytest.raises(UsageError, match="other parameters now"):
        _ = run.best_model


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


class Counted(IterableDataset[Any]):
    """A stream of so many samples."""

    def __iter__(self) -> Any:
        X, y = classes(20)
        return iter(list(zip(X, y, strict=True)))


@pytest.mark.parametrize("val", [None, Counted()], ids=["no validation", "validation"])
def test_a_stream_that_is_done_has_done_its_epochs(val: Any) -> None:
    run = done(train_data=Counted(), val_data=val)
    assert run.history.epoch == 2.0
    assert "epoch 2/2" in repr(run)
    run.set(epochs=3)
    run.wait(PATIENCE)
    assert "epoch 3/3" in repr(run)
    assert run.history.epochs_of([6, 7]).tolist() == [1.0, 2.0]


def test_epochs_that_leave_samples_out_are_whole_at_the_end() -> None:
    loader = DataLoader(TensorDataset(*classes(20)), batch_size=6, drop_last=True)
    settings = {"epochs": 2, "panel": False, "wait": False}
    run = train(network(), train_data=loader, **settings).wait(PATIENCE)
    assert run.history.step == 6
    assert run.history.epoch == 2.0
