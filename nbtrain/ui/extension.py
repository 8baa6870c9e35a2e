"""``%load_ext nbtrain``: what is added to a shell, and how it is taken back.

Loading imports neither PyTorch nor Bokeh: whoever does not train pays nothing.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from nbtrain.runs import presenter
from nbtrain.store import place
from nbtrain.ui import progress
from nbtrain.ui.bridge import Bridge
from nbtrain.ui.cells import Cells
from nbtrain.ui.completion import complete
from nbtrain.ui.displays import Displays
from nbtrain.ui.magics import TrainMagics
from nbtrain.ui.telling import say
from nbtrain.ui.waiting import waits_by_itself

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from nbtrain.runs.run import Run
    from nbtrain.store.history import History

_MAGICS = {"line": ("train", "runs"), "cell": ("train",)}
_ALONE = re.compile(r"\s*%%train(\s.*)?")


def load(shell: InteractiveShell) -> None:
    """Add the magics, their completion, the presenter and the bridge to ``shell``.

    Without effect if they are there already.
    """
    if not hasattr(shell, "_nbtrain"):
        # Kept on the shell, so that a reloaded module still finds what it has to take back.
        shell._nbtrain = Extension(shell)  # type: ignore[attr-defined]


def unload(shell: InteractiveShell) -> None:
    """Take everything back. Live runs go on."""
    extension = shell.__dict__.pop("_nbtrain", None)
    if extension is not None:
        extension.remove()


class Extension:
    """What nbtrain adds to one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        place.home()  # fixed from here on, whatever cells do to the working directory
        self._cells = Cells(shell)
        self._cells.attach()
        shell.Completer.custom_matchers.append(complete)
        shell.input_transformers_cleanup.append(with_a_body)
        kernel = getattr(shell, "kernel", None)
        self._displays = Displays(shell)
        self._displays.attach()
        self._bridge = Bridge(shell)
        self._bridge.attach()
        shell.register_magics(TrainMagics(shell, self._cells, self._bridge.look))
        presenter.register(_Terminal(shell) if kernel is None else _Notebook(shell))

    def remove(self) -> None:
        """Put everything back."""
        self._cells.detach()
        for kind, names in _MAGICS.items():
            for name in names:
                self._shell.magics_manager.magics[kind].pop(name, None)
        self._shell.Completer.custom_matchers.remove(complete)
        self._shell.input_transformers_cleanup.remove(with_a_body)
        self._displays.detach()
        self._bridge.detach()
        presenter.register(None)


def with_a_body(lines: list[str]) -> list[str]:
    """A cell that is ``%%train …`` alone gets an empty body, which IPython would refuse.

    Model and data may stand in earlier cells, and ``%%train --help`` needs neither.
    """
    if len(lines) == 1 and _ALONE.fullmatch(lines[0].rstrip("\n")):
        return [lines[0].rstrip("\n") + "\n", "\n"]
    return lines


class _Watched:
    """Waits for runs where nobody watches the shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    @property
    def waits(self) -> bool:
        return waits_by_itself(self._shell)


class _Notebook(_Watched):
    """Shows runs as panels; imports what draws them with the first one."""

    @property
    def acts(self) -> bool:
        return not self.waits

    def show(self, run: Run) -> None:
        from nbtrain.ui import notebook

        notebook.show(run)

    def show_past(self, history: History) -> None:
        from nbtrain.ui import notebook

        notebook.show_past(history)

    def panel(self, run: Run) -> Any:
        from nbtrain.ui import notebook

        return notebook.panel(run)

    def wait(self, run: Run) -> None:
        # Without a panel a few lines under the cell that waits tell of the run.
        told = run.spec.options["wait"] and not run.spec.options["panel"]
        if told:
            say(progress.inferred(run))
        try:
            run.wait()
        finally:
            # Let the panels draw the end, before whoever executes the cell goes on and away.
            writer: Any = sys.modules.get("nbtrain.ui.writer")
            if writer is not None:
                writer.flush()
        if told:
            say(progress.ending(run))


class _Terminal(_Watched):
    """Tells of runs in a terminal's IPython, whose prompt a moving bar would tear."""

    acts = False

    def show(self, run: Run) -> None:
        if not (run.live and run.spec.options["wait"]):  # the bar of the wait tells everything
            say(progress.beginning(run))

    def show_past(self, history: History) -> None:
        say(progress.ending_of(history))

    def panel(self, run: Run) -> progress.NoPanel:
        return progress.NoPanel(run)

    def wait(self, run: Run) -> None:
        progress.follow(run)
