"""Keeps the picture of a run fresh in the outputs that show it, for the saved notebook.

On a thread apart from the panel's frames: drawing one takes a tenth of a second, and the
first one seconds while a cell keeps the interpreter busy.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from nbtrain.store.history import History
from nbtrain.ui import picture
from nbtrain.ui.feed import Feed
from nbtrain.ui.place import Place
from nbtrain.ui.writer import Writer

MOST_PLACES: Final = 4
"""Outputs of one run that get fresh pictures: those shown last."""

_log = logging.getLogger("nbtrain.ui")


class Pictures:
    """The outputs of one run, each with a picture that is renewed now and then.

    Args:
        history: the run's history.
        model: the id of the widget that the outputs show while there is a kernel.
        live: whether the run takes commands.
        writer: calls `draw`.
    """

    def __init__(self, history: History, model: str, writer: Writer, *, live: bool = True) -> None:
        self.history = history
        self._writer = writer
        self._model = model
        # Its own, because another thread reads the panel's.
        self._feed = Feed(history, live=live)
        self._places: tuple[Place, ...] = ()

    def show(self) -> None:
        """Publish the run under the cell that runs."""
        place = Place(self.history)
        place.publish(self.bundle(), update=False)
        self._places = (*self._places, place)[-MOST_PLACES:]

    def bundle(self, drawn: bytes | None = None) -> dict[str, Any]:
        """The run in every form that a front end may know, with the picture ``drawn``."""
        return picture.bundle(self.history, self._model, drawn)

    def draw(self, now: float) -> float | None:
        """Renew what is due. See `writer.Drawable`."""
        ended, seen = self.history.state == "finished", self._moment()
        due = [place.draw(now, self._renewed) for place in self._places]
        if ended and not any(due):
            self._writer.rest(self, self._moment, seen)
        return min((at for at in due if at is not None), default=None)

    def _moment(self) -> object:
        return self.history.version, self._places

    def _renewed(self) -> dict[str, Any]:
        feed, drawn = self._feed, None
        feed.read()
        if feed.curves:
            try:
                drawn = picture.png(self.history, feed.charts, feed.curves)
            # Matplotlib follows the user's own settings and fonts, so it may raise anything
            # (TeX that is not installed); the live panel and the table need no picture.
            except Exception:  # noqa: BLE001
                _log.warning("the picture of %s cannot be drawn", self.history.name, exc_info=True)
        return self.bundle(drawn)
