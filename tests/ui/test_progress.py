"""What a script and a terminal show of a run."""

import io
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from nbtrain import messages as m
from nbtrain.errors import RunFailed
from nbtrain.store.history import History
from nbtrain.ui import progress

ROOT = str(Path(progress.__file__).parents[2])


class Run:
    """A run that goes through ``chapters`` of events, one each time someone waits for it."""

    name = "digits"
    path = None
    spec = SimpleNamespace(options={"panel": True})

    def __init__(self, *chapters):
        self.history = History()
        self.chapters = list(chapters)
        self.sent = []
        self._next()

    def _next(self):
        for event in self.chapters.pop(0):
            self.history.apply(event)

    @property
    def state(self):
        return self.history.outcome or self.history.state

    @property
    def live(self):
        return self.history.state != "finished"

    def send(self, command):
        self.sent.append(command)

    def wait(self, timeout=None):
        if self.live and self.chapters:
            self._next()
        if self.live:
            raise TimeoutError
        if self.history.outcome == "failed":
            raise RunFailed("digits failed")
        return self


def begun():
    return [
        m.Created(run="r", name="digits", number=1, spec={"name": "digits", "options": {}}),
        m.Starting(run="r", device="cpu", device_name="CPU"),
        m.Started(
            run="r",
            knobs={"epochs": 2, "lr": 0.1},
            unsupported={},
            layers=(),
            epoch_samples=64,
            total_steps=4,
            parameters=10,
            metrics={"loss": "min", "val_loss": "min"},
            monitor="val_loss",
            notes=("Cross-entropy, because the targets are 10 integer classes.",),
        ),
    ]


def stepped(step):
    return m.Stepped(
        run="r",
        step=step,
        count=1,
        samples=m.Integers("q", [step * 32]),
        series={"loss": m.Numbers("f", [1 / step])},
        updates=step,
        epoch=step * 32 // 64,
        seconds=(step - 1.0, float(step)),
        total_steps=4,
        gauges={},
    )


def validated(step, value):
    return m.Validated(
        run="r",
        step=step,
        metrics={"val_loss": value},
        samples=step * 32,
        epoch=step // 2,
        best=True,
    )


def finished(outcome="completed", reason="all 2 epochs done", **more):
    return m.Finished(run="r", step=4, outcome=outcome, reason=reason, **more)


def shown(run):
    file = Terminal()
    progress.follow(run, file)
    # As it looks in the end: what was overwritten is gone.
    lines = [line.split("\r")[-1].rstrip() for line in file.getvalue().split("\n")]
    return [line for line in lines if line]


def test_the_bar_tells_where_the_run_stands_and_how_it_ended():
    run = Run(begun(), [stepped(1), validated(1, 0.5)], [stepped(4), finished()])
    lines = shown(run)
    assert lines[0] == "digits: Cross-entropy, because the targets are 10 integer classes."
    assert re.match(
        r"digits: 100%\|#+\| 4/4, completed  epoch 2/2  loss 0.25  val_loss 0.5", lines[-2]
    )
    assert lines[-1] == (
        "digits: completed at step 4 (all 2 epochs done); best val_loss 0.5 at step 1"
    )


def test_a_log_file_gets_plain_lines(monkeypatch):
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.0)
    warning = m.Noticed(run="r", topic="store", text="The disk is full.", level="warning")
    file = io.StringIO()
    progress.follow(Run(begun(), [stepped(1), warning], [stepped(4), finished()]), file)
    assert "\r" not in file.getvalue()
    lines = file.getvalue().splitlines()
    assert lines[0] == "digits: Cross-entropy, because the targets are 10 integer classes."
    assert "digits: 1/4, epoch 1/2  1 steps/s  0:03 left  loss 1" in lines
    assert "digits: The disk is full." in lines
    assert lines[-2].startswith("digits: 4/4, completed  epoch 2/2")
    assert lines[-1] == "digits: completed at step 4 (all 2 epochs done)"


def test_no_panel_is_no_bar_either(monkeypatch, capsys):
    run = Run(begun(), [stepped(1)], [stepped(4), finished()])
    run.spec = SimpleNamespace(options={"panel": False})
    run.wait = lambda timeout=None: [run._next() for _ in list(run.chapters)]
    progress.Bar().wait(run)
    assert not run.live
    assert capsys.readouterr() == ("", "")


def test_a_program_without_a_console_waits_silently(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    run = Run(begun(), [stepped(1)], [stepped(4), finished()])
    run.wait = lambda timeout=None: [run._next() for _ in list(run.chapters)]
    progress.Bar().wait(run)
    assert not run.live
    failed = Run(begun(), [finished("failed", "ValueError: mine", error="ValueError: mine")])
    with pytest.raises(RunFailed):
        progress.follow(failed)


class Terminal(io.StringIO):
    """A terminal of ``columns``."""

    def isatty(self):
        return True

    def fileno(self):
        return 2


def drawn(monkeypatch, columns, *chapters):
    size = os.terminal_size((columns, 24))
    monkeypatch.setattr(progress.os, "get_terminal_size", lambda _: size)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    file = Terminal()
    progress.follow(Run(begun(), *chapters), file)
    return [line.rstrip() for line in re.split(r"[\r\n]", file.getvalue())]


def test_the_bar_tells_speed_and_time_left(monkeypatch):
    lines = drawn(monkeypatch, 80, [stepped(1)], [finished()])
    assert any("epoch 1/2  1 steps/s  0:03 left  loss 1" in line for line in lines), lines


@pytest.mark.parametrize("columns", [0, 12, 30, 45, 50, 55, 60, 70, 80, 200])
def test_no_number_is_cut_whatever_the_width(monkeypatch, columns):
    chapters = [stepped(1)], [stepped(3), validated(3, 0.123456)], [finished()]
    lines = drawn(monkeypatch, columns, *chapters)
    bars = [line for line in lines if re.search(r" [13]/4", line)]
    assert bars
    assert all(len(line) <= (columns or 80) for line in bars)
    for line in bars:
        assert re.search(r"( [13]/4,?|/2|steps/s|left|completed|loss (1|0\.3333|0\.1235))$", line)
    if columns in (0, 80):
        assert any("left" in line for line in bars)


def test_the_end_says_once_that_it_was_stopped():
    lines = shown(Run(begun(), [stepped(1)], [finished("stopped", "stopped")]))
    assert lines[-1] == "digits: stopped at step 1"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (41.2, "0:42"), (3723, "1:02:03")])
def test_time_left_reads_as_a_clock(seconds, text):
    assert progress._clock(seconds) == text


def test_what_the_run_prints_stands_above_the_bar_once():
    logged = [m.Logged(run="r", stream="stdout", text=text) for text in ("one", "two")]
    last = m.Logged(run="r", stream="stderr", text="50%")
    over = m.Logged(run="r", stream="stderr", text="100%", replace=True)
    run = Run(begun(), logged, [last], [over, finished()])
    lines = shown(run)
    assert [line for line in lines if line in ("one", "two", "50%", "100%")] == [
        "one",
        "two",
        "100%",
    ]


def test_warnings_are_told_once_and_hints_about_cells_are_not():
    warning = m.Noticed(run="r", topic="store", text="The disk is full.", level="warning")
    hint = m.Noticed(run="r", topic="interpreter", text="Another cell is busy.", level="info")
    lines = shown(Run(begun(), [warning, hint], [stepped(1)], [finished()]))
    assert lines.count("digits: The disk is full.") == 1
    assert "busy" not in "\n".join(lines)


def test_a_failed_run_raises_after_its_bar():
    run = Run(begun(), [finished("failed", "ValueError: mine", error="ValueError: mine")])
    file = io.StringIO()
    with pytest.raises(RunFailed):
        progress.follow(run, file)
    assert "failed at step" in file.getvalue()


def test_an_interrupted_script_stops_its_run_and_keeps_the_weights(monkeypatch, capsys):
    run = Run([*begun(), stepped(1)], [finished("stopped", "interrupted")])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(progress, "follow", interrupt)
    with pytest.raises(KeyboardInterrupt):
        progress.Bar().wait(run)
    (command,) = run.sent
    assert isinstance(command, m.Stop)
    assert (command.restore, command.early) == ("last", False)
    assert "the model keeps its weights" in capsys.readouterr().err


def test_an_interrupt_in_a_long_step_says_that_the_run_goes_on(monkeypatch, capsys):
    run = Run(begun(), [stepped(1)])

    def wait(timeout=None):
        raise KeyboardInterrupt  # again

    run.wait = wait
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(progress, "follow", interrupt)
    with pytest.raises(KeyboardInterrupt) as raised:
        progress.Bar().wait(run)
    assert capsys.readouterr().err == "digits: still in step 1, which takes long\n"
    sys.excepthook(KeyboardInterrupt, raised.value, raised.value.__traceback__)
    assert capsys.readouterr().err == "KeyboardInterrupt\n"


def test_other_errors_after_an_interrupt_are_shown_as_ever(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: shown.append(error))
    monkeypatch.setattr(progress, "follow", interrupt)
    with pytest.raises(KeyboardInterrupt):
        progress.Bar().wait(Run(begun(), [finished("stopped", "interrupted")]))
    error = ValueError("mine")
    sys.excepthook(ValueError, error, None)
    sys.excepthook(ValueError, error, None)
    assert shown == [(ValueError, error, None)] * 2


def interrupt(run):
    raise KeyboardInterrupt


SCRIPT = """
import nbtrain, torch
from torch import nn

data = torch.randn(64, 4), torch.randint(0, 2, (64,))
run = nbtrain.train(nn.Linear(4, 2), data, name="digits", epochs={epochs}, pace={pace})
print("after", run.state)
"""


def script(store, text=SCRIPT, **values):
    environment = os.environ | {"PYTHONPATH": ROOT, "NBTRAIN_HOME": str(store)}
    return subprocess.Popen(
        [sys.executable, "-u", "-c", text.format(**values)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=store,
    )


def test_a_script_waits_with_a_bar(store):
    out, bar = script(store, epochs=2, pace="None").communicate(timeout=100)
    assert out == "after completed\n"
    assert "digits: completed at step" in bar


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_a_script_between_two_steps(store):
    process = script(store, epochs=100000, pace=50)
    assert process.stderr is not None
    seen = ""
    while "loss" not in seen:
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=60)
    assert "after" not in out
    assert process.returncode == -signal.SIGINT, "as of any script: 130 in a shell"
    *_, told, last = rest.splitlines()
    assert told.startswith("digits: stopped at step")
    assert "the model keeps its weights, which also lie in " in told
    assert Path(told.rpartition(" lie in ")[2]).is_file()
    assert last == "KeyboardInterrupt"
    assert "Traceback" not in rest


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_a_script_may_catch_its_interrupt(store):
    caught = f"""
try:
{textwrap.indent(SCRIPT.strip(), "    ")}
except KeyboardInterrupt:
    print("caught")
    raise ValueError("mine")
"""
    process = script(store, caught, epochs=100000, pace=50)
    assert process.stderr is not None
    seen = ""
    while "loss" not in seen:
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=60)
    assert out == "caught\n"
    assert process.returncode == 1
    assert "ValueError: mine" in rest
