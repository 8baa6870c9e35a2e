"""Long runs and many runs: nothing grows, nothing is left behind, every command is answered."""

from __future__ import annotations

import gc
import random
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

import nbtrain
from nbtrain import messages as m
from nbtrain.runs.run import Run
from nbtrain.ui.feed import Feed

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

SECONDS = 150.0
MiB = 2**20


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NBTRAIN_HOME", str(tmp_path))


def start(name: str, **settings: object) -> Run:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(512, 8, generator=generator)
    y = (X[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
    settings = {"wait": False, "panel": False, "batch_size": 32, **settings}
    return nbtrain.train(model, (X, y), name=name, **settings)  # type: ignore[arg-type]


def random_command(draw: random.Random, sequence: int) -> m.Command:
    knob, value = draw.choice(
        [
            ("lr", draw.uniform(1e-4, 1e-2)),
            ("dropout", draw.choice([0.0, "on", 0.3])),
            ("batch_size", draw.choice([8, 16, 32, 64])),
            ("l1", draw.choice([0.0, 1e-6])),
            ("l2", draw.choice([0.0, 1e-6])),
            ("momentum", draw.uniform(0.5, 0.95)),
            ("clip_grad_norm", draw.choice(["off", 10.0])),
        ]
    )
    choices: list[m.Command] = [
        *[m.Set(knob=knob, value=value, sender="soak", sequence=sequence)] * 6,  # type: ignore[arg-type]
        m.Undo(sender="soak"),
        m.Evaluate(sender="soak"),
        m.Pause(sender="soak"),
        m.OneStep(sender="soak", count=draw.randint(1, 5)),
        m.Resume(sender="soak"),
    ]
    return draw.choice(choices)


def test_a_long_run_steered_all_the_time_does_not_grow() -> None:
    run = start("long", epochs=1_000_000)
    feed = Feed(run.history)
    feed.snapshot()
    process, draw = psutil.Process(), random.Random(0)
    sent: list[str] = []
    largest: list[int] = []
    memory: list[tuple[int, float]] = []
    begin, tick = time.monotonic(), threading.Event()
    while time.monotonic() - begin < SECONDS:
        command = random_command(draw, len(sent) + 1)
        sent.append(run.send(command))
        # What a pause stops must go on, or the soak would be one long pause.
        sent.append(run.send(m.Resume(sender="soak")))
        tick.wait(0.1)
        message = feed.frame()
        largest.append(0 if message is None else sum(map(len, message[1])))
        memory.append((run.history.step, process.memory_info().rss / MiB))
    run.stop("last")
    run.wait(60)

    assert run.history.step > 300 * SECONDS
    answers = run.history.answers
    kept = [name for name in sent[-200:] if name in answers]
    assert len(kept) == 200, "the latest commands were all answered"
    early = max(largest[: len(largest) // 4])
    late = max(largest[-len(largest) // 4 :])
    assert late <= 2 * early + 4096, "frames do not grow with the run"
    steps, used = zip(*memory[len(memory) // 4 :], strict=True)
    per_step = (used[-1] - used[0]) * MiB / (steps[-1] - steps[0])
    assert per_step < 200, f"{per_step:.0f} bytes a step: four arrays take about 64"


def test_many_runs_leave_nothing_behind() -> None:
    def finished(count: int) -> None:
        for index in range(count):
            run = start(f"run{index % 7}", epochs=2)
            run.wait(60)
            assert run.state == "completed"

    finished(20)
    gc.collect()
    process = psutil.Process()
    threads, files, before = threading.active_count(), process.num_fds(), process.memory_info().rss
    finished(150)
    gc.collect()
    assert threading.active_count() <= threads + 2
    assert process.num_fds() <= files + 10
    grown = (process.memory_info().rss - before) / MiB
    assert grown < 60, f"{grown:.0f} MiB more after 150 runs"
