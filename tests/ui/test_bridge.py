"""Requests are answered whatever they are; kernels end and stay alive as they should."""

import string
import sys
import threading
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrain import messages as m
from nbtrain.errors import InvalidValue
from nbtrain.ui import bridge
from nbtrain.ui.bridge import Bridge, KeepAlive, answer


class Run:
    """A run that only notes what it is sent."""

    id = "0123456789ab"
    name = "digits"

    def __init__(self):
        self.sent = []

    def send(self, command):
        if isinstance(command, m.Set) and command.knob != "lr":
            raise InvalidValue("no such knob")
        self.sent.append(command)
        return command.id


class Registry(types.ModuleType):
    """Stands for `nbtrain.runs.registry`, without PyTorch."""

    def __init__(self, *runs):
        super().__init__("nbtrain.runs.registry")
        self.runs = list(runs)
        self.stopped = []
        self.subscribers = []

    def live(self):
        return list(self.runs)

    def find(self, ref):
        return next((run for run in self.runs if ref in (run.id, run.name)), None)

    def stop_all(self, timeout):
        self.stopped.append(timeout)

    def subscribe(self, callback):
        self.subscribers.append(callback)
        return lambda: self.subscribers.remove(callback)


@pytest.fixture
def run():
    return Run()


@pytest.fixture
def registry(run, monkeypatch):
    registry = Registry(run)
    monkeypatch.setitem(sys.modules, "nbtrain.runs.registry", registry)
    return registry


# ── requests ─────────────────────────────────────────────────────────────────────────────


def test_a_command_reaches_its_run(run, registry):
    body = {"kind": "Set", "id": "c1", "sender": "panel", "knob": "lr", "value": 0.1}
    assert answer({"kind": "command", "run": run.id, "command": body}) == {"status": "ok"}
    assert run.sent == [m.Set(id="c1", sender="panel", knob="lr", value=0.1)]


def test_a_run_is_known_by_its_id_alone(run, registry):
    reply = answer({"run": "digits", "command": {"kind": "Stop"}})
    assert reply["status"] == "error"
    assert run.sent == []


def test_what_the_run_refuses_is_answered(run, registry):
    body = {"kind": "Set", "knob": "rl", "value": 1.0}
    assert answer({"run": run.id, "command": body}) == {"status": "error", "error": "no such knob"}


def test_before_anything_trains_there_is_no_run(monkeypatch):
    monkeypatch.delitem(sys.modules, "nbtrain.runs.registry", raising=False)
    assert "no run" in answer({"run": "x", "command": {"kind": "Pause"}})["error"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(string.printable), inner),
    max_leaves=20,
)
COMMANDS = st.fixed_dictionaries(
    {"kind": st.sampled_from([kind.__name__ for kind in m.COMMANDS]) | JSON},
    optional={"id": JSON, "knob": JSON, "value": JSON, "restore": JSON, "count": JSON},
)


@given(
    content=JSON
    | st.fixed_dictionaries({"run": st.just(Run.id) | JSON, "command": COMMANDS | JSON})
)
def test_anything_at_all_is_answered(content):
    run = Run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "nbtrain.runs.registry", Registry(run))
        reply = answer(content)
    assert reply["status"] in ("ok", "error")
    assert (reply["status"] == "ok") == bool(run.sent)
    assert len(reply.get("error", "")) < 1_000


@pytest.mark.parametrize(
    "huge",
    ["x" * 1_000_000, ["x" * 1_000] * 100, [0] * 1_000_000, {str(n): n for n in range(10_000)}],
    ids=["text", "texts", "list", "object"],
)
def test_a_huge_request_is_refused(run, registry, huge):
    for content in (huge, {"run": run.id, "command": {"kind": "Stop", "id": huge}}):
        assert answer(content)["status"] == "error"
    assert run.sent == []


def test_a_deep_request_is_refused(run, registry):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert answer({"run": run.id, "command": deep}) == {
        "status": "error",
        "error": "The request is too large.",
    }


# ── the kernel ───────────────────────────────────────────────────────────────────────────


class Session:
    def __init__(self):
        self.sent = []

    def send(self, stream, kind, content, parent=None, ident=None):
        self.sent.append((stream, kind, content, ident))


class Kernel:
    def __init__(self):
        self.control_handlers = {}
        self.session = Session()
        self.iopub_socket = "iopub"
        self.ended = []

    def do_shutdown(self, restart):
        self.ended.append(restart)
        return {"status": "ok", "restart": restart}


class Events:
    def __init__(self):
        self.callbacks = []

    def register(self, name, callback):
        self.callbacks.append((name, callback))

    def unregister(self, name, callback):
        self.callbacks.remove((name, callback))


@pytest.fixture
def shell():
    return types.SimpleNamespace(kernel=Kernel(), events=Events())


def test_requests_are_served_on_the_control_channel(shell, run, registry):
    Bridge(shell).attach()
    message = {"content": {"run": run.id, "command": {"kind": "Pause"}}}
    shell.kernel.control_handlers["nbtrain_request"]("stream", [b"me"], message)
    assert shell.kernel.session.sent == [("stream", "nbtrain_reply", {"status": "ok"}, [b"me"])]


def test_a_shutdown_stops_the_runs_and_then_goes_its_way(shell, registry):
    Bridge(shell).attach()
    assert shell.kernel.do_shutdown(True) == {"status": "ok", "restart": True}
    assert registry.stopped == [bridge.SHUTDOWN_SECONDS]
    assert shell.kernel.ended == [True]
    assert bridge.SHUTDOWN_SECONDS < 2


def test_detaching_puts_back_what_was_there(shell, registry):
    before = shell.kernel.do_shutdown
    attached = Bridge(shell)
    attached.attach()
    attached.look()
    attached.detach()
    assert shell.kernel.control_handlers == {}
    assert shell.kernel.do_shutdown == before
    assert shell.events.callbacks == []
    assert registry.subscribers == []


def test_detaching_respects_who_came_later(shell, registry):
    attached = Bridge(shell)
    attached.attach()
    ours = shell.kernel.do_shutdown

    def theirs(restart):
        return ours(restart)

    shell.kernel.do_shutdown = theirs
    attached.detach()
    assert shell.kernel.do_shutdown is theirs
    assert theirs(False) == {"status": "ok", "restart": False}


def test_outside_a_kernel_there_is_nothing_to_do():
    shell = types.SimpleNamespace(events=Events())
    attached = Bridge(shell)
    attached.attach()
    attached.detach()
    assert shell.events.callbacks == []


def test_the_sign_of_life_can_be_turned_off(shell, registry, monkeypatch):
    monkeypatch.setenv("NBTRAIN_KEEPALIVE", "0")
    attached = Bridge(shell)
    attached.attach()
    attached.look()
    assert registry.subscribers == []


# ── keep-alive ───────────────────────────────────────────────────────────────────────────


def wait_for(condition):
    pause = threading.Event()
    for _ in range(1_000):
        if condition():
            return True
        pause.wait(0.01)
    return False


def test_a_live_run_is_spoken_for_and_the_thread_ends_with_it():
    live, said, heard = ["digits"], [], threading.Event()

    def say(names):
        said.append(names)
        heard.set()

    alive = KeepAlive(lambda: list(live), say, seconds=0.01)
    assert not alive.speaking
    alive.notice()
    assert heard.wait(10)
    assert said[0] == ["digits"]
    live.clear()
    alive.notice()
    assert wait_for(lambda: not alive.speaking)
    live.append("second")
    heard.clear()
    alive.notice()
    assert heard.wait(10)
    assert said[-1] == ["second"]
    alive.cease()
    assert wait_for(lambda: not alive.speaking)
    alive.notice()
    assert not alive.speaking


def test_the_end_of_a_run_is_noticed_at_once_and_not_after_the_minute():
    live = ["digits"]
    alive = KeepAlive(lambda: list(live), lambda names: None, seconds=60.0)
    alive.notice()
    assert alive.speaking
    live.clear()
    alive.notice()
    assert wait_for(lambda: not alive.speaking)


def test_without_a_run_there_is_no_thread():
    alive = KeepAlive(list, lambda names: None)
    alive.notice()
    assert not alive.speaking
