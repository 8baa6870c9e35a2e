"""The panel's conversation with a browser, and its place in the notebook."""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import Iterator
from typing import Any

import comm
import pytest
from comm.base_comm import BaseComm
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from nbtrain import messages as m
from nbtrain import wire
from nbtrain.errors import InvalidValue
from nbtrain.store.history import History
from nbtrain.ui import pictures, place
from nbtrain.ui.panel import Panel
from nbtrain.ui.picture import RUN_MIME
from nbtrain.ui.writer import Writer
from tests.ui.runs import RUN, applied, finish, started, step, validate

WAIT = 10.0


class RecordingComm(BaseComm):
    """A comm that keeps what is sent, and on which thread."""

    def __init__(self, *args: Any, **keys: Any) -> None:
        self.sent: list[tuple[dict[str, Any], list[bytes]]] = []
        self.threads: set[str] = set()
        self.broken = False
        super().__init__(*args, **keys)

    def publish_msg(self, msg_type: str, data: Any = None, *_: Any, **keys: Any) -> None:
        if self.broken:
            raise BrokenPipeError("no front end")
        if msg_type == "comm_msg" and data.get("method") == "custom":
            self.sent.append((data["content"], keys.get("buffers")))
            self.threads.add(threading.current_thread().name)

    def receive(self, content: Any) -> None:
        """What the browser sends."""
        data = {"method": "custom", "content": content}
        self.handle_msg({"content": {"data": data}, "buffers": []})


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    monkeypatch.setattr(comm, "create_comm", RecordingComm)
    writer = Writer(frame=0.01)
    yield writer
    writer.close()


class Shown:
    """A panel of a hand-made history, with what it sends and is sent."""

    def __init__(self, writer: Writer, history: History | None = None, **extras: Any) -> None:
        self.writer = writer
        self.history = history or started()
        self.commands: list[m.Command] = []
        self.panel = Panel(self.history, self.send, writer=writer, **extras)
        self.comm: RecordingComm = self.panel.widget.comm

    def send(self, command: m.Command) -> str:
        if isinstance(command, m.Set) and command.value == -1:
            raise InvalidValue("lr cannot be -1: it takes a number from 0 up to 1000.")
        self.commands.append(command)
        return command.id

    def hello(self) -> dict[str, Any]:
        self.comm.receive({"kind": "hello", "protocol": 1})
        return self.newest()

    def newest(self) -> dict[str, Any]:
        assert self.writer.flush(WAIT)
        return self.comm.sent[-1][0]

    def ask(self, command: m.Command, run: str = RUN) -> None:
        self.comm.receive({"kind": "command", "run": run, "command": wire.to_json(command)})


@pytest.fixture
def shown(writer: Writer) -> Shown:
    return Shown(writer)


def test_nothing_is_drawn_before_anyone_looks(shown: Shown) -> None:
    step(shown.history)
    assert shown.writer.flush(WAIT)
    assert shown.comm.sent == []


def test_a_hello_is_answered_by_a_snapshot_and_then_frames_follow(shown: Shown) -> None:
    step(shown.history)
    snapshot = shown.hello()
    assert snapshot["kind"] == "snapshot"
    assert snapshot["figure"]["roots"]
    assert snapshot["view"]["run"]["id"] == RUN
    assert [head["count"] for head in snapshot["curves"]] == [10, 10]
    step(shown.history)
    shown.writer.wake()
    frame = shown.newest()
    assert frame["kind"] == "frame"
    assert frame["seq"] == snapshot["seq"] + 1
    assert frame["curves"][0] == {"name": "loss", "start": 10, "count": 10}
    sent = len(shown.comm.sent)
    shown.writer.wake()
    shown.newest()
    assert len(shown.comm.sent) == sent


def test_a_second_view_or_a_reload_gets_everything_again(shown: Shown) -> None:
    shown.hello()
    step(shown.history)
    again = shown.hello()
    assert again["kind"] == "snapshot"
    assert again["curves"][0]["count"] == 10


def test_all_messages_leave_on_the_writers_thread(shown: Shown) -> None:
    shown.hello()
    shown.ask(m.Set(knob="lr", value=-1))
    step(shown.history)
    shown.newest()
    assert shown.comm.threads == {"nbtrain-ui"}


def test_a_click_reaches_the_run_as_the_command_it_spells(shown: Shown) -> None:
    command = m.Set(knob="lr", value=1e-4, drag="d1", sender="panel-1", sequence=3)
    shown.ask(command)
    assert shown.commands == [command]


def test_a_refusal_comes_back_among_the_answers(shown: Shown) -> None:
    shown.hello()
    shown.ask(m.Set(id="c1", knob="lr", value=-1))
    (answer,) = shown.newest()["view"]["answers"]
    assert answer["id"] == "c1"
    assert answer["ok"] is False
    assert "from 0 up to 1000" in answer["reason"]


def test_a_command_that_is_none_is_answered_too(shown: Shown) -> None:
    shown.hello()
    shown.comm.receive({"kind": "command", "run": RUN, "command": {"kind": "Dance", "id": "c2"}})
    (answer,) = shown.newest()["view"]["answers"]
    assert answer["id"] == "c2"
    assert not answer["ok"]


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "hello",
        {},
        {"kind": "command"},
        {"kind": "command", "run": RUN, "command": 7},
        {"kind": "command", "run": RUN, "command": {"kind": "Set", "id": 5}},
        {"kind": "command", "run": RUN, "command": {"kind": "Set", "id": "x" * 10_000}},
        {"kind": "unknown"},
    ],
)
def test_nonsense_is_ignored(shown: Shown, content: Any) -> None:
    before = shown.hello()
    shown.comm.receive(content)
    assert shown.newest() is before
    assert shown.commands == []


def test_a_button_for_another_run_goes_there(writer: Writer) -> None:
    routed: list[tuple[str, m.Command]] = []
    shown = Shown(writer, route=lambda run, command: routed.append((run, command)))
    command = m.Resume(share=True)
    shown.ask(command, run="another")
    assert routed == [("another", command)]
    assert shown.commands == []


def test_a_button_for_a_run_that_is_gone_says_so(shown: Shown) -> None:
    shown.hello()
    shown.ask(m.Resume(id="c3"), run="another")
    (answer,) = shown.newest()["view"]["answers"]
    assert "gone" in answer["reason"]


def test_the_panel_of_an_ended_run_rests_until_something_happens(shown: Shown) -> None:
    shown.hello()
    finish(shown.history)
    assert shown.newest()["kind"] == "frame"
    assert shown.panel not in shown.writer.panels
    assert shown.hello()["kind"] == "snapshot"
    shown.ask(m.Set(id="c9", knob="lr", value=-1))
    assert [a["id"] for a in shown.newest()["view"]["answers"]] == ["c9"]
    place = shown.history.step
    shown.history.apply(m.Resumed(run=RUN, step=place))
    step(shown.history)
    assert shown.newest()["view"]["progress"]["step"] > place
    assert shown.panel in shown.writer.panels


def test_a_broken_comm_ends_one_panel_alone(writer: Writer) -> None:
    broken, healthy = Shown(writer), Shown(writer)
    for shown in (broken, healthy):
        shown.hello()
    broken.comm.broken = True
    for shown in (broken, healthy):
        step(shown.history)
    writer.wake()
    assert healthy.newest()["kind"] == "frame"
    assert healthy.panel in writer.panels
    assert broken.panel not in writer.panels


def test_the_widget_is_ours_and_syncs_the_runs_id_alone(shown: Shown) -> None:
    state = shown.panel.widget.get_state()
    assert state["_model_module"] == state["_view_module"] == "nbtrain"
    assert state["_model_name"] == "PanelModel"
    assert state["run"] == RUN


# ── its place in the notebook ────────────────────────────────────────────────────────────


class Publisher(DisplayPublisher):
    """Keeps what is displayed."""

    def publish(self, data: Any, metadata: Any = None, **keys: Any) -> None:  # type: ignore[override]
        self.__dict__.setdefault("shown", []).append((data, keys, threading.current_thread().name))


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    publisher = Publisher()

    class Shell:
        display_pub = publisher

    monkeypatch.setattr(InteractiveShell, "instance", classmethod(lambda cls: Shell))
    # An earlier test may have left a real shell, for which a comm would look.
    monkeypatch.setattr(InteractiveShell, "initialized", classmethod(lambda cls: False))
    return publisher


def outputs(publisher: Publisher) -> list[Any]:
    return list(publisher.__dict__.get("shown", []))


def test_the_panel_is_one_output_in_every_form(shown: Shown, publisher: Publisher) -> None:
    shown.panel.show()
    ((data, keys, _),) = outputs(publisher)
    assert data[RUN_MIME] == {"version": 1, "run": RUN, "name": "digits", "state": "running"}
    view = data["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == shown.panel.widget.model_id
    assert "digits: running" in data["text/plain"]
    assert "<table>" in data["text/html"]
    assert keys["update"] is False


def test_the_end_puts_a_picture_in_the_place_of_the_panel(
    shown: Shown, publisher: Publisher
) -> None:
    shown.panel.show()
    step(shown.history)
    validate(shown.history, 0.5)
    finish(shown.history)
    shown.writer.wake()
    assert shown.writer.flush(WAIT)
    (_, first, _), (data, last, thread) = outputs(publisher)
    assert last["update"] is True
    assert last["transient"] == first["transient"]
    assert thread == "nbtrain-ui"
    png = base64.b64decode(data["image/png"])
    assert png.startswith(b"\x89PNG")
    assert data["image/png"] in data["text/html"]
    assert data[RUN_MIME]["state"] == "completed"
    assert sum(len(str(value)) for value in data.values()) < 200_000
    # Nothing new, so no other picture.
    shown.writer.wake()
    assert shown.writer.flush(WAIT)
    assert len(outputs(publisher)) == 2


def test_a_run_that_had_ended_when_it_was_shown_gets_its_picture_too(
    shown: Shown, publisher: Publisher
) -> None:
    step(shown.history)
    finish(shown.history)
    for count in (2, 4):
        shown.panel.show()
        for _ in range(2):
            shown.writer.wake()
            assert shown.writer.flush(WAIT)
        assert len(outputs(publisher)) == count
        assert "image/png" in outputs(publisher)[-1][0]


def test_a_run_that_failed_before_its_first_step_shows_the_error(
    shown: Shown, publisher: Publisher
) -> None:
    shown.panel.show()
    finish(shown.history, "failed", reason="it failed", error="ValueError: <b>no</b>")
    shown.writer.wake()
    assert shown.writer.flush(WAIT)
    data = outputs(publisher)[-1][0]
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in data["text/html"]
    assert "image/png" not in data


def test_while_it_trains_a_picture_comes_seldom(
    writer: Writer, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "FIRST_PICTURE", 0.05)
    monkeypatch.setattr(place, "PICTURE_EVERY", 60.0)
    shown = Shown(writer)
    shown.panel.show()
    pictured = threading.Event()
    publish = publisher.publish

    def listen(data: Any, *rest: Any, **keys: Any) -> None:
        publish(data, *rest, **keys)
        pictured.set()

    publisher.__dict__["publish"] = listen
    step(shown.history)
    shown.writer.wake()
    assert pictured.wait(WAIT)
    for _ in range(5):
        step(shown.history)
        shown.writer.wake()
        assert shown.writer.flush(WAIT)
    assert len(outputs(publisher)) == 2


def test_a_picture_that_cannot_be_drawn_leaves_table_and_panel(
    shown: Shown, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("latex could not be found")

    monkeypatch.setattr(pictures.picture, "png", fail)
    shown.panel.show()
    step(shown.history)
    finish(shown.history)
    shown.writer.wake()
    assert shown.writer.flush(WAIT)
    data = outputs(publisher)[-1][0]
    assert "<table>" in data["text/html"]
    assert shown.hello()["kind"] == "snapshot"


def test_making_a_panel_imports_no_bokeh_and_no_matplotlib() -> None:
    import subprocess

    code = (
        "import sys; import nbtrain.ui.panel; "
        "print([n for n in ('torch', 'bokeh', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_undone_actions_stay_and_are_marked(shown: Shown) -> None:
    event = applied(shown.history, old=3e-3, new=1e-3)
    applied(shown.history, action="Undo", old=1e-3, new=3e-3, undoes=event.command)
    actions = shown.hello()["view"]["actions"]
    assert [(a["label"], a["undone"]) for a in actions] == [
        ("lr → 1.0e-3", True),
        ("undo: lr → 3.0e-3", False),
    ]
