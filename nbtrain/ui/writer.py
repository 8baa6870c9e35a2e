"""The one UI writer of a kernel: a thread that draws every open panel.

Trainers, widget handlers and cells only say that something changed, by `Writer.wake`, which
costs less than a microsecond. The writer draws at most ten times a second, sleeps while
nothing changes, and is the only thread that sends a panel's messages: two threads that
write one widget lose updates.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

FRAME: Final = 0.1
"""Seconds between two frames, at least."""

STUCK: Final = 5.0
"""Seconds after which a frame that does not end is given up, and its panel with it."""

_log = logging.getLogger("nbtrain.ui")


class Drawable(Protocol):
    """What the writer draws. Its methods are called on the writer's thread only."""

    def draw(self, now: float) -> float | None:
        """Send what changed. ``now`` is the monotonic time in seconds.

        Returns when to draw again even if nobody wakes the writer, or None.
        """
        ...


class Writer:
    """Draws panels on a thread of its own, which starts with the first panel.

    A panel that raises is dropped until it is added again, one whose frame does not end until
    it ends after all: its own view stands still meanwhile, and neither the other panels nor
    any trainer notice.
    """

    def __init__(self, frame: float = FRAME, stuck: float = STUCK) -> None:
        self.frame = frame
        self.stuck = stuck
        self._lock = threading.Lock()
        self._panels: list[Drawable] = []
        self._stuck: list[Drawable] = []
        self._due: dict[int, float] = {}
        self._resting: dict[int, tuple[Drawable, Callable[[], object], object]] = {}
        self._awake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._drawing: tuple[Drawable, float] | None = None
        self._round = threading.Condition()
        self._begun = 0
        self._done = 0

    @property
    def panels(self) -> tuple[Drawable, ...]:
        """The panels that are drawn."""
        return tuple(self._panels)

    def add(self, panel: Drawable) -> None:
        """Draw ``panel`` from now on; without effect if it is drawn already."""
        with self._lock:
            self._resting.pop(id(panel), None)
            if not any(panel is other for other in (*self._panels, *self._stuck)):
                self._panels.append(panel)
            if self._thread is None:
                self._start()
        self.wake()

    def remove(self, panel: Drawable) -> None:
        """Draw ``panel`` no more; without effect if it is not drawn."""
        with self._lock:
            self._panels = [other for other in self._panels if other is not panel]
            self._stuck = [other for other in self._stuck if other is not panel]
            self._due.pop(id(panel), None)
            self._resting.pop(id(panel), None)

    def rest(self, panel: Drawable, moment: Callable[[], object], seen: object) -> None:
        """Draw ``panel`` again only once ``moment()`` is no longer what was ``seen``.

        For what has ended. Asked at each waking; called from the panel's own `draw`.
        """
        with self._lock:
            self._panels = [other for other in self._panels if other is not panel]
            self._resting[id(panel)] = (panel, moment, seen)

    def wake(self) -> None:
        """Say that something changed. Any thread; never blocks, never raises."""
        drawing = self._drawing
        if drawing is not None and time.monotonic() - drawing[1] > self.stuck:
            self._replace(drawing)
        if not self._awake.is_set():
            self._awake.set()

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that changed before this call is drawn; False after ``timeout``
        seconds. Not for the writer's own thread."""
        if self._thread is None:
            return True
        with self._round:
            # A round in progress may have passed a panel by, so it does not count.
            wanted = self._begun + 1
            self.wake()
            return self._round.wait_for(lambda: self._done >= wanted, timeout)

    def close(self, timeout: float = 1.0) -> None:
        """Stop drawing, for good, and wait so many seconds for the thread's end."""
        self._closed.set()
        self._awake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _start(self) -> None:
        # A daemon, because a frame in progress must not hold up the kernel's shutdown.
        self._thread = threading.Thread(target=self._run, name="nbtrain-ui", daemon=True)
        self._thread.start()

    def _replace(self, stuck: tuple[Drawable, float]) -> None:
        """Leave the stuck thread to itself and go on with a new one."""
        with self._lock:
            if self._drawing is not stuck or self._closed.is_set():
                return
            self._drawing = None
            self._panels = [other for other in self._panels if other is not stuck[0]]
            self._stuck.append(stuck[0])
            self._due.pop(id(stuck[0]), None)
            self._start()
        with self._round:
            self._done = self._begun
        _log.warning("a panel took over %g s for a frame; others go on without it", self.stuck)

    def _run(self) -> None:
        me = threading.current_thread()
        while not self._closed.is_set():
            with self._lock:
                due = min(self._due.values(), default=None)
            self._awake.wait(None if due is None else max(due - time.monotonic(), 0.0))
            if self._closed.is_set() or self._thread is not me:
                return
            begin = time.monotonic()
            with self._round:
                self._begun += 1
            self._awake.clear()
            self._rouse()
            for panel in self.panels:
                self._draw(panel)
                if self._thread is not me:
                    return
            with self._round:
                self._done = self._begun
                self._round.notify_all()
            # What changes meanwhile is drawn together. After a slow round (a first figure, a
            # picture) the trainers get at least as much time as it took.
            end = time.monotonic()
            self._closed.wait(max(self.frame - (end - begin), min(end - begin, 0.3)))

    def _rouse(self) -> None:
        """Draw those again for whom something changed while they rested."""
        with self._lock:
            for key, (panel, moment, seen) in list(self._resting.items()):
                if moment() != seen:
                    del self._resting[key]
                    self._panels.append(panel)

    def _draw(self, panel: Drawable) -> None:
        now = time.monotonic()
        mark = (panel, now)
        self._drawing = mark
        try:
            due = panel.draw(now)
        # Whatever a comm, a front end or a chart raises: the others are drawn all the same.
        except Exception:  # noqa: BLE001
            _log.exception("a panel could not be drawn and stands still")
            self.remove(panel)
            due = None
        with self._lock:
            if self._drawing is mark:
                self._drawing = None
            elif any(panel is other for other in self._stuck):  # its frame ended after all
                self._stuck = [other for other in self._stuck if other is not panel]
                if id(panel) not in self._resting:
                    self._panels.append(panel)
            if due is not None and panel in self._panels:
                self._due[id(panel)] = due
            else:
                self._due.pop(id(panel), None)
        if self._thread is not threading.current_thread():
            self._awake.set()  # the thread that took over has to look


writer: Final = Writer()
"""The writer of this kernel."""

painter: Final = Writer(stuck=120.0)
"""Draws what takes longer than a frame may: the pictures for the saved notebook."""


def wake() -> None:
    """Say that something changed. Any thread; never blocks, never raises."""
    writer.wake()
    painter.wake()


def flush(timeout: float = 10.0) -> bool:
    """Wait until all that changed before this call is drawn; False after ``timeout``."""
    return writer.flush(timeout) and painter.flush(timeout)
