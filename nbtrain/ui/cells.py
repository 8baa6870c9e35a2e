"""The earlier cells of this session, from which a run's cell may have its names."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nbtrain import spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

LIMIT = 1_000
"""Cells that are remembered."""

_TRANSPARENT = ("%%train", "%%time", "%%capture")


@dataclass(frozen=True)
class Cell:
    """A cell that ran: its text without a magic that runs it in the user's namespace."""

    text: str
    transform: Callable[[str], str]

    @classmethod
    def of(cls, raw: str, transform: Callable[[str], str]) -> Cell:
        """The cell whose whole text is ``raw``."""
        stripped = raw.lstrip()
        while stripped.split(maxsplit=1)[:1] and stripped.split(maxsplit=1)[0] in _TRANSPARENT:
            raw = stripped.partition("\n")[2]
            stripped = raw.lstrip()
        return cls(raw, transform)

    @cached_property
    def code(self) -> str:
        """The cell as Python, its magics and ``!`` lines turned into calls."""
        try:
            return self.transform(self.text)
        except SyntaxError:
            return self.text


class Cells:
    """Remembers the cells that ran without an error, oldest first."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._cells: deque[Cell] = deque(maxlen=LIMIT)
        # The cell that loads us is the last one here, and is told apart when it ends.
        history = shell.history_manager
        for raw in list(history.input_hist_raw)[1:-1] if history is not None else []:
            self._add(raw)

    def attach(self) -> None:
        """Begin to listen."""
        self._shell.events.register("post_run_cell", self._ran)

    def detach(self) -> None:
        """Cease to listen."""
        self._shell.events.unregister("post_run_cell", self._ran)

    def python(self, text: str) -> str:
        """``text`` as Python, or as it is where it cannot be read."""
        return Cell.of(text, self._transform).code

    def context(self, body: str) -> tuple[str, ...]:
        """The texts of the cells that bound the names ``body`` reads, oldest first."""
        texts = {cell.code: cell.text for cell in self._cells}
        codes = [cell.code for cell in self._cells]
        return tuple(texts[code] for code in spec.context(self.python(body), codes))

    def _transform(self, text: str) -> str:
        code: str = self._shell.input_transformer_manager.transform_cell(text)
        return code

    def _add(self, raw: str) -> None:
        cell = Cell.of(raw, self._transform)
        if cell.text.strip():
            self._cells.append(cell)

    def _ran(self, result: Any) -> None:
        # None where the cell was cancelled before it ran.
        if result is not None and result.success and result.info.store_history:
            self._add(result.info.raw_cell)
