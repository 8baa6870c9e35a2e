"""Nothing a run writes reaches anybody else, and nothing anybody else writes reaches it."""

import contextlib
import io
import logging
import os
import sys
import threading
import warnings

import pytest

from nbtrain.runs import output


class Log:
    """A sink that keeps the log as the panel would show it."""

    def __init__(self):
        self.lines = []
        self.calls = []

    def __call__(self, stream, text, replace):
        self.calls.append((stream, text, replace))
        if replace:
            self.lines[-1] = (stream, text)
        else:
            self.lines.append((stream, text))

    @property
    def texts(self):
        return [text for _, text in self.lines]


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def unthrottled(monkeypatch):
    monkeypatch.setattr(output, "BAR_INTERVAL", 0.0)


def trainer(body, sink):
    """Run ``body`` as a trainer thread does; its exceptions are raised here."""
    errors = []

    def target():
        try:
            with output.capture(sink):
                body()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    return thread, errors


def in_run(body, sink):
    thread, errors = trainer(body, sink)
    thread.join(10)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


# ── who gets what ────────────────────────────────────────────────────────────────────────


def test_prints_go_to_the_log_and_nowhere_else(log, capsys):
    def body():
        print("loss", 0.5)
        print("oops", file=sys.stderr)

    in_run(body, log)
    assert log.lines == [("stdout", "loss 0.5"), ("stderr", "oops")]
    assert capsys.readouterr() == ("", "")


def test_nothing_leaks_either_way_between_many_threads(capsys):
    logs = [Log() for _ in range(4)]
    start = threading.Barrier(6, timeout=10)

    def run(i):
        start.wait()
        for n in range(300):
            print(f"run {i} ", end="")
            print(n)

    def cell(i):
        start.wait()
        for n in range(300):
            sys.stdout.write(f"cell {i} {n}\n")

    threads = [trainer(lambda i=i: run(i), logs[i])[0] for i in range(4)]
    others = [threading.Thread(target=cell, args=(i,)) for i in range(2)]
    for thread in others:
        thread.start()
    for thread in (*threads, *others):
        thread.join(20)
    for i, each in enumerate(logs):
        assert each.lines == [("stdout", f"run {i} {n}") for n in range(300)]
    shown = capsys.readouterr().out
    assert "run" not in shown
    for i in range(2):
        mine = [line for line in shown.splitlines() if line.startswith(f"cell {i}")]
        assert mine == [f"cell {i} {n}" for n in range(300)]


def test_streams_are_put_back_when_the_last_run_ends(log):
    before = sys.stdout, sys.stderr, warnings.showwarning, logging.Logger.callHandlers
    inner_done, outer_may_end = threading.Event(), threading.Event()

    def outer():
        inner_done.wait(10)
        print("outer still logs")
        outer_may_end.wait(10)

    thread, _ = trainer(outer, log)
    in_run(lambda: print("inner"), Log())
    inner_done.set()
    assert sys.stdout is not before[0]
    outer_may_end.set()
    thread.join(10)
    assert log.texts == ["outer still logs"]
    after = sys.stdout, sys.stderr, warnings.showwarning, logging.Logger.callHandlers
    assert all(a is b for a, b in zip(after, before, strict=True))


def test_a_stream_someone_else_put_there_stays(log):
    other = io.StringIO()
    ready, swapped = threading.Event(), threading.Event()

    def body():
        ready.set()
        swapped.wait(10)

    own = sys.stdout
    thread, _ = trainer(body, log)
    ready.wait(10)
    sys.stdout = other
    try:
        swapped.set()
        thread.join(10)
        assert sys.stdout is other
    finally:
        sys.stdout = own


def test_redirection_in_a_cell_neither_swallows_the_run_nor_loses_its_own(log):
    cell, redirected, printed = io.StringIO(), threading.Event(), threading.Event()
    ready = threading.Event()

    def body():
        ready.set()
        redirected.wait(10)
        output.hold()
        print("from the run")
        printed.set()

    thread, _ = trainer(body, log)
    ready.wait(10)
    with contextlib.redirect_stdout(cell):
        redirected.set()
        printed.wait(10)
        print("from the cell")
    thread.join(10)
    assert log.texts == ["from the run"]
    assert cell.getvalue() == "from the cell\n"


def test_a_stream_kept_from_a_run_works_after_it(log, capsys):
    kept = []
    in_run(lambda: kept.append(sys.stdout), log)
    kept[0].write("later\n")
    kept[0].flush()
    assert capsys.readouterr().out == "later\n"
    assert log.lines == []


def test_a_recorder_that_replaces_write_sees_others_texts_only(log, capsys):
    """IPython records each cell's output this way, and takes its recorder out again."""
    recorded, go, done = [], threading.Event(), threading.Event()
    ready, may_end = threading.Event(), threading.Event()

    def body():
        ready.set()
        go.wait(10)
        print("from the run")
        done.set()
        may_end.wait(10)

    thread, _ = trainer(body, log)
    ready.wait(10)
    stream = sys.stdout

    def record(original):
        def write(text, *args):
            recorded.append(text)
            return original(text)

        return write

    outer = stream.write
    stream.write = record(outer)
    inner = stream.write
    stream.write = record(inner)
    go.set()
    done.wait(10)
    sys.stdout.write("cell")
    stream.write = inner
    sys.stdout.write("cell")
    stream.write = outer
    sys.stdout.write("cell")
    may_end.set()
    thread.join(10)
    assert recorded == ["cell"] * 3
    assert capsys.readouterr().out == "cellcellcell"
    assert log.texts == ["from the run"]


def test_a_copied_context_outlives_its_run_quietly(log, capsys):
    import contextvars

    contexts = []
    in_run(lambda: contexts.append(contextvars.copy_context()), log)
    contexts[0].run(print, "after the end")
    assert log.lines == []
    assert capsys.readouterr().out == "after the end\n"


def test_a_sink_that_prints_does_not_feed_itself(capsys):
    def sink(stream, text, replace):
        print("sink:", text)

    in_run(lambda: print("x"), sink)
    assert capsys.readouterr().out == "sink: x\n"


def test_a_proxy_behaves_as_its_stream(log):
    seen = {}

    def body():
        seen.update(encoding=sys.stdout.encoding, tty=sys.stdout.isatty())
        sys.stdout.writelines(["a\n", "b\n"])
        with pytest.raises(TypeError, match="must be str, not int"):
            sys.stdout.write(5)

    encoding = sys.stdout.encoding
    in_run(body, log)
    assert seen == {"encoding": encoding, "tty": False}
    assert log.texts == ["a", "b"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_prints_where_it_would_without_us(log, capfd):
    def body():
        child = os.fork()
        if child == 0:
            print("worker", flush=True)
            os._exit(0)
        os.waitpid(child, 0)

    in_run(body, log)
    assert log.lines == []
    assert "worker" in capfd.readouterr().out


# ── lines ────────────────────────────────────────────────────────────────────────────────


def test_pieces_are_joined_to_lines_and_the_last_is_not_lost(log):
    def body():
        print("epoch", end=" ")
        print("1", end="", flush=True)
        assert log.lines == []
        print()
        print()
        print("a\nb\r\nc", end="")

    in_run(body, log)
    assert log.texts == ["epoch 1", "", "a", "b", "c"]


def test_long_lines_are_cut_and_say_so(log):
    def body():
        for _ in range(10):
            print("x" * 1_000, end="")
        print()

    in_run(body, log)
    (text,) = log.texts
    assert text == "x" * output.LINE_LIMIT + "… (6,000 more characters)"


def test_colours_are_left_out(log):
    in_run(lambda: print("\x1b[31mred\x1b[0m"), log)
    assert log.texts == ["red"]


def test_a_progress_bar_is_one_line(log, unthrottled):
    tqdm = pytest.importorskip("tqdm").tqdm

    def body():
        for _ in tqdm(range(5), mininterval=0, ncols=40):
            pass
        print("done")

    in_run(body, log)
    (stream, bar), done = log.lines
    assert stream == "stderr"
    assert bar.startswith("100%")
    assert done == ("stdout", "done")
    assert len(log.calls) > 3


def test_a_bar_writes_to_the_log_twice_a_second_at_most(log):
    def body():
        for n in range(1_000):
            sys.stderr.write(f"\r{n}")
        sys.stderr.write("\n")

    in_run(body, log)
    assert log.texts == ["999"]
    assert len(log.calls) < 20


def test_a_print_between_two_states_of_a_bar_is_not_overwritten(log, unthrottled):
    def body():
        sys.stderr.write("\r10%")
        print("epoch 1")
        sys.stderr.write("\r20%")
        sys.stderr.write("\r30%\n")

    in_run(body, log)
    assert log.texts == ["10%", "epoch 1", "30%"]


def test_a_bar_that_is_wiped_out_makes_room_for_the_next(log, unthrottled):
    def body():
        for epoch in range(3):
            sys.stderr.write(f"\repoch {epoch}")
            sys.stderr.write("\r" + " " * 10 + "\r")

    in_run(body, log)
    assert log.texts == ["epoch 2"]


# ── warnings and logging ─────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("always")
def test_warnings_of_the_run_are_logged_and_those_of_others_are_shown(log, monkeypatch):
    shown = []
    monkeypatch.setattr(
        warnings, "showwarning", lambda message, *_, **__: shown.append(str(message))
    )

    def body():
        warnings.warn("lr is zero", stacklevel=1)
        other = threading.Thread(target=warnings.warn, args=("from elsewhere",))
        other.start()
        other.join(10)

    in_run(body, log)
    assert {stream for stream, _ in log.lines} == {"warning"}
    assert "UserWarning: lr is zero" in log.texts[0]
    assert shown == ["from elsewhere"]


@pytest.fixture
def logger():
    logger = logging.getLogger("test_output")
    logger.propagate = False
    yield logger
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def test_records_leave_the_console_for_the_log_and_reach_the_users_files(log, logger, capsys):
    console, file = logging.StreamHandler(), logging.StreamHandler(io.StringIO())
    console.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.handlers = [console, file]
    logger.setLevel(logging.INFO)

    def body():
        logger.info("epoch %d", 3)
        logger.debug("too fine")
        other = threading.Thread(target=logger.info, args=("from elsewhere",))
        other.start()
        other.join(10)

    in_run(body, log)
    assert log.lines == [("logging", "INFO epoch 3")]
    assert file.stream.getvalue() == "epoch 3\nfrom elsewhere\n"
    assert capsys.readouterr().err == "INFO from elsewhere\n"


def test_a_handlers_level_and_filter_are_respected(log, logger):
    console = logging.StreamHandler()
    console.setLevel(logging.WARNING)
    console.addFilter(lambda record: "secret" not in record.getMessage())
    logger.handlers = [console]
    logger.setLevel(logging.DEBUG)

    def body():
        logger.info("quiet")
        logger.warning("secret")
        logger.error("loud")

    in_run(body, log)
    assert log.lines == [("logging", "loud")]


def test_without_any_handler_warnings_are_logged_as_python_would(log, logger, capsys):
    logger.handlers.clear()  # pytest's own

    def body():
        logger.info("quiet")
        logger.warning("loud\nand long")

    in_run(body, log)
    assert log.lines == [("logging", "loud"), ("logging", "and long")]
    assert capsys.readouterr().err == ""


def test_a_handler_made_in_the_run_works_after_it(log, logger, capsys):
    def body():
        logger.addHandler(logging.StreamHandler())
        logger.warning("in the run")

    in_run(body, log)
    logger.warning("after it")
    assert log.lines == [("logging", "in the run")]
    assert capsys.readouterr().err == "after it\n"


# ── bars ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def notebook_bar(monkeypatch):
    """`tqdm.notebook`, with a widget that says where it would be shown."""
    notebook = pytest.importorskip("tqdm.notebook")
    pytest.importorskip("ipywidgets")
    return notebook.tqdm_notebook


def test_a_notebooks_bar_is_text_in_a_run(log, notebook_bar, unthrottled):
    before = notebook_bar.__new__
    kinds = []

    def body():
        with notebook_bar(total=2, desc="inner", mininterval=0, display=True) as bar:
            kinds.append(type(bar).__module__)
            bar.update(2)
            bar.set_postfix(loss=1)

    in_run(body, log)
    assert kinds == ["tqdm.std"]
    (line,) = log.lines
    assert line[0] == "stderr"
    assert line[1].startswith("inner: 100%")
    assert notebook_bar.__new__ is before


def test_a_bar_redrawn_by_another_thread_stays_in_its_run(log, capsys, unthrottled):
    tqdm = pytest.importorskip("tqdm").tqdm
    own_init = tqdm.__dict__["__init__"]

    def body():
        bar = tqdm(total=2, mininterval=0)
        other = threading.Thread(target=bar.refresh)  # as tqdm's monitor does
        other.start()
        other.join(10)
        bar.close()

    in_run(body, log)
    assert log.lines
    assert capsys.readouterr().err == ""
    assert tqdm.__dict__["__init__"] is own_init


def test_bars_outside_a_run_are_left_alone(log):
    tqdm = pytest.importorskip("tqdm").tqdm
    file = io.StringIO()

    def elsewhere():
        for _ in tqdm(range(2), file=file):
            pass

    def body():
        other = threading.Thread(target=elsewhere)
        other.start()
        other.join(10)

    in_run(body, log)
    assert log.lines == []
    assert "100%" in file.getvalue()
