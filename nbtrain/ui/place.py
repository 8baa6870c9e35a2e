"""Where a run stands in the notebook: one output that is given a fresh picture at times."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from typing import Any, Final

from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from nbtrain.messages import new_id
from nbtrain.store.history import History

FIRST_PICTURE: Final = 10.0
PICTURE_EVERY: Final = 30.0
"""Seconds between two pictures in the notebook while the run is live."""
PAUSED_PICTURE_EVERY: Final = 2.0


class Place:
    """One output of a run: published once, then updated when it rests and now and then.

    Made on the thread that runs the cell; `draw` is the writer's.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._id = new_id()
        # Both kept: the output belongs to the cell that showed it, whatever cell runs later
        # and whether that captures its own output.
        self._context = contextvars.copy_context()
        self._publisher: DisplayPublisher = InteractiveShell.instance().display_pub
        self._drawn = time.monotonic() + FIRST_PICTURE - PICTURE_EVERY
        self._version = history.version
        self._final = False

    def publish(self, bundle: dict[str, Any], *, update: bool) -> None:
        """Put ``bundle`` under the cell that runs, or in the place of the one before."""
        self._context.run(
            self._publisher.publish, bundle, transient={"display_id": self._id}, update=update
        )

    def draw(self, now: float, make: Callable[[], dict[str, Any]]) -> float | None:
        """Publish what ``make`` gives if it is time; returns when it will be, or None."""
        due, version = self._due(), self.history.version
        if due is None or now < due:
            return due
        self._drawn, self._version = now, version
        self._final = self.history.state == "finished"
        self.publish(make(), update=True)
        return None

    def _due(self) -> float | None:
        state = self.history.state
        if state != "finished":
            self._final = False
        if state == "finished" and not self._final:
            return self._drawn  # also of a run that had ended before it was shown here
        if self.history.version == self._version:
            return None
        return self._drawn + (PAUSED_PICTURE_EVERY if state == "paused" else PICTURE_EVERY)
