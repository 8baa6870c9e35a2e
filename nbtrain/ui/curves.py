"""A curve of any length as at most a thousand points, kept up to date as values arrive.

Values fall into buckets of equal size, and each bucket keeps its lowest, highest and mean
value. When the buckets are full they are merged in pairs, so the cost of an update depends
on how much is new and never on how long the run has been.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

POINTS = 1000
"""Most points of one curve on the wire and in the browser."""

Array: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Block:
    """The points of a curve from ``start`` on; what was drawn from there on is replaced.

    ``step`` is the last step of each point. ``over`` and ``under`` say where values beyond all
    bounds were left out, above and below; not a number is both.
    """

    start: int
    x: Array
    step: Array
    low: Array
    high: Array
    mean: Array
    over: Flags
    under: Flags

    @property
    def count(self) -> int:
        """The number of points."""
        return len(self.x)

    def pack(self) -> bytes:
        """Little-endian float32, ``count`` each of x, step, low, high, mean.

        High is infinite where values were left out above, low where they were below.
        """
        low = np.where(self.under, -np.inf, self.low)
        high = np.where(self.over, np.inf, self.high)
        return np.concatenate((self.x, self.step, low, high, self.mean)).astype("<f4").tobytes()


class Curve:
    """The lowest, highest and mean value of each bucket of a growing series.

    A bucket's x is the mean x of its values. Values that are not finite, or too large for
    the wire's float32, are left out of their bucket, which remembers that there were some; a
    bucket with no other is a gap (NaN).

    Args:
        points: most points.
        gaps: whether NaN stands for what was not measured rather than for a value.
    """

    def __init__(self, points: int = POINTS, *, gaps: bool = False) -> None:
        if points < 2 or points % 2:
            raise ValueError("points must be even and at least 2, because buckets merge in pairs")
        self.seen = 0
        self.size = 1
        self._points = points
        self._gaps = gaps
        self._dirty = 0
        # Rows of a bucket: number of values, sum of x, number of finite values, their sum,
        # the lowest, the highest, the last step, the numbers of values above and below all
        # bounds.
        self._rows = np.empty((9, points))

    @property
    def count(self) -> int:
        """The number of points now."""
        return -(-self.seen // self.size)

    @property
    def changed(self) -> bool:
        """Whether `changes` would give a block."""
        return self._dirty < self.count

    def extend(self, x: npt.ArrayLike, y: npt.ArrayLike, steps: npt.ArrayLike) -> None:
        """Append values ``y`` at ``x`` and ``steps``, three vectors of equal length."""
        xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        last = np.asarray(steps)
        if not len(ys):
            return
        while -(-(self.seen + len(ys)) // self.size) > self._points:
            self._merge()
        first = self.seen // self.size
        offset = self.seen - first * self.size
        starts = np.arange(-offset, len(ys), self.size)
        starts[0] = 0
        finite = np.abs(ys) <= _LARGEST
        filled = np.where(finite, ys, 0.0)
        ends = np.append(starts[1:], len(ys))
        over = under = np.zeros(len(starts))
        if not finite.all():
            wrong = np.isnan(ys) & (not self._gaps)
            over = np.add.reduceat(((ys > _LARGEST) | wrong).astype(np.float64), starts)
            under = np.add.reduceat(((ys < -_LARGEST) | wrong).astype(np.float64), starts)
        fresh = np.stack(
            (
                (ends - starts).astype(np.float64),
                np.add.reduceat(xs, starts),
                np.add.reduceat(finite.astype(np.float64), starts),
                np.add.reduceat(filled, starts),
                np.minimum.reduceat(np.where(finite, ys, np.inf), starts),
                np.maximum.reduceat(np.where(finite, ys, -np.inf), starts),
                last[ends - 1],
                over,
                under,
            )
        )
        if offset:
            fresh[:, :1] = _joined(self._rows[:, first : first + 1], fresh[:, :1])
        self._rows[:, first : first + fresh.shape[1]] = fresh
        self.seen += len(ys)
        self._dirty = min(self._dirty, first)

    def whole(self) -> Block:
        """Every point."""
        return self._block(0)

    def changes(self) -> Block | None:
        """The points that changed since the last call, or None."""
        if not self.changed:
            return None
        block = self._block(self._dirty)
        self._dirty = self.count
        return block

    def _block(self, start: int) -> Block:
        values, x, finite, total, low, high, step, over, under = self._rows[:, start : self.count]
        gap = finite == 0
        with np.errstate(invalid="ignore", divide="ignore"):
            return Block(
                start=start,
                x=x / values,
                step=step.copy(),
                low=np.where(gap, np.nan, low),
                high=np.where(gap, np.nan, high),
                mean=total / finite,
                over=over > 0,
                under=under > 0,
            )

    def _merge(self) -> None:
        count = self.count
        even = count - count % 2
        rows = self._rows
        rows[:, : even // 2] = _joined(rows[:, 0:even:2], rows[:, 1:even:2])
        if count > even:
            rows[:, even // 2] = rows[:, even]
        self.size *= 2
        self._dirty = 0


def _joined(left: Array, right: Array) -> Array:
    """The rows of buckets that hold the values of ``left`` and of ``right``."""
    rows = left + right
    rows[4] = np.minimum(left[4], right[4])
    rows[5:7] = np.maximum(left[5:7], right[5:7])
    return rows
