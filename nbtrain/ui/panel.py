"""The panel of a run: a widget that the front-end part draws, and its place in the notebook."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import ipywidgets
from traitlets import Unicode

from nbtrain import messages as m
from nbtrain import wire
from nbtrain.errors import NbtrainError
from nbtrain.ui import writer as writers
from nbtrain.ui.pictures import Pictures
from nbtrain.ui.shown import ShownRun

FRONT_END: Final = "^0.1.0"
"""The versions of the front-end part that this panel can talk to."""


class PanelWidget(ipywidgets.DOMWidget):  # type: ignore[misc]
    """The panel's widget; everything but the run's id travels as messages."""

    _model_name = Unicode("PanelModel").tag(sync=True)
    _model_module = Unicode("nbtrain").tag(sync=True)
    _model_module_version = Unicode(FRONT_END).tag(sync=True)
    _view_name = Unicode("PanelView").tag(sync=True)
    _view_module = Unicode("nbtrain").tag(sync=True)
    _view_module_version = Unicode(FRONT_END).tag(sync=True)
    run = Unicode(help="The run's id.").tag(sync=True)

    def __init__(self, run: str, receive: Callable[[Any, Any, Any], None]) -> None:
        # Before the widget opens: its first message may come while this still goes on, on a
        # subshell's thread.
        self.on_msg(receive)
        super().__init__(run=run)
        # ipykernel 7.4 leads a comm's messages to where its last output came from, and so
        # past the subshell that could take them while a cell runs. Private, hence the guard.
        if hasattr(self.comm, "_reply_subshell_for"):
            self.comm._reply_subshell_for = lambda data, default: default


class Panel(ShownRun):
    """One run in the notebook, as our front-end part draws it."""

    def _make(self, live: bool, writer: writers.Writer | None) -> None:
        self._writer = writer or writers.writer
        self._asked = threading.Event()
        self._viewed = False
        self._sequence = 0
        self.widget = PanelWidget(self.history.id, self._receive)
        self._writer.add(self)
        # A test's writer draws everything; the kernel has one for frames and one for pictures.
        self._painter = writer or writers.painter
        self._pictures = Pictures(self.history, self.widget.model_id, self._painter, live=live)
        self._painter.add(self._pictures)

    def show(self) -> None:
        """Display the panel under the cell that runs; it may be shown at several places."""
        self._pictures.show()
        self._painter.wake()

    _ipython_display_ = show

    def display_bundle(self, drawn: bytes | None = None) -> dict[str, Any]:
        """The panel in every form that a front end may know, with the picture ``drawn``."""
        return self._pictures.bundle(drawn)

    def _draw(self, now: float) -> float | None:
        """Send what changed."""
        # Before anything is sent, so that what happens meanwhile is drawn too.
        ended, seen = self.history.state == "finished", self._drawn()
        if self._asked.is_set():
            self._asked.clear()
            self._viewed = True
            self._post(*self.feed.snapshot())
        elif self._viewed:
            message = self.feed.frame()
            if message is not None:
                self._post(*message)
        if ended:
            self._writer.rest(self, self._moment, seen)
        return None

    def _drawn(self) -> tuple[object, ...]:
        """What is drawn, as it is now."""
        return self.history.version, self.feed.view.refused

    def _moment(self) -> tuple[object, ...] | None:
        """What is drawn, for a panel that rests; None where somebody asks for all of it again."""
        return None if self._asked.is_set() else self._drawn()

    def _post(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        self._sequence += 1
        self.widget.send({**content, "seq": self._sequence}, buffers)

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        """Take a message of the browser; on whichever thread the kernel hands it over."""
        if not isinstance(content, dict):
            return
        if content.get("kind") == "hello":
            self._asked.set()
            self._writer.add(self)  # again, where it could not be drawn
        elif content.get("kind") == "command":
            self._command(content.get("run"), content.get("command"))

    def _command(self, run: Any, body: Any) -> None:
        """Pass on a command as the browser spells it; a refusal goes back among the answers."""
        try:
            self._steer(run, wire.command_from_json(body))
        except NbtrainError as error:
            self._refuse(body, str(error))

    def _refuse(self, body: Any, reason: str) -> None:
        given = body.get("id") if isinstance(body, dict) else None
        if not isinstance(given, str) or len(given) > 64:
            return  # Nobody could match an answer without an id.
        self.feed.refuse(
            m.Rejected(
                run=self.history.id,
                step=self.history.step,
                command=given,
                action=str(body.get("kind"))[:64],
                sender="panel",
                reason=reason,
            )
        )
        self._writer.wake()
