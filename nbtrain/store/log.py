"""The user's own output, its last lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nbtrain import messages as m

MAX_LINES: Final = 2000
MAX_CHARACTERS: Final = 256 * 2**10
_MAX_WIDTH: Final = 8 * 2**10
_SHOWN_LINES: Final = 40


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that the user's code wrote, and where to."""

    stream: str
    text: str

    def __str__(self) -> str:
        return self.text


class LogLines:
    """The last lines of a run's log: at most 2,000, and 256 KB.

    Lines count from 0; iterating gives those kept, oldest first. One thread writes; any
    thread reads.
    """

    def __init__(self) -> None:
        # The number of the first line kept and the lines, replaced together when trimmed.
        self._kept: tuple[int, list[LogLine]] = (0, [])
        self._size = 0

    def __iter__(self) -> Iterator[LogLine]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __repr__(self) -> str:
        total = self.total
        if not total:
            return "Nothing was printed."
        shown = [line.text for line in self.after(max(0, total - _SHOWN_LINES))]
        earlier = total - len(shown)
        head = [f"… {earlier:,} earlier lines"] if earlier else []
        return "\n".join([*head, *shown])

    @property
    def total(self) -> int:
        """Lines written in all."""
        first, lines = self._kept
        return first + len(lines)

    @property
    def lines(self) -> tuple[LogLine, ...]:
        """The lines kept, oldest first."""
        return self.after(0)

    @property
    def text(self) -> str:
        """The lines kept, as text."""
        return "\n".join(line.text for line in self.lines)

    def after(self, number: int) -> tuple[LogLine, ...]:
        """The lines kept from line ``number`` on. The last line may yet be replaced."""
        first, lines = self._kept
        last = MAX_LINES if number <= first else first + len(lines) - number
        return tuple(lines[-min(last, MAX_LINES) :]) if last > 0 else ()

    def add(self, event: m.Logged) -> None:
        """Add the lines of ``event``, or put its text in the place of the last line."""
        texts = event.text.removesuffix("\n").split("\n")
        _, lines = self._kept
        for index, text in enumerate(texts):
            shown = text if len(text) <= _MAX_WIDTH else text[: _MAX_WIDTH - 1] + "…"
            line = LogLine(event.stream, shown)
            self._size += len(shown) + 1
            if event.replace and index == 0 and lines:
                self._size -= len(lines[-1].text) + 1
                lines[-1] = line
            else:
                lines.append(line)
        # Trimming seldom and by much keeps the cost of a line small.
        if len(lines) > 2 * MAX_LINES or self._size > MAX_CHARACTERS:
            self._trim(MAX_LINES, MAX_CHARACTERS // 2)

    def _trim(self, count: int, characters: int) -> None:
        first, lines = self._kept
        keep = size = 0
        for line in reversed(lines[-count:]):
            if size + len(line.text) >= characters and keep:
                break
            keep, size = keep + 1, size + len(line.text) + 1
        self._kept, self._size = (first + len(lines) - keep, lines[-keep:]), size
