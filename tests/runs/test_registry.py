"""The runs of this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nbtrain.errors import CommandRejected
from nbtrain.runs import registry
from nbtrain.store.catalog import Store
from tests.engine.harness import classes
from tests.runs.harness import PATIENCE, Gate, begin, done, until


def test_runs_are_found_by_name_number_and_id() -> None:
    first, second = done(name="apples"), done(name="apples")
    assert registry.find("apples") is second
    assert registry.find("apples@1") is first
    assert registry.find(first.id) is first
    assert registry.find("pears") is None


def test_live_runs_stay_whatever_their_number() -> None:
    gate = Gate(1)
    first = begin(name="alive", training_step=gate)
    for _ in range(3):
        done(name="alive", share=True)
    assert registry.find("alive@1") is first
    gate.open.set()
    first.wait(PATIENCE)


def test_no_live_run_is_forgotten() -> None:
    gate = Gate(*range(1, 12))
    runs = [begin(name="alive", training_step=gate, share=True) for _ in range(11)]
    assert registry.live() == runs
    gate.open.set()
    for run in runs:
        run.wait(PATIENCE)


def test_a_run_that_goes_on_has_a_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    run = done(name="woken", epochs=1)
    done(name="woken")
    pulse = registry._pulse
    if pulse is not None:
        pulse.join(PATIENCE)
    beaten = threading.Event()
    monkeypatch.setattr(run._execution.ledger, "beat", lambda renew: beaten.set())
    run.set(pace=100.0)
    run.set(epochs=1000)
    assert beaten.wait(PATIENCE)
    assert registry.find("woken@1") is run
    assert registry.find("woken") is not run
    run.stop()


def test_a_run_that_another_process_took_over_stops_writing() -> None:
    run = begin(name="taken", epochs=1000, pace=1000.0)
    until(run, lambda: run.history.step > 0)
    assert run.path is not None
    run.pause()
    lease = run.path / "lease.json"
    holder = json.loads(lease.read_text())
    lease.write_text(json.dumps({**holder, "token": "another"}))
    run.beat(renew=True)
    assert "Another process has taken this run over" in run.history.notices["store"].text
    size = (run.path / "journal.jsonl").stat().st_size
    run.stop("last")
    run.wait(PATIENCE)
    assert (run.path / "journal.jsonl").stat().st_size == size
    assert json.loads(lease.read_text())["token"] == "another"
    with pytest.raises(CommandRejected, match="taken the run over"):
        run.resume()


def test_subscribers_hear_until_they_leave() -> None:
    heard: list[int] = []
    leave = registry.subscribe(lambda: heard.append(1))
    done()
    assert heard
    leave()
    leave()
    count = len(heard)
    done()
    assert len(heard) == count


def test_everything_is_stopped_with_a_checkpoint() -> None:
    run = begin(data=classes(400), name="long", epochs=100_000, val_split=0.0)
    until(run, lambda: run.history.step > 3)
    waiting = begin(name="behind")
    held = begin(name="held", epochs=1000, pace=1000.0, share=True)
    until(held, lambda: held.history.step > 0)
    held.pause()
    assert registry.stop_all(PATIENCE) == []
    assert [r.state for r in (run, waiting, held)] == ["stopped"] * 3
    assert run.history.restored == run.history.step
    assert run.path is not None
    assert (run.path / "checkpoints" / "newest.safetensors").exists()


def test_what_does_not_stop_in_time_is_named() -> None:
    gate = Gate(1)
    run = begin(training_step=gate)
    gate.arrive()
    assert registry.stop_all(0.01) == [run]
    gate.open.set()
    run.wait(PATIENCE)
    assert run.state == "stopped"


ROOT = str(Path(__file__).parents[2])
SCRIPT = """
import threading, nbtrain, torch
from nbtrain import messages as m
from nbtrain.runs import registry
from torch import nn

within = threading.Event()

def for_ever():
    within.set()
    square = torch.randn(400, 400)
    while True:
        square = (square @ square).clamp(-1, 1)

def step(model, batch):
    for_ever()

class Slow(nn.Linear):
    slow = False
    def forward(self, x):
        if self.slow:
            for_ever()
        return super().forward(x)

data = torch.randn(64, 4), torch.randint(0, 2, (64,))
registry._STOP_SECONDS = 0.2
"""
TRAINS = """
run = nbtrain.train(nn.Linear(4, 2), data, name="digits", training_step=step, wait=False)
assert within.wait(60)
"""
MEASURES = """
model = Slow(4, 2)
run = nbtrain.train(model, data, name="digits", epochs=1)
model.slow = True
run.send(m.Evaluate())
assert within.wait(60)
"""
TELLS = """
def stop_all(seconds, stop_all=registry.stop_all):
    print("leaving", flush=True)
    return stop_all(60.0)

registry.stop_all = stop_all
"""


def script(store: Path, text: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT + text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": ROOT, "NBTRAIN_HOME": str(store), "OMP_NUM_THREADS": "1"},
        cwd=store.parent,
    )


def ended(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate(timeout=PATIENCE)[1]
    finally:
        process.kill()


@pytest.mark.parametrize(("text", "state"), [(TRAINS, "interrupted"), (MEASURES, "finished")])
def test_a_process_that_ends_within_a_step_ends_cleanly(store: Path, text: str, state: str) -> None:
    process = script(store, text)
    errors = ended(process)
    assert process.returncode == 0, errors
    assert "terminate" not in errors
    assert "Traceback" not in errors
    assert Store(store).find("digits").state == state


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_an_impatient_interrupt_ends_a_process_within_a_step(store: Path) -> None:
    process = script(store, TELLS + TRAINS)
    assert process.stdout is not None
    assert process.stdout.readline() == "leaving\n"
    process.send_signal(signal.SIGINT)
    errors = ended(process)
    assert process.returncode == 130, errors
    assert Store(store).find("digits").state == "interrupted"
