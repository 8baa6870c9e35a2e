"""Training in a real kernel: who gets which output, and what acts while a cell is busy."""

import threading

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from nbtrain.store.catalog import Store

pytestmark = pytest.mark.kernel

MODEL = """
import torch
from torch import nn
data = torch.randn(200, 4), torch.randint(0, 2, (200,))
model = nn.Linear(4, 2)
"""

PRINTING = (
    MODEL
    + """
import logging, warnings, sys
def training_step(model, batch):
    x, y = batch
    print("from the run")
    logging.getLogger("mine").warning("logged by the run")
    warnings.warn("warned by the run")
    return nn.functional.cross_entropy(model(x), y)
"""
)

ENDLESS = "--epochs 1000000 --pace 50 --no-panel"


def endless(name, body=MODEL, options=""):
    return f"%%train {name} {ENDLESS} {options}\n{body}"


def identity(kernel, name):
    return kernel.value(f"{name}.id").strip("'")


# ── output ───────────────────────────────────────────────────────────────────────────────


def test_output_of_run_and_cells_is_not_mixed(kernel):
    started = kernel.run(endless("talker", PRINTING))
    assert started.status == "ok", started.error
    cell = kernel.run(
        "import time, sys\n"
        "until = time.monotonic() + 20\n"
        "while talker.history.step < 30 and time.monotonic() < until:\n"
        "    print('from the cell'); print('cell error', file=sys.stderr); time.sleep(0.01)\n"
        "assert talker.history.step >= 30"
    )
    assert cell.status == "ok", cell.error
    assert set(cell.stdout.split("\n")) == {"from the cell", ""}
    assert set(cell.stderr.split("\n")) == {"cell error", ""}
    kernel.run("talker.stop()")
    log = kernel.run("for line in talker.log.lines: print(line.stream, line.text)").stdout
    kinds = {line.split(" ", 1)[0] for line in log.splitlines()}
    assert kinds == {"stdout", "logging", "warning"}
    assert "stdout from the run" in log
    assert "logging logged by the run" in log
    assert "warned by the run" in log
    assert "cell" not in log
    leaked = [m for m in kernel.others if m["msg_type"] == "stream"]
    assert leaked == []


def test_a_capturing_cell_does_not_swallow_the_run(kernel):
    kernel.run(endless("captured", PRINTING))
    cell = kernel.run(
        "%%capture got\nimport time\nprint('from the cell')\n"
        "before = captured.history.step\n"
        "while captured.history.step < before + 20: time.sleep(0.01)"
    )
    assert cell.status == "ok", cell.error
    lines = kernel.value("got.stdout.splitlines()")
    # A run looks between two steps, so the step in progress may print once.
    assert "from the cell" in lines
    assert lines.count("from the run") <= 1


DISPLAYING = (
    MODEL
    + """
from IPython.display import clear_output, display
from tqdm.auto import tqdm
def training_step(model, batch):
    x, y = batch
    display("shown by the run")
    clear_output(wait=True)
    for _ in tqdm(range(2)): pass
    return nn.functional.cross_entropy(model(x), y)
"""
)


def test_what_a_run_displays_goes_to_its_log(kernel):
    started = kernel.run(endless("display_run", DISPLAYING))
    assert started.status == "ok", started.error
    cell = kernel.run(
        "import time\ndisplay('shown by the cell')\n"
        "while display_run.history.step < 5: time.sleep(0.01)"
    )
    assert [bundle["text/plain"] for bundle in cell.shown] == ["'shown by the cell'"]
    kernel.run("display_run.stop()")
    log = kernel.run("for line in display_run.log.lines: print(line.stream, line.text)").stdout
    assert "stdout 'shown by the run'" in log
    assert "stderr 100%" in log
    assert "cell" not in log
    leaked = [
        m["msg_type"] for m in kernel.others if m["msg_type"] in ("display_data", "clear_output")
    ]
    assert leaked == []


# ── while a cell is busy ─────────────────────────────────────────────────────────────────

SPIN = "import time\nuntil = time.monotonic() + 40\nwhile time.monotonic() < until: pass"


def test_a_command_acts_while_a_cell_spins_and_an_interrupt_leaves_the_run_alone(kernel):
    kernel.run(endless("busy"))
    run = identity(kernel, "busy")
    spinning = kernel.start(SPIN)
    kernel.heard("execute_input")
    reply, seconds = kernel.control(
        "nbtrain_request",
        {"kind": "command", "run": run, "command": {"kind": "Pause", "id": "p1"}},
    )
    assert reply["msg_type"] == "nbtrain_reply"
    assert reply["content"] == {"status": "ok"}
    assert seconds < 5
    kernel.manager.interrupt_kernel()
    result = kernel.finish(spinning)
    assert [error["ename"] for error in result.errors] == ["KeyboardInterrupt"]
    assert kernel.value("busy.state") == "'paused'"
    assert kernel.value("busy.history.answers['p1'].action") == "'Pause'"
    assert kernel.run("busy.resume()").status == "ok"
    assert kernel.value("busy.state") == "'running'"


NONSENSE = [
    {},
    {"run": 5},
    {"run": "no such run", "command": {"kind": "Stop"}},
    {"run": "RUN"},
    {"run": "RUN", "command": []},
    {"run": "RUN", "command": {"kind": "Explode"}},
    {"run": "RUN", "command": {"kind": "Stop", "restore": "everything"}},
    {"run": "RUN", "command": {"kind": "Set", "knob": "lr", "value": -1}},
    {"run": "RUN", "command": {"kind": "Set", "knob": "nonsense", "value": 1}},
    {"run": "RUN", "command": {"kind": "Stop", "id": "x" * 1_000_000}},
    {"run": "RUN", "command": {"kind": "Set", "knob": "lr", "value": {"a": [1] * 10_000}}},
    {"run": "RUN", "kind": "other", "command": {"kind": "Stop"}},
    {"run": "steady", "command": {"kind": "Stop"}},
]


def test_a_request_that_makes_no_sense_is_answered_and_changes_nothing(kernel):
    kernel.run(endless("steady"))
    run = identity(kernel, "steady")
    for content in NONSENSE:
        sent = {**content, "run": run} if content.get("run") == "RUN" else content
        reply, _ = kernel.control("nbtrain_request", sent)
        assert reply["content"]["status"] == "error", content
        assert 0 < len(reply["content"]["error"]) < 1_000, content
    assert kernel.value("steady.live, steady.history.actions") == "(True, ())"


def test_a_live_run_says_so_and_a_finished_one_does_not(kernel):
    kernel.run("get_ipython()._nbtrain._bridge._alive._seconds = 0.2")
    # The thread may be in its first long wait, for the run of an earlier test.
    gone = (
        "import threading, time\n"
        "until = time.monotonic() + 10\n"
        "while any(t.name == 'nbtrain-keep-alive' for t in threading.enumerate()):\n"
        "    assert time.monotonic() < until; time.sleep(0.01)"
    )
    assert kernel.run(gone).status == "ok"
    kernel.run(endless("lively"))
    message = kernel.heard("nbtrain_alive")
    assert message["content"] == {"runs": ["lively"]}
    kernel.run("lively.stop()")
    assert kernel.run(gone).status == "ok"


# ── the end ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_restart_ends_the_run_between_two_steps(start_kernel, kernel_store, busy):
    kernel = start_kernel()
    name = f"restarted_{busy}"
    kernel.run(endless(name))
    kernel.run(f"import time\nwhile {name}.history.step < 5: time.sleep(0.01)")
    run = identity(kernel, name)
    if busy:
        kernel.start(SPIN)
        kernel.heard("execute_input")
    kernel.manager.restart_kernel(now=False)
    record = Store(kernel_store).find(run)
    history = record.history()
    assert (record.state, record.outcome) == ("finished", "stopped")
    assert history.actions[-1].sender == "shutdown"
    assert history.step >= 5
    assert len(history["loss"]) == history.step
    assert "last" in [c.why for c in history.checkpoints if c.step == history.step]
    kernel.client.stop_channels()
    kernel.connect()
    assert kernel.value("1 + 1") == "2"


def test_a_cell_run_again_stops_its_older_run_first(kernel, kernel_store):
    kernel.run(endless("again"))
    first = identity(kernel, "again")
    second = kernel.run(
        endless("again", "print('body', older.state)" + MODEL).replace("older", "again")
    )
    assert second.stdout.startswith("body stopped")
    assert identity(kernel, "again") != first
    assert Store(kernel_store).find(first).outcome == "stopped"
    assert kernel.value("again.live") == "True"


# ── cells ────────────────────────────────────────────────────────────────────────────────


def test_loading_imports_neither_torch_nor_bokeh_nor_widgets(start_kernel):
    kernel = start_kernel()
    kernel.run("import sys")
    heavy = "{'torch', 'bokeh', 'ipywidgets', 'matplotlib', 'sklearn', 'pandas'}"
    assert kernel.value(f"{heavy} & sys.modules.keys()") == "set()"


def test_a_mistake_in_the_body_shows_its_ordinary_traceback_once(kernel):
    ordinary = kernel.run("# a comment\n\ndef f(x):\n    return 1 / x\n\nprint('before')\nf(0)")
    ours = kernel.run("%%train broken\n\ndef f(x):\n    return 1 / x\n\nprint('before')\nf(0)")
    assert ours.status == "error"
    assert ours.stdout == "before\n"
    assert [e["ename"] for e in ours.errors] == ["ZeroDivisionError"]
    assert "nbtrain" not in ours.error
    assert "interactiveshell" not in ours.error

    def without_number(text):
        import re

        return re.sub(r"In\[\d+\]", "In[]", text)

    assert without_number(ours.error) == without_number(ordinary.error)
    assert kernel.run("broken").errors[0]["ename"] == "NameError"


def test_a_cell_that_does_not_parse_names_its_line(kernel):
    result = kernel.run("%%train broken\nx = 1\ny = = 2")
    assert [e["ename"] for e in result.errors] == ["SyntaxError"]
    assert "line 3" in result.error
    assert "nbtrain" not in result.error


def test_a_body_may_await_use_magics_and_end_in_a_value(kernel):
    body = MODEL + "\nimport asyncio\nwaited = await asyncio.sleep(0.01, 'waited')\n%pwd\nwaited"
    result = kernel.run(endless("natural", body))
    assert result.status == "ok", result.error
    assert result.value == "'waited'"
    quiet = kernel.run(endless("natural", body + ";"))
    assert quiet.value is None


def test_our_own_errors_are_one_clear_message(kernel):
    result = kernel.run("%%train wrong --optimizzer adam\n" + MODEL)
    assert result.status == "error"
    assert (
        result.error
        == "UnknownName: There is no option '--optimizzer'. Did you mean '--optimizer'?"
    )
    result = kernel.run("%%train wrong\nmodel = 5\ndata = 5")
    assert [e["ename"] for e in result.errors] == ["ModelError"]
    assert "\n" not in result.error
    assert kernel.run("%train dance").status == "error"


def test_options_complete(kernel):
    code = "%%train digits --early-s"
    kernel.client.complete(code, len(code))
    while True:
        reply = kernel.client.get_shell_msg(timeout=20)
        if reply["msg_type"] == "complete_reply":
            break
    content = reply["content"]
    completed = [code[: content["cursor_start"]] + match for match in content["matches"]]
    assert completed == ["%%train digits --early-stop"]


# ── waiting ──────────────────────────────────────────────────────────────────────────────


def test_an_interrupted_wait_leaves_the_run_alive_and_says_so(kernel, kernel_store):
    waiting = kernel.start(endless("waited", MODEL, "--wait"))
    run, pause = None, threading.Event()
    for _ in range(1_000):
        if run is not None:
            break
        stored = [r for r in Store(kernel_store).runs() if r.name == "waited" and r.step > 0]
        run = stored[0] if stored else None
        pause.wait(0.05)
    assert run is not None
    reply, _ = kernel.control(
        "nbtrain_request", {"run": run.id, "command": {"kind": "Set", "knob": "lr", "value": 0.5}}
    )
    assert reply["content"] == {"status": "ok"}
    kernel.manager.interrupt_kernel()
    result = kernel.finish(waiting)
    assert [e["ename"] for e in result.errors] == ["KeyboardInterrupt"]
    assert "Only the wait was interrupted: waited is running at step" in result.error
    assert kernel.value("waited.live, waited.history.knobs['lr']") == "(True, 0.5)"


def test_nothing_waits_where_somebody_watches(kernel):
    assert kernel.run(endless("watched")).status == "ok"
    assert kernel.value("watched.live") == "True"


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


@pytest.fixture
def execute(kernel_store, monkeypatch):
    monkeypatch.setenv("NBTRAIN_HOME", str(kernel_store))

    def execute(*cells, allow_errors=True):
        executed = notebook(*cells)
        NotebookClient(
            executed,
            timeout=60,
            allow_errors=allow_errors,
            resources={"metadata": {"path": str(kernel_store)}},
        ).execute()
        return executed

    return execute


def test_executing_all_waits_for_runs_and_fails_where_they_do(execute):
    failing = MODEL + "def training_step(model, batch):\n    raise ValueError('mine')\n"
    _, train, state, unknown, failed = execute(
        "%load_ext nbtrain",
        "%%train clientrun --epochs 3\n" + MODEL,
        "print(clientrun.state)",
        "%%train r --nonsense\n" + MODEL,
        "%%train r\n" + failing,
    ).cells
    assert state.outputs[0]["text"] == "completed\n"
    assert "completed" in train.outputs[-1]["data"]["text/plain"]
    assert unknown.outputs[-1]["ename"] == "UnknownName"
    assert failed.outputs[-1]["ename"] == "RunFailed"
    assert "ValueError: mine" in failed.outputs[-1]["traceback"][0]


def test_executing_all_stops_at_a_mistake(execute):
    with pytest.raises(CellExecutionError, match="There is no option '--nonsense'"):
        execute("%load_ext nbtrain", "%%train r --nonsense\n", allow_errors=False)
