"""What every panel of a run is: drawn from a history by a writer, steered through ``send``."""

from __future__ import annotations

import contextvars
from abc import ABC, abstractmethod
from collections.abc import Callable

from nbtrain import messages as m
from nbtrain.errors import UsageError
from nbtrain.store.history import History
from nbtrain.ui.feed import Feed
from nbtrain.ui.writer import Writer


class ShownRun(ABC):
    """One run in the notebook.

    Made and shown on the main thread; from then on the writer's thread alone sends.

    Args:
        history: the run's history.
        send: takes a command to the run. Never blocks; raises `UsageError` for what can be
            refused at once.
        live: whether a run takes commands.
        route: takes a command to another run by its id, for buttons that act on one.
        writer: draws the panel; by default the kernel's.
    """

    def __init__(
        self,
        history: History,
        send: Callable[[m.Command], object],
        *,
        live: bool = True,
        route: Callable[[str, m.Command], object] | None = None,
        writer: Writer | None = None,
    ) -> None:
        self.history = history
        self.feed = Feed(history, live=live)
        self._send, self._route = send, route
        # The cell that made the panel is the one that its messages belong to.
        self._context = contextvars.copy_context()
        self._make(live, writer)

    @abstractmethod
    def _make(self, live: bool, writer: Writer | None) -> None:
        """Make the widgets and begin to be drawn, by ``writer`` where one is given."""

    def draw(self, now: float) -> float | None:
        """Show what changed. See `writer.Drawable`."""
        return self._context.run(self._draw, now)

    @abstractmethod
    def _draw(self, now: float) -> float | None: ...

    def _steer(self, run: str | None, command: m.Command) -> None:
        """Take ``command`` to this run, or to the one whose id ``run`` is.

        Raises `UsageError` for what can be refused at once.
        """
        if run in (None, "", self.history.id):
            self._send(command)
        elif self._route is not None and isinstance(run, str):
            self._route(run, command)
        else:
            raise UsageError("This button's run is gone. Run its cell again.")
