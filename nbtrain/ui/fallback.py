"""The panel where our front-end part is absent: plain ipywidgets and a picture.

VS Code and Colab show these. The controls come from the same knob declarations, go through
the same ``send``, and show what took effect. ``NBTRAIN_PANEL=plain`` asks for them anywhere,
``NBTRAIN_PANEL=full`` for the full panel.
"""

from __future__ import annotations

import html
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import ipywidgets

from nbtrain import messages as m
from nbtrain.errors import UsageError
from nbtrain.store.history import History
from nbtrain.ui import picture, view
from nbtrain.ui import writer as writers
from nbtrain.ui.control import Control, controls
from nbtrain.ui.place import Place
from nbtrain.ui.shown import ShownRun

PICTURE_EVERY: Final = 1.0
"""Seconds between two pictures, at least."""
SHARE: Final = 0.1
"""Largest share of a processor that drawing pictures may take."""


def needed(namespace: Mapping[str, Any]) -> bool:
    """Whether the front end cannot draw the full panel. ``namespace`` is the user's."""
    asked = os.environ.get("NBTRAIN_PANEL", "")
    if asked in ("plain", "full"):
        return asked == "plain"
    return (
        "google.colab" in sys.modules
        or "VSCODE_PID" in os.environ
        or "__vsc_ipynb_file__" in namespace
    )


class PlainPanel(ShownRun):
    """One run as plain widgets.

    Widgets that the user does not hold are written by the writer's thread alone; handlers
    only send commands.
    """

    def _make(self, live: bool, writer: writers.Writer | None) -> None:
        self.widget = ipywidgets.VBox()
        self._writer = writer or writers.painter
        self._head, self._notices = ipywidgets.HTML(), ipywidgets.HTML()
        self._image = ipywidgets.Image(format="png", layout={"max_width": "100%"})
        self._image.layout.display = "none"
        self._pause = self._button("Pause", self._toggle)
        self._keep = self._button(
            "Keep both", lambda: m.Resume(sender="panel", share=True), self._replaced
        )
        self._keep.layout.display = "none"
        self._buttons = ipywidgets.HBox(
            [
                self._pause,
                self._button("One step", lambda: m.OneStep(sender="panel")),
                self._button("Early stop", lambda: m.Stop(sender="panel")),
                self._button("Undo", lambda: m.Undo(sender="panel")),
                self._keep,
            ]
        )
        self._place: Place | None = None
        self._controls: dict[str, Control] = {}
        self._sent: dict[str, str] = {}
        """By knob (or button) the id of the newest command that waits for its answer."""
        self._refused: dict[str, str] = {}
        self._drawn_at: tuple[Any, ...] = ()
        self._picture_at, self._pictured = 0.0, -1
        self._fill()
        self._writer.add(self)

    def show(self) -> None:
        """Display the panel under the cell that runs; its last place gets the pictures."""
        self._place = Place(self.history)
        self._place.publish(self.display_bundle(), update=False)
        self._writer.wake()

    def display_bundle(self) -> dict[str, Any]:
        """The widgets, and what a saved notebook shows in their place."""
        drawn = bytes(self._image.value) or None
        bundle = picture.bundle(self.history, self.widget.model_id, drawn)
        # Ours alone would be preferred wherever the full panel can be drawn.
        del bundle[picture.RUN_MIME]
        return bundle

    _ipython_display_ = show

    def _draw(self, now: float) -> float | None:
        """Show what changed, and a fresh picture when it is time."""
        moment = (self.history.version, tuple(self._sent.items()), tuple(self._refused.items()))
        if moment != self._drawn_at:
            self._drawn_at = moment
            self._tell()
        due = [self._draw_picture(now)]
        if self._place is not None:
            due.append(self._place.draw(now, self.display_bundle))
        return min((at for at in due if at is not None), default=None)

    def _draw_picture(self, now: float) -> float | None:
        if self.history.version == self._pictured:
            return None
        if now < self._picture_at and self.history.state != "finished":
            return self._picture_at
        self._pictured = self.history.version
        self.feed.read()
        if self.feed.curves:
            # Here, so that what happens once does not count below.
            import matplotlib.figure  # noqa: F401

            begin = time.thread_time()
            self._image.value = picture.png(self.history, self.feed.charts, self.feed.curves)
            self._image.layout.display = ""
            self._picture_at = now + max(PICTURE_EVERY, (time.thread_time() - begin) / SHARE)
        return None

    def _tell(self) -> None:
        h = self.history
        self._head.value = _heading(h)
        self._pause.description = "Resume" if h.state in ("paused", "finished") else "Pause"
        self._keep.layout.display = "" if self._replaced() else "none"
        if not self._controls and h.knobs:
            self._fill()
        for name, command in list(self._sent.items()):
            answer = h.answers.get(command)
            if answer is not None:
                self._sent.pop(name, None)
            if isinstance(answer, m.Rejected):
                self._refused[name] = answer.reason
        refused = dict(self._refused)
        others = [reason for name, reason in refused.items() if name not in self._controls]
        self._notices.value = _notices(h, others)
        shown = view.values(h)
        for name, control in self._controls.items():
            if name in self._sent:
                control.say("sent, waiting")
                continue
            value = shown[name]
            control.follow(value["value"])
            if name in refused:
                control.say(refused[name], wrong=True)
            elif value["step"] is not None:
                change = f"{view.short(value['old'])} → {view.short(value['new'])}"
                control.say(f"{change} at step {value['step']:,}")

    def _fill(self) -> None:
        """Lay the widgets out: the controls by groups, once the run's knobs are known."""
        groups: dict[str, list[Any]] = {}
        if self.history.knobs and not self.feed.view.live:
            self._buttons.layout.display = "none"
        elif self.history.knobs:
            self._controls = controls(
                view.knobs(self.history), view.values(self.history), self._set
            )
            for control in self._controls.values():
                groups.setdefault(control.knob["group"], []).append(control.row)
        boxes = [
            ipywidgets.VBox([ipywidgets.HTML(f"<b>{html.escape(group)}</b>"), *rows])
            for group, rows in groups.items()
        ]
        self.widget.children = (
            self._head, self._buttons, self._notices, self._image, *boxes,
        )  # fmt: skip

    # ── on the thread that handles the widgets' messages ─────────────────────────────

    def _button(
        self, text: str, make: Callable[[], m.Command], run: Callable[[], str | None] | None = None
    ) -> Any:
        """A button that sends what ``make`` gives to the run whose id ``run`` gives, or to this
        one."""
        button = ipywidgets.Button(description=text)
        button.on_click(lambda _: self._ask(text, make(), None if run is None else run()))
        return button

    def _toggle(self) -> m.Command:
        waits = self.history.state in ("paused", "finished")
        return m.Resume(sender="panel") if waits else m.Pause(sender="panel")

    def _replaced(self) -> str | None:
        """The id of the run whose place this one took, if it says so."""
        for topic in self.history.notices:
            if topic.startswith(view.REPLACES):
                return topic.removeprefix(view.REPLACES)
        return None

    def _set(self, knob: str, value: m.Value) -> None:
        self._ask(knob, m.Set(knob=knob, value=value, sender="panel"))

    def _ask(self, name: str, command: m.Command, run: str | None = None) -> None:
        self._refused.pop(name, None)
        if run is None:  # another run's answer does not come here
            self._sent[name] = command.id
        try:
            self._steer(run, command)
        except UsageError as error:
            self._sent.pop(name, None)
            self._refused[name] = str(error)
        self._writer.wake()


def _heading(history: History) -> str:
    progress = view.progress(history)
    parts = [f"step {progress['step']:,}"]
    if progress["total_steps"]:
        parts[0] += f"/{progress['total_steps']:,}"
    if view.unit(history) == "epoch":
        epochs = f"/{progress['epochs']}" if progress["epochs"] else ""
        parts.insert(0, f"epoch {history.epoch:.4g}{epochs}")
    if progress["steps_per_second"]:
        parts.append(f"{progress['steps_per_second']:,.0f} steps/s")
    if progress["seconds_left"] is not None:
        parts.append(f"{progress['seconds_left']:.0f} s left")
    if history.device_name or history.device:
        parts.append(history.device_name or history.device)
    state = history.outcome or history.state or ""
    said = " · ".join(html.escape(part) for part in parts)
    return f"<b>{html.escape(history.name)}</b> <i>{html.escape(state)}</i> {said}"


def _notices(history: History, refused: list[str]) -> str:
    said = [notice.text for notice in history.notices.values() if notice.text]
    said += refused
    if history.error:
        said.append(history.error)
    lines = "".join(f"<div>{html.escape(text)}</div>" for text in said)
    if history.traceback:
        lines += f"<pre>{html.escape(history.traceback)}</pre>"
    return lines
