"""Between a Jupyter kernel and the runs in it, beside the cells.

Three things that must work while a cell is busy: commands come in on the kernel's control
channel, which its own thread serves; a restart or shutdown ends the live runs between two
steps; and a live run keeps a hub from culling the kernel as idle.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from nbtrain import wire
from nbtrain.errors import NbtrainError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

REQUEST: Final = "nbtrain_request"
REPLY: Final = "nbtrain_reply"
ALIVE: Final = "nbtrain_alive"

SHUTDOWN_SECONDS: Final = 1.8
"""Longest wait for live runs at a shutdown; Jupyter kills a kernel after 2.5 s."""

ALIVE_SECONDS: Final = 60.0
"""Between two signs of life; hubs cull after ten minutes at the earliest."""

_MOST_PARTS: Final = 2_000
_MOST_CHARACTERS: Final = 50_000


class Bridge:
    """What we add to the kernel of one shell, and take back."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._kernel: Any = getattr(shell, "kernel", None)
        self._do_shutdown: Callable[[bool], Any] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._alive = KeepAlive(_live_names, self._say_alive)

    def attach(self) -> None:
        """Begin to serve. Outside a kernel there is nothing to do."""
        if self._kernel is None:
            return
        _keep_awake(self._kernel)
        self._kernel.control_handlers[REQUEST] = self._request
        self._do_shutdown = self._kernel.do_shutdown
        self._kernel.do_shutdown = self._shutdown
        self._shell.events.register("post_run_cell", self.look)

    def look(self, *_: object) -> None:
        """Called after each cell: from the first that trained on, listen to the runs."""
        wanted = os.environ.get("NBTRAIN_KEEPALIVE", "1") != "0"
        registry = _registry()
        if registry is not None and wanted and self._unsubscribe is None:
            self._unsubscribe = registry.subscribe(self._alive.notice)
            self._alive.notice()

    def detach(self) -> None:
        """Put back what was there; live runs go on, and still end well with the process."""
        if self._kernel is None:
            return
        self._shell.events.unregister("post_run_cell", self.look)
        self._alive.cease()
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._kernel.control_handlers.pop(REQUEST, None)
        # Whoever has wrapped it since keeps calling ours, which goes on to the original.
        if self._kernel.do_shutdown == self._shutdown:
            self._kernel.do_shutdown = self._do_shutdown

    def _request(self, stream: Any, ident: Any, message: dict[str, Any]) -> None:
        """Called on the control thread, also while a cell is busy."""
        content = answer(message.get("content"))
        self._kernel.session.send(stream, REPLY, content, message, ident=ident)

    def _shutdown(self, restart: bool) -> Any:
        stop_all()
        assert self._do_shutdown is not None
        return self._do_shutdown(restart)

    def _say_alive(self, names: list[str]) -> None:
        kernel = self._kernel
        kernel.session.send(
            kernel.iopub_socket, ALIVE, {"runs": names}, parent={}, ident=ALIVE.encode()
        )


def _keep_awake(kernel: Any) -> None:
    """Send the kernel's replies through the stream that reads its requests.

    Up to 7.3 ipykernel 7 sends them past it, and a request that comes at that moment is not
    read, nor is any after it (ipykernel #1529). A panel that opens asks for its run just when
    the cell's reply leaves. 7.4 does what is done here. Private, hence the guards.
    """
    manager: Any = getattr(getattr(kernel, "shell_channel_thread", None), "manager", None)
    stream = getattr(kernel, "shell_stream", None)
    if getattr(manager, "_shell_socket", None) is not None and stream is not None:
        manager._shell_socket = stream


# ── commands ─────────────────────────────────────────────────────────────────────────────


def answer(content: Any) -> dict[str, Any]:
    """Pass on the command in ``content`` and say whether it was taken.

    Untrusted: whatever it is, the answer is ``{"status": "ok"}`` or ``{"status": "error",
    "error": why}``, and an error has changed nothing. What the command did is answered by
    the run, to its id.
    """
    try:
        if not _is_small(content):
            raise wire.InvalidMessage("The request is too large.")
        if not isinstance(content, dict) or not isinstance(content.get("run"), str):
            raise wire.InvalidMessage("A request is {kind, run, command}, run the run's id.")
        if content.get("kind", "command") != "command":
            raise wire.UnknownMessage(f"There is no request of kind {content['kind']!r:.80}.")
        command = wire.command_from_json(content.get("command"))
        run = _by_id(content["run"])
        if run is None:
            raise wire.InvalidMessage(f"There is no run {content['run']!r:.80} in this kernel.")
        run.send(command)
    except NbtrainError as error:
        return {"status": "error", "error": str(error)}
    return {"status": "ok"}


def _is_small(content: Any) -> bool:
    """Whether ``content`` is bounded in size; looks at no more than the bound."""
    parts, characters = [content], 0
    seen = 0
    while parts:
        part = parts.pop()
        seen += 1
        if isinstance(part, str):
            characters += len(part)
        elif isinstance(part, (dict, list)):
            if len(part) > _MOST_PARTS:
                return False
            parts.extend(part.keys() if isinstance(part, dict) else part)
            if isinstance(part, dict):
                parts.extend(part.values())
        if seen > _MOST_PARTS or characters > _MOST_CHARACTERS:
            return False
    return True


def _registry() -> Any:
    """The registry of runs, if anything has trained yet; importing it would import torch."""
    return sys.modules.get("nbtrain.runs.registry")


def _live_names() -> list[str]:
    registry = _registry()
    return [] if registry is None else [run.name for run in registry.live()]


def _by_id(run: str) -> Any:
    registry = _registry()
    found = None if registry is None else registry.find(run)
    return found if found is not None and found.id == run else None


# ── the end ──────────────────────────────────────────────────────────────────────────────


def stop_all() -> None:
    """End every live run between two steps, with a checkpoint where there is time."""
    registry = _registry()
    if registry is not None:
        registry.stop_all(SHUTDOWN_SECONDS)


# ── keep-alive ───────────────────────────────────────────────────────────────────────────


class KeepAlive:
    """Says once a minute that a run is live, on a thread that exists only while one is.

    Args:
        live: the names of the live runs.
        say: publishes one message; called on that thread.
    """

    def __init__(
        self,
        live: Callable[[], list[str]],
        say: Callable[[list[str]], None],
        seconds: float = ALIVE_SECONDS,
    ) -> None:
        self._live, self._say, self._seconds = live, say, seconds
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._woken = threading.Event()
        self._ceased = False

    @property
    def speaking(self) -> bool:
        """Whether the thread exists."""
        return self._thread is not None

    def notice(self, *_: object) -> None:
        """Something happened to a run: begin to speak, or cease. Never blocks."""
        with self._lock:
            if self._thread is not None:
                if not self._live():
                    self._woken.set()
            elif not self._ceased and self._live():
                self._thread = threading.Thread(
                    target=self._speak, name="nbtrain-keep-alive", daemon=True
                )
                self._thread.start()

    def cease(self) -> None:
        """Fall silent for good."""
        self._ceased = True
        self._woken.set()

    def _speak(self) -> None:
        while True:
            woken = self._woken.wait(self._seconds)
            with self._lock:
                self._woken.clear()
                names = self._live()
                if self._ceased or not names:
                    self._thread = None
                    return
            if not woken:
                self._say(names)
