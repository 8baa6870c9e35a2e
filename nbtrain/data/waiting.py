"""Ways to look up from waiting for a batch: between samples made here, and between short
spells of waiting for worker processes."""

from __future__ import annotations

import contextvars
import signal
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any, Final

from torch.utils.data import DataLoader

from nbtrain.data.batches import NOT_YET
from nbtrain.data.randomness import OwnRandomness

END: Final = object()
"""What `Ahead.take` gives after the last batch."""

_AT_ONCE: Final = 0.25
"""Seconds that closing waits for workers to end, as they do at once unless a sample takes
them longer."""

GRACE: Final = 2.0
"""Seconds after which workers are ended that still make a sample which nobody wants."""


def gather(
    made: list[Any], samples: Iterable[Any], drawn: OwnRandomness, patience: float | None
) -> Iterator[tuple[Any, int]]:
    """Put ``samples`` into ``made``, giving ``(NOT_YET, 0)`` after each ``patience`` seconds.

    Called within ``drawn``; while the caller looks up the user's own randomness is back.
    """
    if patience is None:
        made.extend(samples)
        return
    due = time.perf_counter() + patience
    for sample in samples:
        made.append(sample)
        if time.perf_counter() > due:
            with drawn.outside():
                yield NOT_YET, 0
            due = time.perf_counter() + patience


@contextmanager
def no_interrupts() -> Iterator[None]:
    """Keep SIGINT from this thread, and for good from the processes that it starts.

    A ``worker_init_fn`` comes too late for an interrupt while a worker starts. Where the
    system has no signal masks (Windows) nothing is done.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Ahead:
    """The batches of a loader with workers, which can be waited for in short spells.

    A `DataLoader` can only be waited for until the batch is there, so a thread of our own
    does that, one batch ahead of whoever takes them. Workers make the samples, so the
    user's code is not tied to that thread; what a sampler prints still goes to the run.

    Args:
        loader: is ours alone; its iterator and workers end with this.
        owner: when it is collected, this is closed.
    """

    def __init__(self, loader: DataLoader[Any], owner: object) -> None:
        self.started = False
        """Whether the workers could be started."""
        self._loader: DataLoader[Any] | None = loader
        self._items: Iterator[Any] | None = None
        self._pass = 0
        self._closed = False
        self._jobs: SimpleQueue[tuple[int, bool] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
        # A daemon, since a worker that is stuck must not keep the process from ending.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._work,),
            name="nbtrain batches",
            daemon=True,
        )
        self._thread.start()
        self._finalizer = weakref.finalize(owner, self.close)
        self._finalizer.atexit = False

    def begin(self) -> None:
        """Begin a pass over the loader; batches of the one before are thrown away."""
        self._pass += 1
        self._jobs.put((self._pass, True))

    def take(self, patience: float | None) -> Any:
        """The next batch; `NOT_YET` if it is not there after ``patience`` seconds; `END`.

        Raises what the loader raises.
        """
        while True:
            try:
                number, batch, error = self._answers.get(timeout=patience)
            except Empty:
                return NOT_YET
            if number != self._pass:
                continue
            if error is not None:
                raise error
            if batch is not END:
                self._jobs.put((number, False))
            return batch

    def close(self) -> None:
        """End workers and thread; at once for the caller, whatever a worker is doing."""
        if self._closed:
            return
        self._closed = True
        self._finalizer.detach()
        workers = self._workers()
        self._jobs.put(None)
        self._thread.join(_AT_ONCE)
        if self._thread.is_alive():
            reaper = threading.Timer(GRACE, self._end, (workers,))
            reaper.daemon = True
            reaper.start()

    def _workers(self) -> list[Any]:
        # PyTorch has no public name for them; without it they end with their sample.
        return list(getattr(self._items, "_workers", ()))

    def _end(self, workers: list[Any]) -> None:
        # PyTorch would wait for one after the other, 5 s each.
        for worker in {*workers, *self._workers()}:
            if worker.is_alive():
                worker.terminate()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            number, begins = job
            batch: Any = None
            failed: BaseException | None = None
            if self._closed or number != self._pass:
                continue
            assert self._loader is not None
            try:
                if begins:
                    with no_interrupts():
                        self._items = iter(self._loader)
                    self.started = True
                assert self._items is not None
                batch = next(self._items, END)
            except BaseException as error:  # noqa: BLE001 - raised where the batch is taken
                failed = error
            self._answers.put((number, batch, failed))
            del batch, failed  # this thread waits now, and must not hold them meanwhile
        # The workers end with the last reference to the iterator, here and nowhere else.
        if self._loader is not None:
            self._loader._iterator = None
        self._items = self._loader = None
