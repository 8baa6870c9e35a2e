"""The panels of this kernel's runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from IPython.core.interactiveshell import InteractiveShell

from nbtrain import messages as m
from nbtrain.errors import UsageError
from nbtrain.runs import registry
from nbtrain.store.history import History
from nbtrain.ui import writer
from nbtrain.ui.fallback import PlainPanel, needed
from nbtrain.ui.panel import Panel

if TYPE_CHECKING:
    from nbtrain.runs.run import Run

_panels: dict[str, Panel | PlainPanel] = {}


def show(run: Run) -> None:
    """Display the panel of ``run`` under the cell."""
    panel(run).show()


def show_past(history: History) -> None:
    """Display a run that only the store knows; its panel takes no commands."""

    def refuse(command: m.Command) -> None:
        raise UsageError("This run is no longer in memory. Run its cell again to train anew.")

    made = _kind()(history, refuse, live=False, route=_route)
    _panels[history.id] = made
    made.show()


def _kind() -> type[Panel | PlainPanel]:
    return PlainPanel if needed(InteractiveShell.instance().user_ns) else Panel


def panel(run: Run) -> Panel | PlainPanel:
    """The panel of ``run``, made when it is asked for first."""
    found = _panels.get(run.id)
    if found is None:
        if not _panels:
            registry.subscribe(writer.wake)
        # By its id: a panel may outlive its run, whose model and data would live on with it.
        found = _panels[run.id] = _kind()(run.history, partial(_route, run.id), route=_route)
    return found


def _route(run: str, command: m.Command) -> None:
    """Take a command to the run of this id. Raises `UsageError` if it is gone."""
    found = registry.find(run)
    if found is None:
        raise UsageError("This run is no longer in memory. Run its cell again to train anew.")
    found.send(command)
