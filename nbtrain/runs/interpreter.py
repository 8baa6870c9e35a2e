"""Sharing the interpreter with the cells of the kernel.

A cell in pure Python slows a training thread to a tenth, because it gives the interpreter
up only every switch interval (5 ms). While that lasts, a shorter interval gives training
several times more turns, and costs the cell about a fifth of its speed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

SHORT = 1e-5
"""Seconds between two turns while a cell keeps the interpreter busy."""

_lock = threading.Lock()
_wanted = 0
_before = 0.005


class Contention:
    """Notices that a cell keeps the interpreter busy, and shortens the interval.

    `look` is called about ten times a second on the training thread. It gives the
    interpreter up once and measures how long it takes to get it back. A busy machine is
    late too, so the main thread must also have computed much since the last look.
    """

    def __init__(self, tell: Callable[[bool], None]) -> None:
        self.tell = tell
        self.busy = False
        self._late = 0
        self._main = _MainThread()

    def look(self) -> None:
        """Measure once; shorten the interval after three late ones, restore it after some eight
        that are not."""
        limit = 0.6 * (SHORT if self.busy else sys.getswitchinterval())
        begin = time.perf_counter()
        time.sleep(0)
        # Getting it back from an idle interpreter takes a few microseconds.
        waited = time.perf_counter() - begin
        late = self._main.busy() and waited > max(limit, 5e-5)
        # Quick to help, slow to stop helping: a busy cell is not late every time.
        self._late = min(8, self._late + 1) if late else max(0, self._late - 1)
        if self._late >= 3 and not self.busy:
            self.busy = True
            _shorten()
            self.tell(True)
        elif self._late == 0 and self.busy:
            self.end()

    def end(self) -> None:
        """Give the interval back: nobody is in the way, or the run waits."""
        self._late = 0
        if self.busy:
            self.busy = False
            _restore()
            self.tell(False)


class _MainThread:
    """How much the main thread computes, compared with the thread that asks."""

    def __init__(self) -> None:
        self._clock: int | None = None
        ident = threading.main_thread().ident
        # macOS and Windows have no such clock: there lateness alone has to do.
        if hasattr(time, "pthread_getcpuclockid") and ident is not None:
            self._clock = time.pthread_getcpuclockid(ident)
        self._before = self._read()

    def _read(self) -> tuple[float, float, float]:
        used = time.clock_gettime(self._clock) if self._clock is not None else 0.0
        return time.perf_counter(), used, time.thread_time()

    def busy(self) -> bool:
        """Whether it computed for much of the time since the last call; True if unknown."""
        before, self._before = self._before, self._read()
        wall, used, own = (now - then for now, then in zip(self._before, before, strict=True))
        # On a crowded machine nobody gets the whole of a core, so shares are compared.
        return self._clock is None or used > max(0.1 * wall, 0.5 * own)


def _shorten() -> None:
    global _wanted, _before
    with _lock:
        if _wanted == 0:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(min(SHORT, _before))
        _wanted += 1


def _restore() -> None:
    global _wanted
    with _lock:
        _wanted -= 1
        # Whoever set another value meanwhile meant it.
        if _wanted == 0 and abs(sys.getswitchinterval() - SHORT) < 1e-6:
            sys.setswitchinterval(_before)
