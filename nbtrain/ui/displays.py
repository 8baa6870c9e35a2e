"""What a run displays goes to its log as text, like what it prints.

`IPython.display.display` on the trainer thread would appear under whichever cell ran last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core import display_functions

from nbtrain.runs import output

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell


class Displays:
    """Stands between ``display`` and the notebook for whoever trains."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._publisher: Any = shell.display_pub
        self._publish: Callable[..., Any] = display_functions.publish_display_data
        self._clear: Callable[..., Any] = self._publisher.clear_output

    def attach(self) -> None:
        """Begin to look at what is displayed."""
        display_functions.publish_display_data = self._route
        self._publisher.clear_output = self._route_clear

    def detach(self) -> None:
        """Put back what was there; what someone else has put there since stays."""
        if display_functions.publish_display_data == self._route:
            display_functions.publish_display_data = self._publish
        if self._publisher.clear_output == self._route_clear:
            del self._publisher.clear_output

    def _route(self, *args: Any, **kwargs: Any) -> Any:
        run = output.current()
        if run is None:
            return self._publish(*args, **kwargs)
        data = kwargs["data"] if "data" in kwargs else args[0]
        run.lines("stdout", str(data.get("text/plain", "")))
        return None

    def _route_clear(self, *args: Any, **kwargs: Any) -> Any:
        # A log is not cleared: there is no cell of the run's own.
        return self._clear(*args, **kwargs) if output.current() is None else None
