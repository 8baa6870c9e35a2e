"""The journal: a run's events, appended, never rewritten.

Blocks of metrics are merged for up to a second; everything else reaches the operating
system before `append` returns, so a command is on its way to the disk before the step it
affects. A disk that is full, read-only or gone never stops the training: what could not be
written waits in memory, and is written when the disk is back.
"""

from __future__ import annotations

import errno
import io
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nbtrain import messages as m
from nbtrain.store import lines
from nbtrain.store.reading import Reading, events_in, read, reason

MERGE_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 2.0
MAX_WAITING: Final = 64 * 2**20
"""Most bytes of unwritten lines kept in memory; beyond them the oldest metrics go."""
_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""What a disk says that is full, and a user's share of one."""

_MAX_MERGED: Final = 250_000  # numbers in a block: a third of lines.MAX_LINE at the most


class Journal(ABC):
    """Where a run's events go.

    Any thread may call; none is ever told by an exception what the disk does.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._merged: _Block | None = None
        self._too_long: str | None = None

    @property
    def error(self) -> str | None:
        """Why not all that happened is on the disk; None while it is."""
        return self._too_long

    @abstractmethod
    def read(self) -> Reading:
        """Everything appended so far."""

    def append(self, event: m.Event) -> None:
        """Add ``event`` at the end.

        A block of metrics may wait for the next call, up to a second and as long as that is
        late; anything else is handed to the operating system before this returns.
        """
        with self._lock:
            now = self._clock()
            if not isinstance(event, m.Stepped):
                self._put_merged()
                self._put(lines.shorten(event))
                return
            if self._merged is None or not self._merged.takes(event):
                self._put_merged()
                self._merged = _Block(event, now)
            else:
                self._merged.add(event)
            if now - self._merged.since >= MERGE_SECONDS or self._merged.numbers >= _MAX_MERGED:
                self._put_merged()

    def flush(self) -> None:
        """Write what waits. Call every second or so where no event may come for long."""
        with self._lock:
            self._put_merged()

    def close(self) -> None:
        """Write what waits and let go of the disk."""
        self.flush()

    def _put_merged(self) -> None:
        if self._merged is not None:
            event, self._merged = self._merged.event(), None
            self._put(event)

    def _put(self, event: m.Event) -> None:
        line = lines.encode(event)
        if len(line) > lines.MAX_LINE:
            said = f"A {type(event).__name__} of {len(line):,} bytes is too long to store"
            cut = lines.encode_cut(event)
            if cut is None:
                self._too_long = f"{said}: it was left out."
                return
            line, self._too_long = cut, f"{said}: its longest texts were cut."
        self._put_line(line, isinstance(event, (m.Stepped, m.Logged)))

    @abstractmethod
    def _put_line(self, line: bytes, may_drop: bool) -> None: ...


class MemoryJournal(Journal):
    """A journal in memory, for a run whose folder cannot be written, and for tests."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock=clock)
        self._lines = _Waiting()

    def read(self) -> Reading:
        self.flush()
        report = Reading()
        with self._lock:
            stored = b"".join(self._lines.all())
        report.events.extend(events_in(io.BytesIO(stored), report))
        return report

    def _put_line(self, line: bytes, may_drop: bool) -> None:
        self._lines.add(line, may_drop)


class FileJournal(Journal):
    """A journal in the file at ``path``, which only this process appends to.

    An unfinished last line that an earlier process left is cut off.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(clock=clock)
        self.path = Path(path)
        self._waiting = _Waiting()
        self._descriptor: int | None = None
        self._made = False
        self._linked = False
        self._before = b""
        self._error: str | None = None
        self._retry_at = 0.0
        self._write_waiting()

    @property
    def error(self) -> str | None:
        return self._error or self._too_long

    def read(self) -> Reading:
        self.flush()
        report = read(self.path)
        with self._lock:
            stored = b"".join(self._waiting.all())
        report.events.extend(events_in(io.BytesIO(stored), report))
        return report

    def flush(self) -> None:
        super().flush()
        with self._lock:
            if self._waiting or self._error is not None:
                self._write_waiting()

    def close(self) -> None:
        super().close()
        with self._lock:
            self._close()

    def _put_line(self, line: bytes, may_drop: bool) -> None:
        self._waiting.add(line, may_drop)
        if self._error is None or self._clock() >= self._retry_at:
            self._write_waiting()

    def _write_waiting(self) -> None:
        try:
            descriptor = self._open()
            while self._waiting:
                self._write(descriptor, self._before + self._waiting.first())
                self._before = b""
                self._waiting.drop_first()
        except OSError as error:
            self._error = self._told(error)
            self._retry_at = self._clock() + RETRY_SECONDS
            # Opening it again finds out whether it is still there, and where it really ends.
            self._close()
        else:
            self._error = None

    def _open(self) -> int:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
            # A file that was there and is gone was deleted: one with only the rest of the
            # run in it would be no journal.
            descriptor = os.open(self.path, flags if self._made else flags | os.O_CREAT, 0o666)
            self._descriptor, self._made = descriptor, True
            self._linked = os.fstat(descriptor).st_nlink > 0
            self._before = _end_last_line(descriptor)
        # A deleted file can still be written to, and nobody will ever read it. Some network
        # file systems count no links at all.
        elif self._linked and os.fstat(self._descriptor).st_nlink == 0:
            raise FileNotFoundError(None, "it was deleted")
        return self._descriptor

    def _write(self, descriptor: int, line: bytes) -> None:
        # A disk that fills up takes the beginning of a line and refuses the rest.
        left = memoryview(line)
        while left:
            left = left[os.write(descriptor, left) :]

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                os.close(descriptor)
            except OSError as error:  # a network disk tells of a failed write when closed
                self._error = self._told(error)

    def _told(self, error: OSError) -> str:
        text = f"{self.path} cannot be written ({reason(error)}): the run lives in memory."
        if error.errno in _FULL:
            text += " Free some space there, and what waits is written."
        return text


def _end_last_line(descriptor: int) -> bytes:
    """Cut an unfinished last line off; what to write before the next line if that fails."""
    size = end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 2**16)
        os.lseek(descriptor, start, os.SEEK_SET)
        found = os.read(descriptor, end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end == size:
        return b""
    try:
        os.ftruncate(descriptor, end)
    except OSError:
        return b"\n"
    return b""


class _Waiting:
    """Lines not yet written, at most `MAX_WAITING` bytes of them."""

    def __init__(self) -> None:
        self._lines: OrderedDict[int, bytes] = OrderedDict()
        self._metrics: OrderedDict[int, None] = OrderedDict()
        self._size = 0
        self._count = 0

    def __len__(self) -> int:
        return len(self._lines)

    def all(self) -> list[bytes]:
        return list(self._lines.values())

    def first(self) -> bytes:
        return next(iter(self._lines.values()))

    def drop_first(self) -> None:
        self._drop(next(iter(self._lines)))

    def add(self, line: bytes, may_drop: bool) -> None:
        """Keep ``line``; lines that ``may_drop`` are the first to go when there are too many."""
        self._count += 1
        self._lines[self._count] = line
        if may_drop:
            self._metrics[self._count] = None
        self._size += len(line)
        while self._size > MAX_WAITING and len(self._lines) > 1:
            self._drop(next(iter(self._metrics or self._lines)))

    def _drop(self, key: int) -> None:
        self._size -= len(self._lines.pop(key))
        self._metrics.pop(key, None)


class _Block:
    """Blocks of metrics that follow one another, as one."""

    def __init__(self, first: m.Stepped, since: float) -> None:
        self.since = since
        self._first = self._last = first
        self._samples: m.Integers = first.samples
        self._series: dict[str, m.Numbers] = first.series
        self._gauges = first.gauges

    @property
    def numbers(self) -> int:
        return len(self._samples) * (1 + len(self._series))

    def takes(self, event: m.Stepped) -> bool:
        """Whether ``event`` goes on where this block ends, in the same epoch, so that the
        merged block says no less than the two."""
        last = self._last
        return (
            event.step - event.count == last.step
            and (event.run, event.branch, event.member) == (last.run, last.branch, last.member)
            and event.epoch == last.epoch
            and event.series.keys() == self._series.keys()
            and all(_alike(values, self._series[name]) for name, values in event.series.items())
        )

    def add(self, event: m.Stepped) -> None:
        if self._last is self._first:
            # The first event's own arrays are others' too.
            self._samples = self._samples[:]
            self._series = {name: values[:] for name, values in self._series.items()}
        self._samples.extend(event.samples)
        for name, values in event.series.items():
            self._series[name].extend(values)
        self._gauges = {**self._gauges, **event.gauges}
        self._last = event

    def event(self) -> m.Stepped:
        first, last = self._first, self._last
        if last is first:
            return first
        return m.Stepped(
            run=last.run,
            branch=last.branch,
            step=last.step,
            member=last.member,
            time=last.time,
            count=last.step - first.step + first.count,
            samples=self._samples,
            series=self._series,
            updates=last.updates,
            epoch=last.epoch,
            seconds=(first.seconds[0], last.seconds[1]),
            total_steps=last.total_steps,
            gauges=self._gauges,
        )


def _alike(one: m.Numbers, other: m.Numbers) -> bool:
    return one.typecode == other.typecode
