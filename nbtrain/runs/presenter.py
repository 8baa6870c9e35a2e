"""How a run reaches whoever shows it: one registered presenter, never an import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from nbtrain.runs.run import Run
    from nbtrain.store.history import History


class Presenter(Protocol):
    """Shows runs: as a panel in a notebook, as a progress bar in a terminal."""

    @property
    def waits(self) -> bool:
        """Whether `nbtrain.train` returns only at the run's end, because nobody watches."""
        ...

    @property
    def acts(self) -> bool:
        """Whether who watches can steer a run also while a cell waits for it."""
        ...

    def show(self, run: Run) -> None:
        """Begin to show ``run``. Returns at once."""
        ...

    def show_past(self, history: History) -> None:
        """Show a run that only the store knows, and that takes no commands."""
        ...

    def panel(self, run: Run) -> Any:
        """What shows ``run``, as an object to display again."""
        ...

    def wait(self, run: Run) -> None:
        """Return when ``run`` has ended, and show it until then. Raises as `Run.wait`."""
        ...


class Silent:
    """Shows nothing."""

    waits = True
    acts = False

    def show(self, run: Run) -> None:
        return None

    def show_past(self, history: History) -> None:
        return None

    def panel(self, run: Run) -> Any:
        return None

    def wait(self, run: Run) -> None:
        run.wait()


_current: Presenter = Silent()


def register(presenter: Presenter | None) -> None:
    """Let ``presenter`` show every run from here on; None shows none."""
    global _current
    _current = presenter or Silent()


def current() -> Presenter:
    """The presenter that shows runs."""
    return _current
