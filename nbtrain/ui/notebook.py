"""The panels of this kernel's runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.interactiveshell import InteractiveShell

from nbtrain import messages as m
from nbtrain.runs import registry
from nbtrain.ui import writer
from nbtrain.ui.fallback import PlainPanel, needed
from nbtrain.ui.panel import Panel

if TYPE_CHECKING:
    from nbtrain.runs.run import Run

_panels: dict[str, Panel | PlainPanel] = {}


def show(run: Run) -> None:
    """Display the panel of ``run`` under the cell."""
    panel(run).show()


def panel(run: Run) -> Panel | PlainPanel:
    """The panel of ``run``, made when it is asked for first."""
    found = _panels.get(run.id)
    if found is None:
        if not _panels:
            registry.subscribe(writer.wake)
        kind = PlainPanel if needed(InteractiveShell.instance().user_ns) else Panel
        found = _panels[run.id] = kind(run.history, run.send, route=_route)
    return found


def _route(run: str, command: m.Command) -> None:
    """Take a command to another run of this kernel, for buttons that act on one."""
    registry.get(run).send(command)
