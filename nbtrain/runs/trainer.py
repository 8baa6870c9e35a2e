"""The threads that train: one per device, runs one after another."""

from __future__ import annotations

import contextvars
import ctypes
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_leaving = threading.Event()
"""Set once the process ends and jobs are broken off; none is begun from then on."""


def join(timeout: float) -> bool:
    """Wait until every training thread has done its jobs, ``timeout`` seconds at most. Returns
    whether all have."""
    until = time.monotonic() + timeout
    for thread in tuple(_threads):
        thread.join(max(0.0, until - time.monotonic()))
    return not any(thread.is_alive() for thread in tuple(_threads))


def break_off() -> None:
    """End every training thread by a SystemExit where it is, once the operation that it is in
    has ended; for the end of the process alone."""
    _leaving.set()
    for thread in tuple(_threads):
        if thread.is_alive() and thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
            )


def broken_off(error: BaseException) -> bool:
    """Whether ``error`` is what `break_off` ends a job by."""
    return isinstance(error, SystemExit) and _leaving.is_set()


class Trainer:
    """Works off jobs in order on a thread of its own, which lives while there are any.

    The thread is a daemon, so that a run never keeps the process alive; whoever ends the
    process stops the runs first.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._jobs: deque[tuple[str, Callable[[], None], object]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._now: str | None = None

    def submit(self, owner: str, job: Callable[[], None], *, keeps: object = None) -> None:
        """Have ``job`` done after those before it. ``job`` must not raise.

        ``keeps`` is held until it is done.
        """
        with self._lock:
            self._jobs.append((owner, job, keeps))
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        # A context of its own: what the job prints belongs to no cell.
        context = contextvars.Context()
        self._thread = threading.Thread(
            target=context.run, args=(self._work,), name=f"nbtrain {self.name}", daemon=True
        )
        self._thread.start()
        _threads.add(self._thread)

    def withdraw(self, owner: str) -> bool:
        """Take the jobs back that have not begun. False if there is none."""
        with self._lock:
            others = [job for job in self._jobs if job[0] != owner]
            found = len(others) < len(self._jobs)
            self._jobs = deque(others)
        return found

    @property
    def holder(self) -> str | None:
        """The owner of the last job in line, behind which a new one would wait."""
        with self._lock:
            return self._jobs[-1][0] if self._jobs else self._now

    @property
    def current(self) -> str | None:
        """The owner of the job that is being done."""
        return self._now

    def has(self, owner: str) -> bool:
        """Whether a job of ``owner`` is being done or stands in line."""
        with self._lock:
            return self._now == owner or any(owner == other for other, *_ in self._jobs)

    def here(self) -> bool:
        """Whether this is the training thread."""
        return threading.current_thread() is self._thread

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs or _leaving.is_set():
                    self._thread = self._now = None
                    return
                self._now, job, keeps = self._jobs.popleft()
            try:
                job()
            except BaseException:
                self._go_on_without_me()
                raise
            # They hold the model; the next job may take as long as it likes.
            del job, keeps

    def _go_on_without_me(self) -> None:
        """A job raised, which is a bug of ours: those behind it must not wait for ever."""
        with self._lock:
            self._now = self._thread = None
            if self._jobs and not _leaving.is_set():
                self._start()
