"""`%%train`, `%train` and `%runs`, in a shell without a kernel."""

import gc
import random
import re
import threading
import weakref
from pathlib import Path

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from nbtrain import errors
from nbtrain import messages as m
from nbtrain.runs import presenter, registry
from nbtrain.runs.trainer import join
from nbtrain.ui import commands, extension, table, waiting
from nbtrain.ui.view import View

MODEL = """
import torch
from torch import nn
data = torch.randn(100, 4), torch.randint(0, 2, (100,))
model = nn.Linear(4, 2)
"""


class Shown:
    """A presenter that notes what it is asked to show."""

    waits = False
    acts = False

    def __init__(self):
        self.shown = []

    def show(self, run):
        self.shown.append(run)

    def show_past(self, history):
        self.shown.append(history)

    def panel(self, run):
        return None

    def wait(self, run):
        run.wait(60)


@pytest.fixture
def shown(shell):
    shown = Shown()
    presenter.register(shown)
    return shown


@pytest.fixture
def shell(store, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(colors="nocolor")
    shell.history_manager.enabled = False
    extension.load(shell)
    yield shell
    registry.stop_all(20)
    extension.unload(shell)
    InteractiveShell.clear_instance()


@pytest.fixture
def cell(shell, shown, capsys):
    """Run a cell. Returns what it raised, or None, and what it wrote."""

    def cell(text):
        capsys.readouterr()
        result = shell.run_cell(text, store_history=True)
        out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        return result.error_before_exec or result.error_in_exec, out

    return cell


def soon(condition):
    pause = threading.Event()
    for _ in range(1_000):
        if condition():
            return True
        pause.wait(0.01)
    return False


# ── %%train ──────────────────────────────────────────────────────────────────────────────


def test_the_cell_runs_then_trains_and_the_name_is_the_run(cell, shell, shown):
    error, out = cell("%%train digits --epochs 2 --lr 1e-2\n" + MODEL)
    assert error is None, out
    run = shell.user_ns["digits"]
    run.wait(60)
    assert run.outcome == "completed"
    assert shown.shown == [run]
    assert run.spec.options["epochs"] == 2
    assert set(run.spec.given) == {"epochs", "lr"}
    assert run.spec.source.strip() == MODEL.strip()
    assert shell.user_ns["model"].training is False


def test_earlier_cells_go_into_the_spec(cell, shell):
    cell("width = 2")
    cell("unrelated = 3")
    error, _ = cell("%%train digits --epochs 1\n" + MODEL.replace("(4, 2)", "(4, width)"))
    assert error is None
    assert shell.user_ns["digits"].spec.context == ("width = 2",)


def test_a_cell_of_the_magic_alone_trains_what_earlier_cells_left(cell, shell):
    cell(MODEL)
    error, out = cell("%%train --epochs 1")
    assert error is None, out
    assert shell.user_ns["run"].wait(60).outcome == "completed"


def test_what_comes_from_an_earlier_cell_is_told(cell, shell, tmp_path, monkeypatch):
    def told(text):
        error, out = cell(text)
        assert error is None, out
        notes = shell.user_ns["digits"].wait(60).history.notes
        return [note for note in notes if "earlier cell" in note]

    model = MODEL.splitlines()[-1]
    assert told("%%train digits --epochs 1\n" + MODEL) == []
    assert told(f"%%train digits --epochs 1\n{model}") == ["`data` comes from an earlier cell."]
    assert told("%%train digits --epochs 1") == ["`model` and `data` come from an earlier cell."]
    (tmp_path / "mine.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert told("%%train digits --epochs 1\nfrom mine import *") == []


def test_a_cell_that_runs_again_and_again_holds_few_models(cell, shell, monkeypatch):
    def train(name):
        error, out = cell(f"%%train {name} --epochs 1 --wait --no-panel\n" + MODEL)
        assert error is None, out
        join(60)
        return weakref.ref(shell.user_ns["model"])

    monkeypatch.setattr(registry, "_kept", [])
    train("first")
    gc.collect()  # the first optimizer of a process leaves a frame that holds itself
    gc.disable()
    try:
        models = [train("digits") for _ in range(8)]
        assert [model() is not None for model in models] == [False] * 4 + [True] * 4
        cell("del digits, model")
        for name in "abcd":
            train(name)
        assert [model() is not None for model in models] == [False] * 8
    finally:
        gc.enable()


def test_values_may_be_expressions(cell, shell):
    cell("base = 0.5")
    error, _ = cell("%%train digits --epochs 1 --lr {base / 2}\n" + MODEL)
    assert error is None
    assert shell.user_ns["digits"].spec.options["lr"] == 0.25


def test_a_mistake_in_an_expression_is_the_users_own(cell, shell):
    error, out = cell("%%train digits --lr {1 / 0}\n" + MODEL)
    assert isinstance(error, ZeroDivisionError)
    assert out.count("ZeroDivisionError") == 2  # head and last line of one traceback
    assert "nbtrain/ui" not in out
    assert "{1 / 0}" in out
    assert "model" not in shell.user_ns


def test_help_trains_nothing(cell, shell):
    error, out = cell("%%train digits --help\n" + MODEL)
    assert error is None
    assert "--early-stop" in out
    assert "model" not in shell.user_ns


def test_no_panel_says_that_it_trains(cell, shown):
    error, out = cell("%%train digits --epochs 1 --no-panel\n" + MODEL)
    assert error is None
    assert shown.shown == []
    assert "digits trains in the background" in out
    assert "digits: Cross-entropy, because" in out


def test_a_terminal_is_told_what_was_inferred(cell, shell):
    presenter.register(extension._Terminal(shell))
    error, out = cell("%%train digits --epochs 1 --no-wait\n" + MODEL)
    assert error is None
    assert "digits: Cross-entropy, because" in out
    assert "digits trains in the background" in out


def test_a_notebook_that_waits_without_a_panel_tells_notes_and_end(cell, shell):
    presenter.register(extension._Notebook(shell))
    error, out = cell("%%train digits --epochs 1 --no-panel --wait\n" + MODEL)
    assert error is None
    assert "digits: Cross-entropy, because" in out
    assert "digits: completed at step" in out
    assert "in the background" not in out


def test_nbtrain_train_waits_where_nobody_can_answer(cell, shell, monkeypatch):
    presenter.register(extension._Notebook(shell))
    monkeypatch.setattr(shell, "kernel", Kernel({"allow_stdin": False}), raising=False)
    train = "import nbtrain\nrun = nbtrain.train(model, data, epochs=1, panel=False)\nrun.state"
    error, out = cell(MODEL + train)
    assert error is None
    assert "completed" in out
    monkeypatch.setattr(shell, "kernel", Kernel({"allow_stdin": True}), raising=False)
    assert presenter.current().waits is False


def test_the_body_draws_from_the_seed_and_the_session_from_its_own(cell, shell):
    torch.manual_seed(1)
    random.seed(1)
    before = torch.get_rng_state(), random.getstate()
    for name in ("one", "two"):
        cell(
            f"%%train {name} --epochs 1 --seed 7 --wait\n"
            + MODEL
            + "import random\nr = random.random()"
        )
        shell.user_ns[f"r_{name}"] = shell.user_ns["r"]
    one, two = shell.user_ns["one"], shell.user_ns["two"]
    assert one.spec.weights == two.spec.weights
    assert one.history["loss"].tolist() == two.history["loss"].tolist()
    assert shell.user_ns["r_one"] == shell.user_ns["r_two"]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_a_mistake_in_the_body_trains_nothing_and_shows_once(cell, shell, shown):
    error, out = cell("%%train digits\n" + MODEL + "\nprint('before')\n1 / 0")
    assert isinstance(error, ZeroDivisionError)
    assert "before" in out
    assert out.count("Traceback") == 1
    assert "nbtrain/ui" not in out
    assert "----> 9 1 / 0" in out
    assert "digits" not in shell.user_ns
    assert shown.shown == []


def test_an_error_that_was_caught_leaves_later_ones_alone(cell):
    error, out = cell(
        "try:\n    get_ipython().run_cell_magic('train', 'd', '1 / 0')\n"
        "except ZeroDivisionError:\n    print('caught')"
    )
    assert error is None
    assert "caught" in out
    error, out = cell("undefined")
    assert isinstance(error, NameError)
    assert "----> 1 undefined" in out


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("x = = 1", SyntaxError),
        ("return 5", SyntaxError),
        ("  indented = 1\n x = 2", IndentationError),
        ("raise KeyboardInterrupt", KeyboardInterrupt),
        ("raise ExceptionGroup('many', [ValueError('one')])", ExceptionGroup),
    ],
)
def test_other_mistakes_fail_the_cell_too(cell, shell, body, kind):
    error, out = cell("%%train digits\nfine = 1\n" + body)
    assert isinstance(error, kind)
    assert "nbtrain/ui" not in out or kind is ExceptionGroup
    assert "digits" not in shell.user_ns


@pytest.mark.parametrize(
    ("shown_nodes", "body", "values"),
    [
        ("last_expr", "1\n2", ["2"]),
        ("last_expr", "1\n2;", []),
        ("last_expr", "x = 1", []),
        ("all", "1\n2", ["1", "2"]),
        ("none", "1\n2", []),
        ("last_expr_or_assign", "x = 1", ["1"]),
    ],
)
def test_values_are_displayed_as_the_shell_is_set(cell, shell, shown_nodes, body, values):
    cell(MODEL)
    shell.ast_node_interactivity = shown_nodes
    _, out = cell("%%train digits --epochs 1\n" + body)
    assert re.findall(r"Out\[\d+\]: (.*)", out) == values


def test_a_body_may_await(cell, shell):
    error, out = cell(
        "%%train digits --epochs 1\nimport asyncio\nx = await asyncio.sleep(0, 5)\n" + MODEL
    )
    assert error is None, out
    assert shell.user_ns["x"] == 5


# ── names ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["model", "data", "loss", "torch", "width"])
def test_a_name_the_cell_uses_is_refused(cell, shell, name):
    cell("width = 2")
    error, out = cell(f"%%train {name}\n" + MODEL.replace("(4, 2)", "(4, width)"))
    assert isinstance(error, errors.UsageError)
    assert f"%%train {name}_run" in out
    assert shell.user_ns["width"] == 2


def test_a_module_is_not_replaced(cell, shell):
    cell("import math")
    error, out = cell("%%train math\n" + MODEL)
    assert isinstance(error, errors.UsageError)
    assert "it is a module here" in out
    assert "%%train math_run" in out
    assert "model" not in shell.user_ns


def test_the_magics_line_may_end_in_a_comment(cell, shell):
    error, out = cell("%%train digits --epochs 1 # a short one\n" + MODEL)
    assert error is None, out
    assert shell.user_ns["digits"].wait(60).spec.options["epochs"] == 1


def test_a_terminal_says_what_a_run_does(cell, shell, digits):
    presenter.register(extension._Terminal(shell))
    assert "digits trains in the background. %train wait digits" in cell("%train show digits")[1]
    digits.pause()
    step = digits.history.step
    assert f"digits is paused at step {step}. %train wait" in cell("%train show digits")[1]
    shown = f"digits is paused at step {step}. Its panel needs a notebook."
    assert repr(digits.panel) == shown
    digits.stop()
    assert f"digits: early-stopped at step {step}" in cell("%train show digits")[1]


def test_a_cell_may_read_the_run_it_replaces(cell, shell):
    cell("%%train digits --epochs 1 --wait\n" + MODEL)
    error, out = cell("%%train digits --epochs 1\nprint(digits.state)\n" + MODEL)
    assert error is None, out
    assert "completed" in out


def test_an_older_run_of_the_name_ends_before_the_body(cell, shell):
    cell("%%train digits --epochs 100000 --pace 100\n" + MODEL)
    older = shell.user_ns["digits"]
    assert older.live
    error, out = cell("%%train digits --epochs 1\nprint('was', digits.state)\n" + MODEL)
    assert error is None, out
    assert "was stopped" in out
    assert shell.user_ns["digits"] is not older
    assert older.history.actions[-1].sender == "cell"


def test_another_name_trains_beside_it(cell, shell):
    cell("%%train one --epochs 100000 --pace 100\n" + MODEL)
    cell("%%train two --epochs 1\n" + MODEL)
    assert shell.user_ns["one"].live


def test_a_cell_that_runs_a_third_time_stops_the_run_it_replaces_not_the_one_kept(cell, shell):
    text = "%%train o --share --epochs 100000 --pace 100\n" + MODEL
    cell(text)
    first = shell.user_ns["o"]
    cell(text)
    second = shell.user_ns["o"]
    first.send(m.Resume(share=True))
    assert soon(lambda: first.live and second.live)
    assert set(commands.live()) == {"o@1", "o@2"}
    listed = cell("%train")[1]
    assert re.search(r"o@1 is \w+ at step \d+", listed)
    assert re.search(r"o@2 is \w+ at step \d+", listed)
    error, out = cell("%train pause")
    assert isinstance(error, errors.UsageError)
    assert "o@2, o@1 are live" in out
    assert cell("%train pause o@1")[0] is None
    assert first.state == "paused"
    error, out = cell(text)
    assert error is None, out
    assert second.state == "stopped"
    assert first.live


@pytest.mark.parametrize("mistake", ["1 / 0", "model = nn.Linear(3, 2)"])
def test_a_cell_that_fails_tells_of_the_run_it_stopped(cell, shell, digits, mistake):
    error, out = cell("%%train digits --epochs 1\n" + MODEL + mistake)
    assert error is not None
    step = digits.history.step
    assert f"digits@1 was stopped at step {step}; digits.resume() goes on." in out
    digits.resume()
    assert digits.live


# ── our own errors ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("%%train digits --optimzer adam\n" + MODEL, "Did you mean '--optimizer'?"),
        ("%%train digits --lr -1\n" + MODEL, "from 0 up to 1000"),
        ("%%train 2fast\n" + MODEL, "cannot name a run"),
        ("%%train digits again\n" + MODEL, "one word too many"),
        ("%%train digits\nmodel = 5", "nn.Module"),
        ("%train dance digits", "There is no command 'dance'"),
        ("%train puase", "Did you mean 'pause'?"),
        ("%train digits --epochs 3", "%%train digits"),
        ("%train pause nobody", "There is no run 'nobody'"),
        ("%train pause", "No run is live"),
        ("%runs nobody", "nobody"),
    ],
)
def test_our_own_errors_are_one_line_that_says_what_to_do(cell, text, says):
    error, out = cell(text)
    assert isinstance(error, errors.UsageError)
    assert says in out
    assert "Traceback" not in out
    assert out.strip().count("\n") == 0
    assert out.startswith(type(error).__name__)


# ── %train ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def digits(cell, shell):
    cell("%%train digits --epochs 100000 --pace 200\n" + MODEL)
    run = shell.user_ns["digits"]
    assert soon(lambda: run.history.step > 0)
    return run


def test_every_command_acts_and_says_at_which_step(cell, shell, digits, shown):
    assert "lr" in cell("%train set digits lr=1e-4")[1]
    assert digits.history.knobs["lr"] == 1e-4
    cell("x = 0.5")
    error, out = cell("%train set lr={x / 2} l2=off epochs=200000")
    assert error is None, out
    assert digits.history.knobs["lr"] == 0.25
    assert digits.history.knobs["epochs"] == 200000
    assert cell("%train pause digits")[0] is None
    assert digits.state == "paused"
    step = digits.history.step
    assert cell("%train step digits 3")[0] is None
    assert soon(lambda: digits.history.step == step + 3 and digits.state == "paused")
    assert cell("%train undo")[0] is None
    assert cell("%train resume")[0] is None
    assert digits.state == "running"
    error, out = cell("%train evaluate digits")
    assert error is None
    assert "digits" in out
    assert cell("%train save digits")[0] is None
    assert cell("%train show digits")[0] is None
    assert shown.shown[-1] is digits
    assert cell("%train early-stop digits")[0] is None
    digits.wait(20)
    assert digits.outcome == "early-stopped"
    actions = [action.action for action in digits.history.actions]
    assert actions.count("Set") == 4


@pytest.mark.parametrize(
    ("line", "kept"),
    [("stop digits", "best"), ("stop digits last", "last"), ("stop last", "last")],
)
def test_stop_means_what_it_means_in_python(cell, digits, line, kept):
    assert soon(lambda: digits.history.best)
    assert cell("%train pause")[0] is None
    assert f"with the {kept} weights" in cell(f"%train {line}")[1]


def test_a_learning_rate_can_be_held(cell, shell):
    cell("%%train digits --epochs 100000 --pace 100 --scheduler cosine\n" + MODEL)
    run = shell.user_ns["digits"]
    assert cell("%train pause")[0] is None
    assert cell("%train set digits lr=0.5 schedule=hold")[0] is None
    step = run.history.step
    assert cell("%train step 3")[0] is None
    assert soon(lambda: run.history.step == step + 3)
    assert run.history["lr"][-3:].tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("set digits lr=1 schedule=keep", "There is: rebase, hold"),
        ("set digits rl=1", "There is no knob 'rl'"),
        ("set digits lr", "'lr' is not a knob with a value"),
        ("set digits lr=1 lr=2", "given twice"),
        ("set digits seed=1", "fixed when the run starts"),
        ("set digits", "Set what?"),
        ("step digits minus", "number of steps"),
        ("pause digits now", "one word too many"),
    ],
)
def test_wrong_words_are_named_and_nothing_is_done(cell, digits, line, says):
    error, out = cell("%train " + line)
    assert isinstance(error, errors.UsageError)
    assert says in out
    assert digits.history.actions == ()


def test_a_run_named_before_the_command_is_understood(cell, digits):
    error, out = cell("%train digits set lr=0.5")
    assert isinstance(error, errors.UsageError)
    assert "Did you mean %train set digits lr=0.5?" in out
    assert digits.history.actions == ()


def test_a_knob_out_of_range_holds_back_those_beside_it(cell, digits):
    error, _ = cell("%train set digits lr=0.5 dropout=7")
    assert isinstance(error, errors.InvalidValue)
    assert digits.history.actions == ()


def test_with_two_live_runs_a_command_needs_a_name(cell, digits):
    cell("%%train other --share --epochs 100000 --pace 100\n" + MODEL)
    error, out = cell("%train pause")
    assert isinstance(error, errors.UsageError)
    assert "digits" in out
    assert "other" in out
    assert cell("%train pause other")[0] is None


def test_alone_it_lists_commands_and_live_runs(cell, digits):
    error, out = cell("%train")
    assert error is None
    assert "early-stop" in out
    assert re.search(r"digits is running at step \d+", out)


def test_a_run_of_an_earlier_kernel_can_be_looked_at(cell, shell, shown, monkeypatch):
    cell("%%train digits --epochs 1 --wait\n" + MODEL)
    run = shell.user_ns["digits"]
    monkeypatch.setattr(registry, "find", lambda ref: None)
    monkeypatch.setattr(registry, "everything", list)
    error, out = cell("%train show digits")
    assert error is None, out
    past = shown.shown[-1]
    assert past is not run.history
    assert past["loss"].tolist() == run.history["loss"].tolist()
    assert past.outcome == "completed"
    said = past.notices["past"].text
    assert said.startswith("This run is of an earlier kernel: it takes no commands here. Its ")
    assert list(run.path.glob("checkpoints/*"))
    assert Path(said.removesuffix(".").rpartition(" at ")[2]).is_file()
    assert View(past, live=False).whole()["state"]["restored"] is None
    error, out = cell("%train resume digits@1")
    assert isinstance(error, errors.UsageError)
    assert "not in this kernel's memory" in out
    assert "%train show digits@1 shows it" in out
    journal = run.path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    cell("%train show digits")
    assert (shown.shown[-1].state, shown.shown[-1].outcome) == ("finished", "interrupted")


# ── %runs ────────────────────────────────────────────────────────────────────────────────


def test_runs_are_listed_live_and_past(cell, shell):
    assert "There are no runs" in cell("%runs")[1]
    cell("%%train past --epochs 1 --wait\n" + MODEL)
    cell("%%train alive --epochs 100000 --pace 100\n" + MODEL)
    error, out = cell("%runs")
    assert error is None
    lines = [line.split() for line in out.splitlines() if "@" in line]
    assert [line[0] for line in lines] == ["alive@1", "past@1"]
    assert lines[1][1] == "completed"
    assert "val_loss" in lines[1]
    assert "alive" not in cell("%runs past")[1]


def test_runs_that_the_disk_does_not_know_are_listed(cell, shell, store):
    (store / "runs").write_text("in the way")
    cell("%%train here --epochs 1 --wait\n" + MODEL)
    assert shell.user_ns["here"].path is None
    assert re.search(r"here@1\s+completed", cell("%runs")[1])


def test_a_run_that_the_disk_lost_sight_of_is_listed_as_it_is(cell, shell):
    cell("%%train digits --epochs 1 --wait\n" + MODEL)
    run = shell.user_ns["digits"]
    journal = run.path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]))
    out = cell("%runs")[1]
    assert re.search(rf"digits@1\s+completed\s+1/1\s+{run.history.step}\b", out)


def test_what_a_table_holds_is_text():
    shown = table.Table(("run", "best"), [("<b>", "<img onerror=1>")], "<script>")
    assert "<b>" not in shown._repr_html_()
    assert "&lt;img onerror=1&gt;" in shown._repr_html_()
    assert "&lt;script&gt;" in shown._repr_html_()


# ── loading ──────────────────────────────────────────────────────────────────────────────


def test_loading_twice_does_nothing_more_and_unloading_takes_all_back(shell):
    matchers = len(shell.Completer.custom_matchers)
    callbacks = len(shell.events.callbacks["post_run_cell"])
    extension.load(shell)
    assert len(shell.Completer.custom_matchers) == matchers
    assert len(shell.events.callbacks["post_run_cell"]) == callbacks
    extension.unload(shell)
    assert shell.find_cell_magic("train") is None
    assert shell.find_line_magic("train") is None
    assert shell.find_line_magic("runs") is None
    assert len(shell.Completer.custom_matchers) == matchers - 1
    assert isinstance(presenter.current(), presenter.Silent)
    extension.unload(shell)


# ── waiting ──────────────────────────────────────────────────────────────────────────────


class Kernel:
    def __init__(self, content):
        self.content = content

    def get_parent(self, channel):
        return {"content": self.content}


@pytest.mark.parametrize(
    ("content", "setting", "waits"),
    [
        ({"allow_stdin": True}, None, False),
        ({"allow_stdin": False}, None, True),
        ({}, None, False),
        ({"allow_stdin": False}, "0", False),
        ({"allow_stdin": True}, "1", True),
    ],
)
def test_a_cell_waits_where_nobody_can_answer(shell, monkeypatch, content, setting, waits):
    if setting is not None:
        monkeypatch.setenv("NBTRAIN_WAIT", setting)
    monkeypatch.setattr(shell, "kernel", Kernel(content), raising=False)
    assert waiting.waits_by_itself(shell) is waits


def test_a_failed_run_fails_the_waiting_cell_with_the_users_traceback(cell):
    error, out = cell(
        "%%train digits --wait\n"
        + MODEL
        + "def training_step(model, batch):\n    raise ValueError('mine')\n"
    )
    assert isinstance(error, errors.RunFailed)
    assert "ValueError: mine" in out
    assert "nbtrain/runs" not in out


def test_threads_do_not_pile_up(cell, shell):
    for _ in range(3):
        cell("%%train digits --epochs 1 --wait\n" + MODEL)
    assert soon(lambda: sum(t.name.startswith("nbtrain") for t in threading.enumerate()) <= 2)


def test_a_mistake_in_the_users_own_code_shows_the_users_frames_alone(cell):
    source = (
        MODEL
        + """
class Broken(nn.Module):
    def forward(self, x):
        return slf.inner(x)
model = nn.Sequential(Broken())
"""
    )
    error, told = cell("%%train a\n" + source)
    assert isinstance(error, NameError)
    assert "slf.inner(x)" in told
    assert "_call_impl" not in told
    assert "nbtrain/" not in told
    error, told = cell(
        "%%train a\n" + source.replace("return slf.inner(x)", "raise KeyboardInterrupt")
    )
    assert isinstance(error, KeyboardInterrupt)
    assert told == "KeyboardInterrupt: a was not started.\n"
