"""What a run does beside its steps: notices, the interpreter's turns, odd moments."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
import torch
from torch import nn

from nbtrain import messages as m
from nbtrain.errors import ModelError, UsageError
from nbtrain.runs import access, execution, interpreter
from nbtrain.runs.execution import Execution
from tests.engine.harness import classes, network
from tests.runs.harness import PATIENCE, Gate, begin, done, until


def test_commands_that_come_with_the_end_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last control point and the end nobody looks into the inbox."""
    late = m.Set(knob="lr", value=0.5)
    conclude = Execution._conclude

    def concludes(self: Execution) -> None:
        self.send(late)
        conclude(self)

    monkeypatch.setattr(Execution, "_conclude", concludes)
    run = done()
    until(run, lambda: late.id in run.history.answers)
    assert isinstance(run.history.answers[late.id], m.Applied)
    assert run.state == "completed"


def test_a_request_that_comes_with_the_end_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, concluding, models = threading.Event(), threading.Event(), []
    conclude = Execution._conclude

    def concludes(self: Execution) -> None:
        concluding.set()
        assert asked.wait(PATIENCE)
        conclude(self)

    monkeypatch.setattr(Execution, "_conclude", concludes)
    run = begin()
    assert concluding.wait(PATIENCE)
    between = run._execution.inbox.between_steps

    def between_steps(function: Any) -> Any:
        future = between(function)
        asked.set()
        return future

    monkeypatch.setattr(run._execution.inbox, "between_steps", between_steps)
    thread = threading.Thread(target=lambda: models.append(run.model))
    thread.start()
    thread.join(PATIENCE)
    assert isinstance(models[0], nn.Sequential)
    run.wait(PATIENCE)


@pytest.mark.filterwarnings("ignore:.*is training this model")
def test_a_call_on_a_thread_of_the_step_itself_fails_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access, "_STEP_SECONDS", 0.2)
    raised: list[Exception] = []

    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        def call() -> None:
            try:
                model(batch[0])
            except ModelError as error:
                raised.append(error)

        if not raised:
            thread = threading.Thread(target=call)
            thread.start()
            thread.join(PATIENCE)
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    run = done(training_step=step)
    assert run.state == "completed"
    assert "the thread that the step runs on" in str(raised[0])


def test_the_model_of_a_run_whose_thread_is_gone_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda arguments: gone.set())

    def dies(self: Execution) -> None:
        raise SystemError("a bug of ours")

    with monkeypatch.context() as patch:
        patch.setattr(Execution, "_train", dies)
        patch.setattr(Execution, "_fail", lambda self, error: dies(self))
        run = begin()
        assert gone.wait(PATIENCE)
    assert run.live
    assert isinstance(run.model, nn.Sequential)
    with pytest.raises(UsageError, match="no best weights"):
        run.best_model
    run._execution._fail(SystemError("it never ended"))
    assert run.state == "failed"


def test_an_error_for_the_asker_does_not_end_the_run() -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("no copies")

    run = begin(Stubborn(), epochs=100, pace=1000.0)
    until(run, lambda: run.history.step > 0)
    with pytest.raises(RuntimeError, match="no copies"):
        run.model
    assert run.live
    run.stop()
    assert run.wait(PATIENCE).outcome == "early-stopped"


def test_a_broken_device_does_not_keep_the_run_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nbtrain.engine import device

    def broken(where: Any) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(device, "release_memory", broken)

    def step(model: Any, batch: Any) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered")

    run = begin(training_step=step)
    assert run._execution.ended.wait(PATIENCE)
    assert run.state == "failed"
    assert done().state == "completed"


def test_what_fails_while_cleaning_up_is_told_and_the_run_ends() -> None:
    class Awake(nn.Sequential):
        finished = False

        def train(self, mode: bool = True) -> Any:
            if self.finished and not mode:
                raise RuntimeError("I never sleep")
            return super().train(mode)

    model = Awake(*network())
    run = begin(model, epochs=100, pace=1000.0)
    until(run, lambda: run.history.step > 0)
    model.finished = True
    run.send(m.Stop(restore="last"))
    assert run._execution.ended.wait(PATIENCE)
    assert not run.live
    assert "I never sleep" in run.history.notices["end"].text
    assert type(model) is Awake
    assert done().state == "completed"


def test_a_device_without_a_name_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(1)
    first = begin(name="first", training_step=gate)
    gate.arrive()
    run = begin(name="second")

    def broken(where: Any) -> str:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(execution.devices, "name_of", broken)
    gate.open.set()
    first.wait(PATIENCE)
    assert run._execution.ended.wait(PATIENCE)
    assert run.state == "failed"


def test_the_steps_before_an_error_belong_to_the_record() -> None:
    class Fails(Gate):
        def __call__(self, model: nn.Module, batch: Any) -> Any:
            if self.calls == 3:
                raise ValueError("in the fourth")
            return super().__call__(model, batch)

    run = begin(training_step=Fails())
    assert run._execution.ended.wait(PATIENCE)
    assert len(run.history["loss"]) == run.history.step == 3


def test_notes_that_come_while_training_are_shown() -> None:
    run = begin(epochs=100, pace=1000.0)
    until(run, lambda: run.history.step > 0)
    run._execution.task.data.notes.add("The loader's workers could not start.")
    until(run, lambda: "data" in run.history.notices)
    assert "could not start" in run.history.notices["data"].text


def test_an_older_run_that_was_replaced_is_offered_back() -> None:
    old = done(name="digits")
    new = begin(name="digits")
    new._execution.replaces(old.id, old.number)
    assert "digits@1 was stopped" in new.history.notices[f"replaces:{old.id}"].text
    new.wait(PATIENCE)


@pytest.mark.parametrize("ended", [False, True])
def test_an_older_run_that_goes_on_is_not_offered_again(ended: bool) -> None:
    old = begin(name="digits", epochs=100, pace=500.0)
    until(old, lambda: old.history.step > 0)
    old.stop("last")
    gate = Gate(1)
    new = begin(name="digits", training_step=gate)
    gate.arrive()
    new._execution.replaces(old.id, old.number)
    if ended:
        gate.open.set()
        new.wait(PATIENCE)
    old.send(m.Resume(share=True))
    until(new, lambda: f"replaces:{old.id}" not in new.history.notices)
    said = [notice.text for notice in new.history.notices.values()]
    assert said == ["digits@1 goes on: %train show digits@1."]
    gate.open.set()
    old.set(epochs=1)
    old.wait(PATIENCE)
    new.wait(PATIENCE)
    assert new.state == "completed"


# ── the interpreter's turns ───────────────────────────────────────────────────────────────


def test_a_busy_cell_gets_shorter_turns_and_its_own_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.getswitchinterval()
    told: list[bool] = []
    late = True
    now = 0.0

    def clock() -> float:
        """Each look takes long to get the interpreter back, while it is late."""
        nonlocal now
        now += 0.006 if late else 1e-6
        return now

    contention = interpreter.Contention(told.append)
    with monkeypatch.context() as patch:
        patch.setattr(contention._main, "busy", lambda: late)
        patch.setattr(interpreter.time, "perf_counter", clock)
        contention.look()
        contention.look()
        assert told == []
        contention.look()
        assert told == [True]
        assert sys.getswitchinterval() == pytest.approx(interpreter.SHORT)
        late = False
        for _ in range(8):
            contention.look()
        assert told == [True, False]
    assert sys.getswitchinterval() == pytest.approx(before)


def test_a_run_that_waits_gives_the_interval_back() -> None:
    before = sys.getswitchinterval()
    run = begin(epochs=100, pace=1000.0)
    until(run, lambda: run.history.step > 0)
    contention = run._execution._contention
    contention.busy = True
    interpreter._shorten()
    run.pause()
    until(run, lambda: not contention.busy)
    assert sys.getswitchinterval() == pytest.approx(before)


def test_two_runs_shorten_it_once_and_the_last_gives_it_back() -> None:
    before = sys.getswitchinterval()
    interpreter._shorten()
    interpreter._shorten()
    interpreter._restore()
    assert sys.getswitchinterval() == pytest.approx(interpreter.SHORT)
    interpreter._restore()
    assert sys.getswitchinterval() == pytest.approx(before)


def test_whoever_set_another_interval_meanwhile_meant_it() -> None:
    before = sys.getswitchinterval()
    try:
        interpreter._shorten()
        sys.setswitchinterval(0.002)
        interpreter._restore()
        assert sys.getswitchinterval() == pytest.approx(0.002)
    finally:
        sys.setswitchinterval(before)


def test_a_cell_in_pure_python_is_noticed_and_the_notice_taken_back() -> None:
    before = sys.getswitchinterval()
    run = begin(data=classes(400), epochs=100_000, val_split=0.0)
    until(run, lambda: run.history.step > 0)
    spun = 0
    # The main thread is the one that is watched: it spins until the run has noticed.
    while "interpreter" not in run.history.notices:
        spun += 1
        assert run.history.seconds < PATIENCE
    assert "keeps Python busy" in run.history.notices["interpreter"].text
    assert sys.getswitchinterval() == pytest.approx(interpreter.SHORT)
    until(run, lambda: "interpreter" not in run.history.notices)
    assert sys.getswitchinterval() == pytest.approx(before)
    run.stop("last")
    run.wait(PATIENCE)
    assert spun


def test_a_model_is_not_looked_at_while_its_run_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of a queued run's model holds its start up, so that it is never half moved."""
    gate, copying, go_on = Gate(1), threading.Event(), threading.Event()
    first = begin(name="first", training_step=gate)
    gate.arrive()

    class Slow(nn.Sequential):
        def __deepcopy__(self, memo: Any) -> Any:
            copying.set()
            assert go_on.wait(PATIENCE)
            return network()

    second = begin(Slow(*network()), name="second")
    thread = threading.Thread(target=lambda: second.model)
    thread.start()
    assert copying.wait(PATIENCE)
    gate.open.set()
    first.wait(PATIENCE)
    assert second.history.state == "queued"
    go_on.set()
    thread.join(PATIENCE)
    assert second.wait(PATIENCE).state == "completed"
