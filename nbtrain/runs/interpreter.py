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
    """Notices that other threads keep the interpreter busy, and shortens the interval.

    `look` is called about ten times a second on the training thread. It gives the
    interpreter up once and measures how long it takes to get it back.
    """

    def __init__(self, tell: Callable[[bool], None]) -> None:
        self.tell = tell
        self.busy = False
        self._late = 0

    def look(self) -> None:
        """Measure once, and change the interval after three alike in a row."""
        limit = 0.6 * sys.getswitchinterval() if not self.busy else 0.6 * SHORT
        begin = time.perf_counter()
        time.sleep(0)
        # Getting it back from an idle interpreter takes a few microseconds.
        late = time.perf_counter() - begin > max(limit, 5e-5)
        self._late = min(3, self._late + 1) if late else max(0, self._late - 1)
        if self._late == 3 and not self.busy:
            self.busy = True
            _shorten()
            self.tell(True)
        elif self._late == 0 and self.busy:
            self.end()
            self.tell(False)

    def end(self) -> None:
        """Give the interval back."""
        if self.busy:
            self.busy = False
            _restore()


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
