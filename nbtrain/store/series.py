"""Numbers that grow at one end while others read them.

One thread extends; any thread reads at any moment, without a lock. What a reader was given
never changes afterwards: new numbers lie behind it, or in a new array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

MAX_NAMES: Final = 1000
"""Most series in one table; every step of a run holds a value of each."""


class Column:
    """One array that grows by doubling."""

    __slots__ = ("_buffer", "values")

    def __init__(self, dtype: Any) -> None:
        self._buffer: Array = np.empty(16, dtype)
        self.values: Array = self._readable(0)

    def extend(self, values: Array) -> None:
        """Add ``values`` at the end, in a type that holds the old and the new exactly."""
        start, end = len(self.values), len(self.values) + len(values)
        dtype = np.promote_types(self._buffer.dtype, values.dtype)
        if end > len(self._buffer) or dtype != self._buffer.dtype:
            grown = np.empty(max(end, 2 * len(self._buffer)), dtype)
            grown[:start] = self.values
            self._buffer = grown
        self._buffer[start:end] = values
        self.values = self._readable(end)

    def cut(self, length: int) -> None:
        """Leave out all after ``length`` values; arrays handed out before keep theirs."""
        self._buffer = self._buffer[:length].copy()
        self.values = self._readable(length)

    def _readable(self, length: int) -> Array:
        view = self._buffer[:length]
        view.flags.writeable = False
        return view


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a `Table` at one moment: arrays of one length, in the order of steps."""

    steps: Array
    samples: Array
    series: Mapping[str, Array]


_EMPTY: Final = Rows(np.empty(0, np.int64), np.empty(0, np.int64), MappingProxyType[str, Array]({}))


class Table:
    """Series over the same steps; a value that was not measured at a step is NaN there."""

    __slots__ = ("_columns", "_samples", "_steps", "rows")

    def __init__(self) -> None:
        self._steps = Column(np.int64)
        self._samples = Column(np.int64)
        self._columns: dict[str, Column] = {}
        self.rows: Rows = _EMPTY

    def room_for(self, names: Mapping[str, object]) -> bool:
        """Whether the table can hold the series ``names`` beside those it has."""
        return len(self._columns.keys() | names.keys()) <= MAX_NAMES

    def extend(self, steps: Array, samples: Array, series: Mapping[str, Array]) -> None:
        """Add rows at the end. All arrays have one length."""
        before = len(self._steps.values)
        self._steps.extend(steps)
        self._samples.extend(samples)
        for name, values in series.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = Column(values.dtype)
                column.extend(np.full(before, np.nan, values.dtype))
            column.extend(values)
        for name in self._columns.keys() - series.keys():
            self._columns[name].extend(np.full(len(steps), np.nan, np.float32))
        self._publish()

    def cut_after(self, step: int) -> None:
        """Leave out the rows of steps after ``step``."""
        length = int(np.searchsorted(self._steps.values, step, "right"))
        if length < len(self._steps.values):
            for column in (self._steps, self._samples, *self._columns.values()):
                column.cut(length)
            self._publish()

    def _publish(self) -> None:
        # One assignment, so that a reader never sees one series longer than another.
        self.rows = Rows(
            self._steps.values,
            self._samples.values,
            MappingProxyType({name: column.values for name, column in self._columns.items()}),
        )
